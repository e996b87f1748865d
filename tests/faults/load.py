"""The load: greenlets that publish, greenlets that call, and processors, at a limited rate."""

from __future__ import annotations

import itertools
import math
import random
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event

from postage import messaging
from postage.testing.polling import wait_until
from tests.faults.journal import Journal
from tests.faults.report import ANSWERED, WRONG
from tests.support.endpoints import Endpoint

EXPECTED = ("PublishFailed", "NotAcknowledged", "NoRoute")
"""The errors that a publish may raise during a fault."""
START_TIMEOUT = STOP_TIMEOUT = 20.0
WORK = 0.002
"""Seconds that each handler takes."""

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """The size of a load.  Durations are in seconds."""

    publishers: int = 50
    callers: int = 50
    processors: int = 20  # one half handles messages, the other half answers calls
    pause: float = 0.2  # of each sender between two messages, on average
    publish_timeout: float = 10.0
    rpc_timeout: float = 3.0
    max_retry: int = 2
    recovery_timeout: float = 15.0  # of each wait for a recovery
    arguments: dict[str, Any] = field(default_factory=dict)  # of the queues

    @property
    def call_limit(self) -> float:
        """The time within which a call must have its outcome."""
        return self.rpc_timeout * (self.max_retry + 1)


class LoadProcessor(messaging.MessageProcessor):
    """Handles notes or calls, and notes them in the journal."""

    def __init__(self, name: str, eqk: Any, journal: Journal) -> None:
        self.name, self._journal = name, journal
        super().__init__({"name": name}, eqk)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        publisher, number = content["parameters"]
        gevent.sleep(WORK)
        self._journal.handle(publisher, number, self.name)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply_func: Any) -> None:
        gevent.sleep(WORK)
        self._journal.note_activity(self.name)
        reply_func(content["parameters"])


