"""The time of a call on its server: when it is over, and as a bound for calls made meanwhile."""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from postage import deadline, messaging
from postage.green.amqp import connection
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, consuming, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")

AGES = 300.0
GRACE = 0.5


class Server(messaging.MessageProcessor):
    """Does in its handlers whatever the test says."""

    def __init__(self, endpoint: Endpoint, do: Callable[[Any], Any], **attributes: Any) -> None:
        self.do = do
        self.replies: list[Any] = []
        self.left: list[float] = []
        super().__init__({"name": "server"}, endpoint.eqk)
        self.__dict__.update(attributes)
        self.nested: Any = endpoint.producer(eks=[(endpoint.exchange, "mute")], rpc_timeout=AGES)
        self.mute = messaging.GenericConsumer(endpoint.at((endpoint.sub("mute"), "mute")))

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> None:
        self.replies.append(reply)
        self.left.append(deadline.remaining())
        result = self.do(self)
        if reply.is_due:
            reply(result)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.left.append(deadline.remaining())
        self.do(self)


@pytest.fixture
def caller(endpoint: Endpoint) -> Any:
    return endpoint.producer()


def timed(call: Callable[..., Any], *args: Any, **kwds: Any) -> tuple[str, float, float]:
    """Return the outcome of a call, and how long it took: by the clock, and of its own."""
    watch = Stopwatch()
    return call(*args, **kwds).value, watch.seconds, watch.own


# --- calls made by a handler


def test_a_nested_call_ends_before_its_own_caller_gives_up(endpoint: Endpoint, caller: Any) -> None:
    server = Server(endpoint, lambda self: list(timed(self.nested.rpc_x)))
    with running(server), consuming(server.mute) as requests:
        call = gevent.spawn(caller.rpc_ask, _timeout=0.6, _max_retry=1)
        wait_until(lambda: len(requests) == 1, SOON)
        outcome, took, own = call.get(timeout=SOON).value  # of the first try, during the second

    assert outcome == "TimeoutError"
    assert took > 0.3
    assert own < 0.6 + GRACE
    assert 0 < int(requests[0][2].expiration) <= 600
    assert 0.3 < server.left[0] <= 0.6


def test_a_call_in_a_call_in_a_call_has_less_time_each(endpoint: Endpoint, caller: Any) -> None:
    left: list[float] = []

    def deeper(self: Server) -> Any:
        left.append(deadline.remaining())
        gevent.sleep(0.01)
        return caller.rpc_ask(_timeout=AGES).value if len(left) < 5 else "deep"

    with running(Server(endpoint, deeper)):
        assert caller.rpc_ask(_timeout=5).value == "deep"

    assert left == sorted(left, reverse=True)
    assert left[0] <= 5
    assert left[0] - left[-1] >= 0.04


def test_a_nested_call_without_any_time_left_is_not_sent(endpoint: Endpoint, caller: Any) -> None:
    def too_late(self: Server) -> Any:
        gevent.sleep(0.3)
        result = self.nested.rpc_x()
        said.append((result.value, result.message))

    said: list[Any] = []
    with running(Server(endpoint, too_late)) as _, consuming_mute(endpoint) as requests:
        assert caller.rpc_ask(_timeout=0.2).value == "TimeoutError"
        wait_until(lambda: said, SOON)
        assert not requests

    assert said[0][0] == "TimeoutError"
    assert "has stopped waiting" in said[0][1]


def consuming_mute(endpoint: Endpoint) -> Any:
    """Collect what is sent to the key where nobody answers."""
    return consuming(messaging.GenericConsumer(endpoint.at((endpoint.sub("mute"), "mute"))))


def test_messages_and_private_queues_are_not_bounded(endpoint: Endpoint, caller: Any) -> None:
    def too_late(self: Server) -> None:
        gevent.sleep(0.2)
        self.nested.message_x()
        self.nested.rpc_queue_x(_timeout=7)

    with running(Server(endpoint, too_late)), consuming_mute(endpoint) as got:
        assert caller.rpc_ask(_timeout=0.1).value == "TimeoutError"
        wait_until(lambda: len(got) == 2, SOON)

    assert [header.expiration for _, _, header, _ in got] == [None, "7000"]


@pytest.mark.parametrize(
    ("spawn", "bounded"),
    [
        (lambda server: server.nested.rpc_x.later(), True),
        (lambda server: in_context(server.nested.rpc_x), True),
        (lambda server: gevent.spawn(server.nested.rpc_x, _timeout=1.0), False),
    ],
    ids=["later", "spawned with the context", "spawned"],
)
def test_greenlets_of_a_handler(endpoint: Endpoint, caller: Any, spawn: Any, bounded: bool) -> None:
    def gather(self: Server) -> Any:
        watch = Stopwatch()
        return [spawn(self).get().value, watch.seconds, watch.own]

    with running(Server(endpoint, gather)):
        outcome, took, own = caller.rpc_ask(_timeout=0.4, _max_retry=9).value

    assert outcome == "TimeoutError"
    assert own < 0.4 + GRACE if bounded else took >= 1.0


