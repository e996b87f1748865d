"""The load: greenlets that publish, greenlets that call, and processors, all at a bounded rate."""

from __future__ import annotations

import itertools
import random
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event

from postage import messaging
from postage.testing.polling import wait_until
from tests.faults.account import ANSWERED, WRONG
from tests.faults.ledger import Ledger
from tests.support.places import Place

PROMISED = {"PublishFailed", "NotAcknowledged", "NoRoute"}
"""What a publish may raise."""
PATIENCE = 20.0
"""Seconds for all of the load to be at work."""

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How much of everything.  Durations are seconds."""

    publishers: int = 50
    callers: int = 50
    processors: int = 20
    """One half handles messages, the other half calls."""
    pause: float = 0.2
    """How long each publisher and caller rests between two messages."""
    work: float = 0.002
    """How long each handler takes."""
    publish_timeout: float = 10.0
    rpc_timeout: float = 3.0
    max_retry: int = 2
    arguments: dict[str, Any] = field(default_factory=dict)
    """Those of the queues."""

    @property
    def call_limit(self) -> float:
        """Within which a call has its outcome."""
        return self.rpc_timeout * (self.max_retry + 1)


class Worker(messaging.MessageProcessor):
    """A processor of the load; handles notes or calls."""

    def __init__(self, name: str, eqk: Any, ledger: Ledger, work: float) -> None:
        self.name, self._ledger, self._work = name, ledger, work
        super().__init__({"name": name}, eqk)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        publisher, number = content["parameters"]
        gevent.sleep(self._work)
        self._ledger.handle(publisher, number, self.name)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply_func: Any) -> None:
        gevent.sleep(self._work)
        self._ledger.serve(self.name)
        reply_func(content["parameters"])


class Load:
    """All of it; `start` and `stop`, and in between whatever may happen."""

    def __init__(self, shape: Shape | None = None, name: str | None = None) -> None:
        self.shape = shape or Shape()
        self.ledger = Ledger()
        self.place = Place(name or f"load-{next(_numbers)}")
        self.notes, self.calls = self.place.sub("notes"), self.place.sub("calls")
        self.lateness = 0.0
        self._over = gevent.event.Event()
        self._senders: list[gevent.Greenlet] = []
        self._ticker: gevent.Greenlet | None = None
        self.processors: list[Worker] = []
        self._runs: list[gevent.Greenlet] = []

    # --- life

    def start(self) -> None:
        """Start everything; returns when everybody has done something."""
        shape = self.shape
        self._ticker = gevent.spawn(self._tick)
        self.processors = [self._processor(number) for number in range(shape.processors)]
        self._runs = [gevent.spawn(processor.start_consuming) for processor in self.processors]
        wait_until(lambda: self._ended() or self._consuming(), PATIENCE, "processors consume")
        publishers = [gevent.spawn(self._publish, number) for number in range(shape.publishers)]
        callers = [gevent.spawn(self._call, number) for number in range(shape.callers)]
        self._senders = publishers + callers
        wait_until(lambda: self._ended() or self.at_work(), PATIENCE, "everybody is at work")

    def at_work(self, times: int = 1, since: dict[str, int] | None = None) -> bool:
        """Tell whether every sender has succeeded so many *times* more than it had *since* then."""
        good, before = self.ledger.good, since or {}
        return all(good[who] >= before.get(who, 0) + times for who in self.senders())

    def senders(self) -> Iterator[str]:
        """Yield the name of every publisher and caller."""
        yield from (f"publisher {number}" for number in range(self.shape.publishers))
        yield from (f"caller {number}" for number in range(self.shape.callers))

    def latest(self) -> float:
        """Return since when every processor has handled something."""
        return self.ledger.latest(processor.name for processor in self.processors)

    def stop_sending(self) -> int:
        """Let senders come to their end; return how many do not, and are killed."""
        self._over.set()
        limit = max(self.shape.publish_timeout, self.shape.call_limit) + 1.0
        gevent.joinall(self._senders, timeout=limit)
        left = [sender for sender in self._senders if not sender.dead]
        gevent.killall(left)
        return len(left)

    def stop(self) -> None:
        """Stop the processors, and whatever still runs."""
        for processor, run in zip(self.processors, self._runs, strict=True):
            if run.dead:
                self.ledger.surprise(f"{processor.name} ended by itself: {run.exception!r}")
            processor.stop_consuming()
        gevent.joinall(self._runs, timeout=PATIENCE)
        for run in self._runs:
            if not run.dead:
                self.ledger.surprise(f"{run!r} did not stop")
        self.kill()

    def kill(self) -> None:
        """End all greenlets, whatever they are at."""
        ticker = [self._ticker] if self._ticker is not None else []
        gevent.killall([*self._runs, *self._senders, *ticker])

    # --- greenlets

    def _publish(self, number: int) -> None:
        class Notes(messaging.GenericProducer):
            eks = [(self.place.exchange, "notes")]  # noqa: RUF012 - the classic form
            publish_timeout = self.shape.publish_timeout
            mandatory = True

        producer = self._made(Notes)
        for rest in self._rests(number):
            if producer is None or self._over.wait(rest):
                break
            self._publish_one(producer, number)

    def _publish_one(self, producer: Any, publisher: int) -> None:
        ledger, began = self.ledger, time.monotonic()
        number = ledger.sending(publisher)
        error = _error_of(producer.message_note, [publisher, number])
        if error is None:
            ledger.confirm(publisher, number)
        else:
            ledger.refuse(publisher, number)
        if type(error).__name__ not in PROMISED:
            self._surprise("a publish", error)
        limit = self.shape.publish_timeout
        ledger.wait(f"publisher {publisher}", began, limit, well=error is None)

    def _call(self, number: int) -> None:
        class Calls(messaging.GenericProducer):
            eks = [(self.place.exchange, "calls")]  # noqa: RUF012 - the classic form
            rpc_timeout = self.shape.rpc_timeout
            max_retry = self.shape.max_retry

        producer = self._made(Calls)
        for turn, rest in enumerate(self._rests(number)):
            if producer is None or self._over.wait(rest):
                break
            self._call_one(producer, number, turn)

    def _call_one(self, producer: Any, caller: int, turn: int) -> None:
        began = time.monotonic()
        try:
            content = producer.rpc_echo([caller, turn]).body["content"]
        except Exception as exc:
            outcome = f"raised {type(exc).__name__}"
            self._surprise("a call", exc)
        else:
            outcome = outcome_of(content, [caller, turn])
        self.ledger.calls[outcome] += 1
        well = outcome == ANSWERED
        self.ledger.wait(f"caller {caller}", began, self.shape.call_limit, well=well)

    def _rests(self, seed: int) -> Iterator[float]:
        """Yield how long to rest each time: not all at once, or trouble would hit all or none."""
        chance = random.Random(seed)
        while True:
            yield self.shape.pause * chance.uniform(0.5, 1.5)

    def _made(self, kind: type[messaging.GenericProducer]) -> messaging.GenericProducer | None:
        try:
            return kind({"name": "load"})
        except Exception as exc:
            self._surprise("making a producer", exc)
            return None

    def _tick(self) -> None:
        while True:
            due = time.monotonic() + 0.05
            gevent.sleep(0.05)
            self.lateness = max(self.lateness, time.monotonic() - due)

    # --- processors

    def _processor(self, number: int) -> Worker:
        handles = "notes" if number % 2 else "calls"
        queue = {"name": self.place.sub(handles), "flags": {"arguments": self.shape.arguments}}
        eqk = self.place.at((queue, handles))
        return Worker(f"{handles} {number}", eqk, self.ledger, self.shape.work)

    def _consuming(self) -> bool:
        return all(processor.consumer.consuming for processor in self.processors)

    def _ended(self) -> bool:
        return any(run.dead for run in self._runs)

    def _surprise(self, what: str, error: BaseException | None) -> None:
        if error is not None:
            text = "".join(traceback.format_exception(error)[-4:])
            self.ledger.surprise(f"{what}: {error!r}\n{text}")


def _error_of(function: Callable[..., object], *arguments: Any) -> Exception | None:
    try:
        function(*arguments)
    except Exception as exc:
        return exc
    return None


def outcome_of(content: dict[str, Any], argument: Any) -> str:
    """Return what a call with *argument* came to."""
    if content["type"] == "success":
        return ANSWERED if content["value"] == argument else WRONG
    return str(content["value"]) if content["type"] == "exception" else str(content["message"])
