"""A processor that gets bad input, and what its tests need around it."""

from __future__ import annotations

import logging
import math
from typing import Any

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.bad_errors import RAISERS
from tests.support.running import SOON


def recursive() -> list[Any]:
    """Return a list that holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    return endless


UNSENDABLE: dict[str, Any] = {
    "an object": object(),
    "bytes": b"bytes",
    "NaN": math.nan,
    "infinity": math.inf,
    "a complex number": 1j,
    "a set of sets of bytes": {b"x"},
    "a list that holds itself": recursive(),
    "a key that is no text": {(1, 2): 3},
    "something deep inside": {"a": [{"b": object()}]},
    "a result with an object": messaging.MessageResult(object()),
    "a generator": (number for number in ()),
}


class Victim(messaging.MessageProcessor):
    """Takes what comes; its dead letters can be counted."""

    def __init__(self, *args: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "note")
    def note(self, content):
        self.seen.append(content)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        self.seen.append(content)
        reply_func(content["parameters"])

    @messaging.MessageHandler("command", "fail")
    def fail(self, content):
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "fail")
    def fail_to_answer(self, content, reply_func):
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "answer_then_fail")
    def answer_then_fail(self, content, reply_func):
        reply_func("answered")
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "unsendable")
    def unsendable(self, content, reply_func):
        reply_func(UNSENDABLE[content["parameters"]])

    @messaging.RpcHandler("command", "second_thoughts")
    def second_thoughts(self, content, reply_func):
        try:
            reply_func(object())
        except ValueError:
            reply_func("something else, then")

    @messaging.RpcHandler("command", "chatter")
    def chatter(self, content, reply_func):
        for number in range(content["parameters"]):
            reply_func(number)

    @messaging.RpcHandler("command", "no_result")
    def no_result(self, content, reply_func):
        reply_func(messaging.MessageCommand("this is a command"))


class Case:
    """The victim, running, and whatever a test needs around it."""

    def __init__(self, endpoint: Any, raw: Any, victim: Victim, producer: Any, caplog: Any) -> None:
        self.endpoint, self.raw, self.victim, self.producer = endpoint, raw, victim, producer
        self.caplog = caplog

    def put(self, data: bytes, **properties: Any) -> None:
        """Put *data* into the queue of the victim."""
        self.raw.put(self.endpoint.queue, data, **properties)

    def assert_rejected(self, data: bytes) -> None:
        """Check that the next dead letter is *data*, rejected."""
        dead = self.raw.take(self.endpoint.dead)
        assert dead.body == data
        assert [death["reason"] for death in dead.properties.headers["x-death"]] == ["rejected"]

    def assert_lives(self) -> None:
        """Check that the victim answers, and that nothing was left or put back in its queue."""
        assert self.producer.rpc_echo("alive").value == "alive"
        wait_until(lambda: self.raw.count(self.endpoint.queue) == 0, SOON)
        assert self.raw.count(self.endpoint.dead) == 0

    def logged(self, level: int = logging.WARNING) -> list[logging.LogRecord]:
        """Return what Postage has logged at *level* and above, without the hub monitor.

        That one may speak of the test, which waits without switching to send a large message.
        """
        records = [r for r in self.caplog.records if r.name.startswith("postage")]
        records = [r for r in records if not r.name.endswith(".hub_monitor")]
        return [record for record in records if record.levelno >= level]