def in_context(call: Callable[..., Any]) -> Any:
    return gevent.spawn(contextvars.copy_context().run, call)


@pytest.mark.parametrize("how", ["reply", "later"])
def test_after_the_reply_nothing_is_bounded(endpoint: Endpoint, caller: Any, how: str) -> None:
    after: list[float] = []

    def reply_first(self: Server) -> Any:
        reply = self.replies[-1]
        if how == "later":
            reply.later()
            gevent.spawn(reply, "at once").join()
        else:
            reply("at once")
        after.append(deadline.remaining())

    server = Server(endpoint, reply_first)
    with running(server):
        assert caller.rpc_ask(_timeout=5).value == "at once"

    assert server.left[0] <= 5
    assert after == [math.inf]


def test_the_deadline_ends_with_its_message(endpoint: Endpoint, caller: Any) -> None:
    def never_answer(self: Server) -> None:
        if len(self.left) % 2:
            self.replies[-1].later()

    server = Server(endpoint, never_answer, concurrency=1)
    with running(server):
        for _ in range(2):
            caller.rpc_ask(_timeout=0.1)
            caller.message_note()
        wait_until(lambda: len(server.left) == 4, SOON)

    bounded = [left < math.inf for left in server.left]
    assert bounded == [True, False, True, False]
    assert deadline.current() is None


def test_a_request_that_never_expires_bounds_nothing(endpoint: Endpoint, raw: Raw) -> None:
    """As 1.2.1 sends them, and other languages may."""
    server = Server(endpoint, lambda _: "done")
    body = messaging.RpcCommand("ask").body
    answers = raw.declare("", exclusive=True, durable=False)
    with running(server):
        raw.put(endpoint.queue, messaging.JsonEncoder.encode(body).encode(), reply_to=answers)
        raw.take(answers)

    assert server.left == [math.inf]


# --- requests that come too late


def test_a_server_drops_requests_that_expired_in_the_process(
    endpoint: Endpoint, caller: Any, raw: Raw, caplog: Any
) -> None:
    gate = gevent.event.Event()
    server = Server(endpoint, lambda _: gate.wait(), concurrency=1)
    server.consumer.prefetch = 50
    caplog.set_level(logging.INFO, "postage.green.rpc.serving")
    with running(server):
        first = gevent.spawn(caller.rpc_ask)
        wait_until(lambda: len(server.left) == 1, SOON)
        late = [gevent.spawn(caller.rpc_ask, _timeout=0.2) for _ in range(5)]
        patient = gevent.spawn(caller.rpc_ask)
        caller.message_note()
        wait_until(lambda: "7 waiting" in repr(server), SOON)
        gevent.joinall(late, timeout=SOON)
        gevent.sleep(0.2)  # to the server a request has its time from when it came
        gate.set()
        assert first.get(timeout=SOON).value is True
        assert patient.get(timeout=SOON).value is True
        wait_until(lambda: server.counts["handled"] == 3, SOON)

    assert [each.value.value for each in late] == ["TimeoutError"] * 5
    assert len(server.left) == 3
    assert server.counts["expired"] == 5
    assert raw.count(endpoint.queue) == 0
    lines = [record for record in caplog.records if "have given up" in record.getMessage()]
    assert [record.levelname for record in lines] == ["INFO"]
    assert repr(server).split(",")[0] in lines[0].getMessage()


def test_the_timeout_of_one_call_costs_no_other_call(
    endpoint: Endpoint, caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it, requests use another channel: what the old one has carried is with the broker."""
    monkeypatch.setattr(connection, "MIN_CHANNEL_AGE", 0.0)
    gate = gevent.event.Event()
    server = Server(endpoint, lambda _: gate.wait(), concurrency=1)
    server.consumer.prefetch = 50
    with running(server):
        first = gevent.spawn(caller.rpc_ask)
        wait_until(lambda: len(server.left) == 1, SOON)
        hasty = gevent.spawn(caller.rpc_ask, _timeout=0.1)
        patient = [gevent.spawn(caller.rpc_ask) for _ in range(5)]
        assert hasty.get(timeout=SOON).value == "TimeoutError"
        gate.set()
        assert [each.get(timeout=SOON).value for each in (first, *patient)] == [True] * 6


def test_a_message_that_is_no_request_is_handled_however_late(endpoint: Endpoint, raw: Raw) -> None:
    gate = gevent.event.Event()
    server = Server(endpoint, lambda _: gate.wait(), concurrency=1)
    server.consumer.prefetch = 50
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("note").body).encode()
    with running(server):
        for _ in range(2):
            raw.put(endpoint.queue, body, expiration="100")
        wait_until(lambda: "1 waiting" in repr(server), SOON)
        gevent.sleep(0.15)
        gate.set()
        wait_until(lambda: server.counts["handled"] == 2, SOON)

    assert server.counts["expired"] == 0
