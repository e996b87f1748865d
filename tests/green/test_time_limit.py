"""Handlers and jobs that take longer than they may."""

from __future__ import annotations

import math
import pickle
import socket
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest

from postage import Handler, HandlerError, MessageFilter, SettingsError, every, green, messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")

LIMIT = 0.1


def slow_filter(content: Any) -> Any:
    gevent.sleep(2 * LIMIT)
    return content


class Server(messaging.MessageProcessor):
    def __init__(self, eqk: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(None, eqk)

    @green.time_limit(LIMIT)
    @messaging.RpcHandler("command", "above")
    def above(self, content: Any, reply: Any) -> str:
        gevent.sleep(content["parameters"])
        return "done"

    @messaging.RpcHandler("command", "below")
    @green.time_limit(LIMIT)
    def below(self, content: Any, reply: Any) -> str:
        gevent.sleep(content["parameters"])
        return "done"

    @messaging.RpcHandler("command", "read")
    @green.time_limit(LIMIT)
    def read(self, content: Any, reply: Any) -> Any:
        ours, theirs = gevent.socket.socketpair()
        with ours, theirs:
            return ours.recv(content["parameters"])

    @messaging.RpcHandler("command", "by class")
    @green.time_limit(LIMIT)
    class ByClass(Handler):
        def call(self) -> str:
            gevent.sleep(self.data["parameters"])
            return "done"

    @messaging.RpcHandler("command", "static")
    @green.time_limit(LIMIT)
    @staticmethod
    def static(content: Any, reply: Any) -> str:
        gevent.sleep(content["parameters"])
        return "done"

    @messaging.MessageHandler("command", "note")
    @green.time_limit(LIMIT)
    def note(self, content: Any) -> None:
        gevent.sleep(3600)

    @MessageFilter(slow_filter)
    @green.time_limit(LIMIT)
    @messaging.RpcHandler("command", "filtered")
    def filtered(self, content: Any, reply: Any) -> str:
        return "done"

    @messaging.MessageHandler("command", "swallow")
    @green.time_limit(LIMIT)
    def swallow(self, content: Any) -> None:
        watch = Stopwatch()
        for _ in range(2):
            try:
                gevent.sleep(3600)
            except green.TimeLimit:  # noqa: PERF203 - this is what is tried
                self.seen.append(watch.seconds)
        gevent.sleep(0.01)

    @messaging.MessageHandler("command", "spawn")
    @green.time_limit(LIMIT)
    def spawn(self, content: Any) -> None:
        gevent.spawn_later(2 * LIMIT, self.seen.append, "spawned")


NAMES = ["above", "below", "read", "by class", "static"]


@pytest.mark.parametrize("name", NAMES)
def test_a_handler_that_takes_too_long_fails(endpoint: Endpoint, name: str) -> None:
    server = Server(endpoint.eqk)
    with running(server):
        caller, watch = endpoint.producer(), Stopwatch()
        result = caller.call(name, 3600)
        took, own = watch.seconds, watch.own

    assert (result.kind, result.value) == ("exception", "TimeLimit")
    assert "time limit of 0.1 s" in result.message
    assert took >= 0.9 * LIMIT
    assert own < LIMIT + 1
    assert server.counts["failed"] == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "read"])
def test_a_handler_in_time_is_not_disturbed(endpoint: Endpoint, name: str) -> None:
    with running(Server(endpoint.eqk)):
        results = [endpoint.producer().call(name, 0).value for _ in range(3)]
        gevent.sleep(2 * LIMIT)  # no timer is left that could hit anything

    assert results == ["done"] * 3


def test_the_message_is_rejected(endpoint: Endpoint, raw: Raw) -> None:
    raw.declare(endpoint.dead)
    with running(Server(endpoint.strict)):
        endpoint.producer().message_note()
        assert raw.take(endpoint.dead).value["name"] == "note"


def test_filters_have_their_own_time(endpoint: Endpoint) -> None:
    with running(Server(endpoint.eqk)):
        assert endpoint.producer().call("filtered").value == "done"


def test_a_handler_that_goes_on_gets_it_once_more(endpoint: Endpoint) -> None:
    server = Server(endpoint.eqk)
    with running(server):
        endpoint.producer().message_swallow()
        wait_until(lambda: server.counts["handled"], SOON)

    assert len(server.seen) == 2
    assert server.seen[0] >= 0.9 * LIMIT
    assert server.seen[1] - server.seen[0] >= 0.5


def test_spawned_greenlets_go_on(endpoint: Endpoint) -> None:
    server = Server(endpoint.eqk)
    with running(server):
        endpoint.producer().message_spawn()
        wait_until(lambda: server.seen, SOON)

    assert server.counts["failed"] == 0


def test_jobs_have_limits(endpoint: Endpoint) -> None:
    class Working(messaging.MessageProcessor):
        @every(0.01)
        @green.time_limit(LIMIT)
        def work(self) -> None:
            gevent.sleep(3600)

    processor = Working(None, endpoint.eqk)
    with running(processor):
        wait_until(lambda: processor.counts["failed_jobs"] == 2, SOON)


def test_a_handler_of_an_instance_has_a_limit(endpoint: Endpoint) -> None:
    @green.time_limit(LIMIT)
    @messaging.RpcHandler("command", "plugged")
    def plugged(self: Any, content: Any, reply: Any) -> Any:
        gevent.sleep(content["parameters"])
        return type(self).__name__

    server = Server(endpoint.eqk)
    server.add_handler(plugged)
    with running(server):
        caller = endpoint.producer()
        assert caller.call("plugged", 0).value == "Server"
        assert caller.call("plugged", 3600).value == "TimeLimit"


def test_a_limited_method_stays_a_method() -> None:
    assert Server.above.__name__ == "above"
    assert pickle.loads(pickle.dumps(Server.above)) is Server.above  # noqa: S301 - our own


@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf, "5", None, True], ids=str)
def test_limits_that_are_none(limit: Any) -> None:
    with pytest.raises(SettingsError, match="time_limit"):
        green.time_limit(limit)


def test_what_can_have_no_limit() -> None:
    async def lazy() -> None: ...

    def handler() -> None: ...

    with pytest.raises(HandlerError, match=r"write @time_limit\(seconds\)"):
        green.time_limit(handler)  # type: ignore[arg-type]
    for wrong in (lazy, 5, socket.socket):
        with pytest.raises(HandlerError):
            green.time_limit(1)(wrong)
