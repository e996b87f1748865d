"""What a handler leaves in its greenlet is never seen by another message."""

from __future__ import annotations

import contextvars
import json
import uuid
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
import gevent.local
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postage import green, messaging
from postage.green.pool import HELD
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import run_program
from tests.support.running import SOON

pytestmark = [
    pytest.mark.usefixtures("broker_env"),
    pytest.mark.behaviour("handler-decorators"),
]

LEFT_BEHIND = 0.005
"""Seconds of the timeouts that handlers leave pending."""
LONG = 4 * LEFT_BEHIND

user: contextvars.ContextVar[str | None] = contextvars.ContextVar("user", default=None)
local = gevent.local.local()


class Step(NamedTuple):
    """One message, or a restart of its processor."""

    processor: int
    leaves: str
    pause: float


steps = st.lists(
    st.builds(
        Step,
        st.integers(0, 2),
        st.sampled_from(["context", "local", "timeout", "link", "kill", "exit", "job", "restart"]),
        st.sampled_from([0.0, LEFT_BEHIND, LONG]),
    ),
    min_size=4,
    max_size=16,
)


class Untidy(messaging.MessageProcessor):
    """Leaves something behind with each message, and reports what it found at the beginning."""

    concurrency = 3
    shutdown_timeout = 1.0

    def __init__(self, *args: Any) -> None:
        self.found: list[str] = []
        self.unfinished: list[str] = []
        self.greenlets: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "leave")
    def leave(self, content: Any) -> None:
        leaves, pause = content["parameters"]
        self.look()
        finished = False
        try:
            gevent.sleep(pause)
            finished = True
        finally:
            if not finished:
                self.unfinished.append(leaves)
        self.leave_behind(leaves)

    @green.every(LEFT_BEHIND)
    def job(self) -> None:
        self.look()
        gevent.sleep(0)
        self.leave_behind("job")

    def look(self) -> None:
        """Note all that another message could have left here."""
        greenlet: Any = gevent.getcurrent()
        if user.get() is not None:
            self.found.append(f"context of {user.get()}")
        if greenlet.has_links() or {*greenlet.spawn_tree_locals} != {HELD}:  # its own message
            self.found.append("something at the greenlet")
        if vars(local):  # it links to the greenlet, so after the look for links
            self.found.append(f"local of {vars(local)}")
        if any(greenlet is other for other in self.greenlets):
            self.found.append("the greenlet itself")
        self.greenlets.append(greenlet)

    def leave_behind(self, leaves: str) -> None:
        greenlet: Any = gevent.getcurrent()
        if leaves in ("context", "job"):
            user.set(leaves)
        if leaves in ("local", "job"):
            local.user = leaves
            greenlet.spawn_tree_locals["user"] = leaves
        if leaves in ("timeout", "job"):
            gevent.Timeout.start_new(LEFT_BEHIND)
        if leaves == "link":
            greenlet.link(lambda _greenlet: None)
        if leaves == "kill":
            greenlet.kill(block=False)
        if leaves == "exit":
            raise gevent.GreenletExit


@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(steps=steps)
def test_no_message_sees_the_state_of_another(endpoint: Endpoint, steps: list[Step]) -> None:
    keys = [f"{uuid.uuid4().hex}" for _ in range(3)]
    processors = [Untidy({"name": key}, endpoint.at((endpoint.sub(key), key))) for key in keys]
    producer, sent = endpoint.producer(), Counter[int]()
    for processor in processors:
        processor.start()
    try:
        for number, leaves, pause in steps:
            if leaves == "restart":
                processors[number].stop()
                processors[number].start()
            else:
                producer.message_leave([leaves, pause], _key=keys[number])
                sent[number] += 1
        for number, processor in enumerate(processors):
            done = lambda p=processor: p.counts["handled"] + p.counts["failed"]  # noqa: E731
            wait_until(lambda n=number, done=done: done() >= sent[n], SOON)
        gevent.sleep(LONG)  # until all timeouts that were left have fired
    finally:
        for processor in processors:
            processor.stop()

    assert [p.found for p in processors] == [[], [], []]
    assert [p.unfinished for p in processors] == [[], [], []], "a timeout or kill hit another one"


PATCHED = """
from postage import green
green.patch_all()
import json, sys, threading, gevent
from postage import messaging
local, found = threading.local(), []
class X(messaging.Exchange): name = sys.argv[1]
class P(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "take")
    def take(self, content, reply):
        found.append([getattr(local, "user", None), threading.current_thread().name])
        local.user = content["parameters"]
        return None if reply("done") else None
class C(messaging.GenericProducer): eks = [(X, "k")]
processor = P(eqk=[(X, [(sys.argv[1], "k")])])
processor.start()
caller = C()
for number in range(5):
    caller.rpc_take(number)
gevent.joinall([gevent.spawn(caller.rpc_take, number) for number in range(5)])
processor.stop()
print(json.dumps([user for user, _ in found]))
"""


def test_a_patched_thread_local_is_empty_for_each_message(endpoint: Endpoint) -> None:
    finished = run_program("-c", PATCHED, endpoint.queue)

    assert finished.code == 0, finished.stderr
    assert json.loads(finished.stdout) == [None] * 10


def test_a_handler_that_kills_its_own_greenlet_hits_only_itself(endpoint: Endpoint) -> None:
    seen: list[Any] = []

    class SelfKilling(messaging.MessageProcessor):
        concurrency = 1

        @messaging.MessageHandler("command", "take")
        def take(self, content: Any) -> None:
            if content["parameters"] == "kill":
                with suppress(gevent.GreenletExit):
                    gevent.getcurrent().kill()  # type: ignore[attr-defined]
                seen.append("killed")
            gevent.sleep(0.001)
            seen.append(content["parameters"])

    processor = SelfKilling(None, endpoint.eqk)
    processor.start()
    try:
        for parameters in ("kill", "next", "kill", "last"):
            endpoint.producer().message_take(parameters)
        wait_until(lambda: processor.counts["handled"] == 4, SOON)
    finally:
        processor.stop()

    assert seen == ["killed", "kill", "next", "killed", "kill", "last"]
