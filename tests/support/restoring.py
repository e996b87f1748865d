"""A processor behind a proxy that loses its connection or its channel, and what becomes of it."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.places import Place
from tests.support.running import SOON


def spoil(channel: Any) -> None:
    """Acknowledge what never came: the broker closes the channel over it, and it alone."""
    channel._path.ack(channel._pika, 4711, multiple=False)


class Worker(messaging.MessageProcessor):
    """Keeps what it begins and ends; the ``work`` of messages lasts until the gate is open."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        self.gate.wait()
        self.ended.append(content["parameters"])

    @messaging.MessageHandler("command", "spoil")
    def spoil(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        if len(self.begun) <= content["parameters"]:
            spoil(self.consumer._subscription._channel)  # type: ignore[union-attr]

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class OneByOne(Worker):
    concurrency = 1
    prefetch = 10


def worker(place: Place, hup: Any, kind: type[Worker] = Worker, eqk: Any = None) -> Any:
    """Return a processor behind the proxy."""
    return kind({"name": kind.__name__}, place.eqk if eqk is None else eqk, hup)


def wait_for_restore(component: Any, times: int = 1) -> None:
    wait_until(lambda: component.counts["restored"] >= times, SOON, "consuming again")


def failure_of(run: gevent.Greenlet[..., Any]) -> Any:
    """Return what ended *run*."""
    run.join(SOON)
    assert run.dead, "it goes on"
    return run.value


def outcome(processor: Any) -> BaseException | None:
    """Run *processor* and return what ends it."""
    try:
        processor.start_consuming()
    except Exception as exc:
        return exc
    return None
