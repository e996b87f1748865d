"""What bad messages write into the log: escaped, bounded, counted, and nothing is hidden by it."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

#: What a hostile peer would like to see in a log, in one text.
EVIL = (
    "\n2026-01-01 CRITICAL forged\r\x1b[2J\x9b\x08\0\x85"
    "\u202e\u2066\u200b\u2028\ufeff\udc80\U000e0041"
)
TIMES = 30


class Target(messaging.MessageProcessor):
    """Its handlers put what they got into exceptions, as those of users do."""

    remote_control = False

    @messaging.MessageHandler("command", "refuse")
    def refuse(self, content):
        raise messaging.RejectMessage(f"no such item: {content['parameters']}")

    @messaging.MessageHandler("command", "fail")
    def fail(self, content):
        raise ValueError(f"no such item: {content['parameters']}")

    @messaging.MessageHandler("command", "miss")
    def miss(self, content):
        content["parameters"][EVIL]

    @messaging.MessageHandler("command", "cause")
    def cause(self, content):
        try:
            int(content["parameters"])
        except ValueError as exc:
            raise RuntimeError(content["parameters"]) from exc

    @messaging.RpcHandler("command", "fail_to_answer")
    def fail_to_answer(self, content, reply):
        raise LookupError(content["parameters"] * 1000)

    @messaging.RpcHandler("command", "twice")
    def twice(self, content, reply):
        reply(1)
        reply(2)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        reply(content["parameters"])


def command(name: str, category: str = "message", **changes: Any) -> bytes:
    made = messaging.MessageCommand(name, EVIL).body | {"category": category} | changes
    return json.dumps(made).encode()


#: The body and properties of a bad message, and what the log says of it.
BAD: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "not JSON": (EVIL.encode("utf-8", "surrogatepass"), {}, "malformed message: not JSON"),
    "no object": (json.dumps([EVIL]).encode(), {}, "not an object"),
    "a type that is none": (command("x", type={EVIL: EVIL}), {}, "'type' is a dict"),
    "a category": (command("x", category=EVIL), {}, "is none of"),
    "a version": (command("x", version=EVIL), {}, "is not '2'"),
    "a name": (command(EVIL * 10_000), {}, "has no handler"),
    "an encoding": (b"x", {"content_encoding": EVIL[:13]}, "content_encoding"),
    "refused": (command("refuse"), {}, "Target.refuse rejected"),
    "failed": (command("fail"), {}, "Target.fail failed"),
    "a key": (command("miss"), {}, "Target.miss failed"),
    "a cause": (command("cause"), {}, "Target.cause failed"),
    "a long text": (command("fail_to_answer", "rpc"), {}, "Target.fail_to_answer failed"),
    "a sender": (command("quit", fingerprint={"name": EVIL, EVIL: EVIL}), {}, "quit"),
    "a reply queue": (command("echo", "rpc"), {"reply_to": EVIL[:13]}, "reply"),
    "no reply queue": (command("echo", "rpc"), {}, "cannot be answered"),
    "two replies": (command("twice", "rpc"), {"reply_to": "nobody"}, "A second reply"),
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the log of a program says that was set up in the simplest way."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("postage")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield out
    logger.removeHandler(handler)
    logger.setLevel(before)


def drive(endpoint: Endpoint, raw: Raw, send: Callable[[], object]) -> None:
    """Run a target until it has handled all that *send* sends."""
    made = type("Target", (Target,), {})  # a class logs each name without a handler only once
    target = made({"name": "target"}, endpoint.eqk)
    with running(target):
        send()
        assert endpoint.producer().rpc_echo("all").value == "all"
        wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)


def assert_safe(text: str) -> None:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    wrong = {char for char in text if unicodedata.category(char) in hidden} - {"\n"}
    assert not wrong
    assert not [line for line in text.split("\n") if line.startswith("2026-01-01 CRITICAL")]


@pytest.mark.parametrize("kind", BAD)
def test_each_kind_is_logged_escaped_and_counted(
    endpoint: Endpoint, raw: Raw, log: io.StringIO, kind: str
) -> None:
    body, properties, expected = BAD[kind]

    def send() -> None:
        for _ in range(TIMES):
            raw.put(endpoint.queue, body, **properties)

    drive(endpoint, raw, send)

    text = log.getvalue()
    assert expected in text
    assert_safe(text)
    records = [line for line in text.split("\n") if " postage." in line and expected in line]
    assert 1 <= len(records) <= 2  # the 1st and the 10th
    assert len(text) < 30_000


def test_a_flood_of_one_kind_hides_no_other(endpoint: Endpoint, raw: Raw, log: io.StringIO) -> None:
    flood = BAD["failed"][0]

    def send() -> None:
        for body, properties, _ in BAD.values():
            for _ in range(20):
                raw.put(endpoint.queue, flood)
            raw.put(endpoint.queue, body, **properties)

    drive(endpoint, raw, send)

    assert [kind for kind, (*_, expected) in BAD.items() if expected not in log.getvalue()] == []
    assert_safe(log.getvalue())


class Faulty(messaging.MessageProcessor):
    """One handler with many faults, all of them of the same kind."""

    @messaging.MessageHandler("command", "fail")
    def fail(self, content):
        FAULTS[content["parameters"]]()

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        reply(content["parameters"])


FAULTS: list[Callable[[], Any]] = [
    lambda: int("fault 0"),
    lambda: int("fault 1"),
    lambda: int("fault 2"),
    lambda: {}["fault 3"],
    lambda: float("fault 4"),
]


def test_different_faults_of_one_handler_are_all_seen(endpoint: Endpoint, log: io.StringIO) -> None:
    with running(Faulty({"name": "faulty"}, endpoint.eqk)):
        producer = endpoint.producer()
        for _ in range(TIMES):
            for number in range(len(FAULTS)):
                producer.message_fail(number)
        assert producer.rpc_echo("all").value == "all"
        wait_until(lambda: log.getvalue().count("number 10 of its kind") == len(FAULTS), SOON)

    for number in range(len(FAULTS)):
        assert f"fault {number}" in log.getvalue()
    assert log.getvalue().count("ERROR") == 2 * len(FAULTS)