class Load:
    """All senders and processors of a run, and their journal."""

    processor_class = LoadProcessor

    def __init__(self, title: str, settings: LoadSettings | None = None) -> None:
        self.settings = settings or LoadSettings()
        self.journal = Journal(title=title)
        self.endpoint = Endpoint(f"load-{next(_numbers)}")
        self.notes, self.calls = self.endpoint.sub("notes"), self.endpoint.sub("calls")
        self.processors: list[LoadProcessor] = []
        self._stopping = gevent.event.Event()
        self._senders: dict[str, gevent.Greenlet] = {}
        self._runs: list[gevent.Greenlet] = []
        self._clock: gevent.Greenlet = gevent.Greenlet(self._measure_lateness)

    def start(self) -> None:
        """Start everything; returns when each sender has succeeded once, or a processor failed."""
        settings = self.settings
        self._clock.start()
        self.processors = [self._processor(number) for number in range(settings.processors)]
        self._runs = [gevent.spawn(processor.start_consuming) for processor in self.processors]
        self._wait_until(lambda: all(each.consumer.consuming for each in self.processors))
        timeout = settings.publish_timeout
        publishing = {"publish_timeout": timeout, "mandatory": True}
        calling = {"rpc_timeout": settings.rpc_timeout, "max_retry": settings.max_retry}
        for number in range(settings.publishers):
            self._start_sender("notes", number, self._publish, timeout, publishing)
        for number in range(settings.callers):
            self._start_sender("calls", number, self._call, settings.call_limit, calling)
        self._wait_until(self.all_succeeded)

    def _wait_until(self, started: Callable[[], bool]) -> None:
        def started_or_failed() -> bool:
            return started() or any(run.dead for run in self._runs)

        wait_until(started_or_failed, START_TIMEOUT, "the load has started")

    def all_succeeded(self, times: int = 1, since: Counter[str] | None = None) -> bool:
        """Tell whether each sender has succeeded *times* times, counted from the counts *since*."""
        before, successes = since or Counter(), self.journal.successes
        return all(successes[sender] >= before[sender] + times for sender in self._senders)

    def succeeded_since(self, moment: float) -> bool:
        """Tell whether a publish and a call that began after *moment* have succeeded."""
        latest: defaultdict[str, float] = defaultdict(lambda: -math.inf)
        for sender in self._senders:
            key = sender.partition(" ")[0]
            latest[key] = max(latest[key], self.journal.latest.get(sender, -math.inf))
        return all(began > moment for began in latest.values())

    def stop_senders(self) -> int:
        """Stop the senders; return how many did not end within their limit, and were killed."""
        self._stopping.set()
        limit = max(self.settings.publish_timeout, self.settings.call_limit) + 1.0
        gevent.joinall(self._senders.values(), timeout=limit)
        unfinished = [sender for sender in self._senders.values() if not sender.dead]
        gevent.killall(unfinished)
        return len(unfinished)

    def stop(self) -> None:
        """Stop the processors, and wait for their handlers."""
        for processor, run in zip(self.processors, self._runs, strict=True):
            if run.dead:
                self.journal.add_unexpected(f"{processor.name} ended by itself: {run.exception!r}")
            processor.stop_consuming()
        gevent.joinall(self._runs, timeout=STOP_TIMEOUT)
        for run in self._runs:
            if not run.dead:
                self.journal.add_unexpected(f"{run!r} did not stop")

    def kill(self) -> None:
        """Kill all greenlets."""
        gevent.killall([*self._runs, *self._senders.values(), self._clock])

    def _start_sender(
        self,
        key: str,
        number: int,
        send: Callable[[Any, int, int], bool],
        limit: float,
        attributes: dict[str, Any],
    ) -> None:
        """Send again and again; the pauses differ, as a fault shall not hit all senders or none."""

        def run() -> None:
            producer = self.endpoint.producer(eks=[(self.endpoint.exchange, key)], **attributes)
            chance, pause = random.Random(name), self.settings.pause
            for turn in itertools.count():
                if self._stopping.wait(pause * chance.uniform(0.5, 1.5)):
                    return
                began = time.monotonic()
                success = send(producer, number, turn)
                self.journal.end_wait(name, began, limit, success=success)

        name = f"{key} {number}"
        self._senders[name] = gevent.spawn(run)

    def _publish(self, producer: Any, publisher: int, _turn: int) -> bool:
        number = self.journal.send(publisher)
        try:
            self._send(producer, publisher, number)
        except Exception as exc:
            self.journal.refuse(publisher, number)
            if type(exc).__name__ not in EXPECTED:
                self._add_unexpected("a publish", exc)
            return False
        self.journal.confirm(publisher, number)
        return True

    def _call(self, producer: Any, caller: int, turn: int) -> bool:
        try:
            outcome = self._ask(producer, caller, turn)
        except Exception as exc:
            outcome = f"raised {type(exc).__name__}"
            self._add_unexpected("a call", exc)
        self.journal.calls[outcome] += 1
        return outcome == ANSWERED

    def _send(self, producer: Any, publisher: int, number: int) -> None:
        """Publish one message."""
        producer.message_note([publisher, number])

    def _ask(self, producer: Any, caller: int, turn: int) -> str:
        """Make one call, and return its outcome."""
        return outcome_of(producer.rpc_echo([caller, turn]).body["content"], [caller, turn])

    def _processor(self, number: int) -> LoadProcessor:
        key = "notes" if number % 2 else "calls"
        queue = {"name": self.endpoint.sub(key), "flags": {"arguments": self.settings.arguments}}
        eqk = self.endpoint.at((queue, key))
        return self.processor_class(f"{key} {number}", eqk, self.journal)

    def _measure_lateness(self) -> None:
        while True:
            due = time.monotonic() + 0.05
            gevent.sleep(0.05)
            self.journal.lateness = max(self.journal.lateness, time.monotonic() - due)

    def _add_unexpected(self, operation: str, error: Exception) -> None:
        text = "".join(traceback.format_exception(error)[-4:])
        self.journal.add_unexpected(f"{operation}: {error!r}\n{text}")


def outcome_of(content: dict[str, Any], argument: Any) -> str:
    """Return the outcome of a call with *argument*, from the content of its result."""
    if content["type"] == "success":
        return ANSWERED if content["value"] == argument else WRONG
    return str(content["value"]) if content["type"] == "exception" else str(content["message"])
