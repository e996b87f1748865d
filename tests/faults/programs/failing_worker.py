"""Handles the messages of `tests.faults.kills`: ``failing_worker.py QUEUE...``.

Each QUEUE is ``TYPE:NAME``.  Each try is a line of the process's own file in the folder LEDGER (an
environment variable), and so is each copy that is put elsewhere, before it is published and when it
is confirmed.  Lines are written at once, so that they outlive the process.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from postage import green

green.patch_all()

import gevent.local  # noqa: E402 - after patching

from postage import messaging  # noqa: E402 - after patching
from postage.green.handling.keeping import Parking  # noqa: E402 - after patching
from tests.faults.fates import POLICIES, asked  # noqa: E402 - after patching
from tests.support.endpoints import exchange  # noqa: E402 - after patching

FILE = os.open(
    f"{os.environ['LEDGER']}/worker-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
)
WORK = 0.005
"""Seconds that each try takes."""


NUMBER, TRY = "x-number", "x-try"
"""The headers with the number of a message, and with the id of the try that has made a copy."""
ids = (f"{os.getpid()}-{number}" for number in itertools.count())


class Current(gevent.local.local):
    """What the greenlet has tried; tries at once share a greenlet."""

    tried = False

    def __init__(self) -> None:
        self.id = next(ids)


again = Current()


def note(headers: Any, **about: Any) -> None:
    """Write a line about the message with *headers*."""
    whose = {"number": headers[NUMBER], "id": again.id, "copy": headers.get(TRY, "")}
    os.write(FILE, json.dumps(whose | about).encode() + b"\n")


def noted(put: Callable[..., None], place: int) -> Callable[..., None]:
    """Return *put*, which also notes the copy.

    Its headers are the argument number *place*.  The next one, if any, is the delay.
    """

    def put_and_note(self: Parking, delivery: Any, *arguments: Any) -> None:
        headers, ours = delivery.properties.headers, [*arguments]
        about = {"began": time.time(), "delay": next(iter(ours[place + 1 :]), None)}
        note(headers, **about, kept=None)
        ours[place] = {**ours[place], TRY: again.id}
        put(self, delivery, *ours)
        note(headers, **about, kept=time.time())

    return put_and_note


Parking.delay = noted(Parking.delay, 1)  # type: ignore[method-assign]
Parking.park = noted(Parking.park, 2)  # type: ignore[method-assign]


class Failing(messaging.MessageProcessor):
    """Has a handler for each kind of message."""

    def carry_out(self, content: Any, outcome: Callable[..., Exception | None]) -> None:
        """Try a message, write it down, and raise what *outcome* returns, unless it is None."""
        view, began = green.message(), time.time()
        number, attempt = content["parameters"], view.attempt
        gevent.sleep(WORK)
        error = outcome(number, attempt)
        is_fresh = not (view.redelivered or again.tried)
        again.tried = True
        times = {"began": began, "ended": time.time()}
        note(view.headers, is_fresh=is_fresh, **times, is_done=error is None, kind=view.name)
        if error is not None:
            raise error

    @messaging.MessageHandler("command", "fine")
    def fine(self, content: Any) -> None:
        self.carry_out(content, lambda *_: None)

    @messaging.MessageHandler("command", "once")
    @green.retry(POLICIES["once"])
    def once(self, content: Any) -> None:
        self.carry_out(content, lambda *_: None if again.tried else ConnectionError())

    @messaging.MessageHandler("command", "later")
    @green.retry(POLICIES["later"])
    def later(self, content: Any) -> None:
        self.carry_out(content, lambda _, attempt: ConnectionError() if attempt < 3 else None)

    @messaging.MessageHandler("command", "mixed")
    @green.retry(POLICIES["mixed"])
    def mixed(self, content: Any) -> None:
        def outcome(_: int, attempt: int) -> Exception | None:
            return None if attempt > 2 and again.tried else ConnectionError()

        self.carry_out(content, outcome)

    @messaging.MessageHandler("command", "ask")
    def ask(self, content: Any) -> None:
        def outcome(number: int, attempt: int) -> Exception | None:
            return None if attempt > 2 else green.RetryLater(asked(number, attempt))

        self.carry_out(content, outcome)

    @messaging.MessageHandler("command", "exhaust")
    @green.retry(POLICIES["exhaust"])
    def exhaust(self, content: Any) -> None:
        self.carry_out(content, lambda *_: KeyError("exhausted"))

    @messaging.MessageHandler("command", "give_up")
    def give_up(self, content: Any) -> None:
        self.carry_out(content, lambda *_: green.GiveUp("for good"))

    @messaging.MessageHandler("command", "refuse")
    def refuse(self, content: Any) -> None:
        self.carry_out(content, lambda *_: messaging.RejectMessage("no"))


def main() -> None:
    """Handle the messages of the queues that the arguments name."""
    queues = [
        {"name": name, "flags": {"durable": True, "arguments": {"x-queue-type": kind}}}
        for kind, name in (each.split(":", 1) for each in sys.argv[1:])
    ]
    place = exchange("kills", durable=True)
    eqk = [(place, [(queue, queue["name"]) for queue in queues])]
    green.run(Failing({"name": "failing"}, eqk))


if __name__ == "__main__":
    main()
