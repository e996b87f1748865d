"""Processors with handlers that wait for a gate, for tests of lost connections and channels."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import gevent
import gevent.event

from postage import messaging
from postage.errors import ChannelRefused
from postage.green.amqp.channel import Channel
from postage.green.amqp.pair import Pair
from postage.green.rpc.calls import Calls
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.running import SOON

GRACE = 0.5
"""Seconds by which a wait may exceed its limit."""


def pair_of(component: Any) -> Pair:
    """Return the two connections of *component*."""
    return runtime_of(component.settings).pair


def calls_of(producer: Any) -> Calls:
    """Return the calls of *producer* and of all that share its connections."""
    return runtime_of(producer.settings).calls


class ObservedConsumer(messaging.GenericConsumer):
    """Keeps the deliveries that its component gets."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.deliveries: list[Any] = []
        super().__init__(*args, **kwds)

    def start(self, on_delivery: Any, on_end: Any = None) -> None:
        def observe(delivery: Any) -> None:
            self.deliveries.append(delivery)
            on_delivery(delivery)

        super().start(observe, on_end)


class GatedServer(messaging.MessageProcessor):
    """Replies to ``ask`` when its gate is open, and keeps the requests."""

    consumer_class = ObservedConsumer
    consumer: ObservedConsumer

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.asked: list[Any] = []
        super().__init__(*args, **kwds)

    @property
    def headers(self) -> list[Any]:
        """The properties of the requests."""
        return [delivery.properties for delivery in self.consumer.deliveries]

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> None:
        self.asked.append(content["parameters"])
        self.gate.wait()
        reply(content["parameters"])

    def forget(self) -> None:
        """Forget the requests so far."""
        self.asked.clear()
        self.consumer.deliveries.clear()


class GatedWorker(messaging.MessageProcessor):
    """Handles ``work`` when its gate is open; keeps the messages that it has begun and ended."""

    consumer_class = ObservedConsumer
    consumer: ObservedConsumer

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

    @messaging.MessageHandler("command", "fail_channel")
    def fail_channel(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        if len(self.begun) <= content["parameters"]:
            fail_channel(self.consumer.deliveries[-1].channel)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class OneByOne(GatedWorker):
    concurrency = 1
    prefetch = 10


def fail_channel(channel: Channel) -> None:
    """Make the broker close *channel*, and no other, over a queue that does not exist; switches."""
    with contextlib.suppress(ChannelRefused):
        channel.queue_declare("there is no such queue", passive=True)


def worker(
    endpoint: Endpoint, hup: Any, kind: type[GatedWorker] = GatedWorker, eqk: Any = None
) -> Any:
    """Return a processor of *kind* that connects as *hup* says."""
    return kind({"name": kind.__name__}, endpoint.eqk if eqk is None else eqk, hup)


def wait_for_recovery(component: Any, times: int = 1) -> None:
    """Wait until *component* has recovered its consumers *times* times."""
    wait_until(lambda: component.counts["restored"] >= times, SOON, "consuming again")


def run_to_end(processor: Any) -> BaseException | None:
    """Run *processor* and return the error that ends it."""
    try:
        processor.start_consuming()
    except Exception as exc:
        return exc
    return None


def error_of(run: gevent.Greenlet[..., Any]) -> Any:
    """Return the result of *run*, a greenlet with `run_to_end`."""
    run.join(SOON)
    assert run.dead, "it still runs"
    return run.value


def assert_nothing_is_left(caller: Any) -> None:
    """Assert that no call waits, and that no consumer or callback of one is left."""
    assert len(calls_of(caller)) == 0
    consuming = pair_of(caller).consuming

    def consumers() -> int:
        return sum(channel.consumers for channel in consuming.statistics().channels)

    wait_until(lambda: consumers() <= 2, SOON)  # one may be that of the station
    for channel in (each for each in gc.get_objects() if isinstance(each, Channel)):
        if channel.alive and repr(consuming.current) in repr(channel):
            assert len(channel.on_cancel) <= 2
            assert len(channel.on_end) <= 3  # one may be that of the station
