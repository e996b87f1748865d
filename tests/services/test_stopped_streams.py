"""Streams that end early: a side stops, its time is over, or its connection is lost."""

from __future__ import annotations

import gc
from contextlib import closing
from typing import Any

import gevent
import pytest

from postage import (
    ConnectionLost,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    green,
)
from postage.services import stream_protocol
from postage.services.stream_protocol import FIRST_WINDOW
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.services.shop import placed
from tests.services.streaming_stock import Stock, apart
from tests.support.recovery import pair_of
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

STOPS: dict[str, Any] = {
    "break": lambda parts: [each for _, each in zip(range(10), parts, strict=False)],
    "close": lambda parts: parts.close(),
    "closing": lambda parts: closing(parts).__exit__(),
    "delete": next,
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("call", ["lines", "feed"])
def test_a_client_that_stops_early_ends_the_handler(endpoint, stop, call):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = getattr(stock, call)(10**9 if call == "lines" else 10)
        STOPS[stop](parts)
        del parts
        gc.collect()
        wait_until(lambda: server.ends == [call], SOON)  # not "caught"
        wait_until(lambda: server.counts["handled"] == 1, SOON)
        assert (server.counts["failed"], server.statistics().busy) == (0, 0)
        assert stock.one() == 1


@pytest.mark.parametrize("where", ["in a step", "between steps", "timeout"])
def test_a_client_that_is_killed_ends_the_handler(endpoint, where):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    seen = []

    def read() -> None:
        for each in stock.feed(3):
            seen.append(each)
            if where == "between steps" and len(seen) == 3:
                gevent.sleep(SOON)

    with running(server):
        reader = gevent.spawn(read)
        wait_until(lambda: len(seen) == 3, SOON)
        if where == "timeout":
            reader.kill(gevent.Timeout(1))
        reader.kill()
        wait_until(lambda: server.ends == ["feed"], SOON)


def test_a_step_ends_at_its_limit(endpoint):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts: Any = stock.feed(2)
        assert [next(parts), next(parts)] == [0, 1]
        parts._timeout = 0.1  # of the whole stream, its beginning could take longer here
        with pytest.raises(TimeoutError, match=r"no part within 0\.1 s, after 2 parts"):
            next(parts)
        wait_until(lambda: server.ends == ["feed"], SOON)


def test_the_handler_gives_up_an_idle_client(endpoint):
    interface = placed(Stock, endpoint, stream_timeout=0.2)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.lines(10**6)
        wait_until(lambda: server.ends == ["lines"], SOON)
        assert [next(parts).number for _ in range(FIRST_WINDOW)] == list(range(FIRST_WINDOW))
        with pytest.raises(TimeoutError, match="has taken no part"):
            next(parts)


def test_a_server_that_stops_tells_its_clients(endpoint):
    interface = placed(Stock, endpoint, shutdown_timeout=0.1)
    server, stock = interface({"name": "stock"}), client(interface, settings=apart())
    with running(server):
        parts = stock.feed(3)
        assert [next(parts) for _ in range(3)] == [0, 1, 2]
        server.stop()
        with pytest.raises(ConnectionLost, match="the server stops"):
            next(parts)
        assert server.ends == ["feed"]
        wait_until(lambda: server.counts["handled"] == 1, SOON)  # it is not to be done again
    with running(interface({"name": "stock"})):
        assert stock.one() == 1


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_lost_connection_ends_the_stream_on_both_sides(endpoint, side, monkeypatch):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.1)
    settings = apart()
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface, settings=settings)
    with running(server):
        parts = stock.feed(1)
        assert next(parts) == 0
        given = settings if side == "client" else Settings.resolve(None, None, None)
        pair = green.runtime.runtime_of(given).pair
        (pair.consuming if side == "client" else pair.publishing).current.transport.cut()
        with pytest.raises(ConnectionLost):
            next(parts)
        wait_until(lambda: server.ends == ["feed"], 2 * SOON)
        assert stock.one() == 1


def test_a_stream_keeps_the_connection_that_its_server_leaves(endpoint, monkeypatch):
    """The broker has read nothing on it for a while, and then reads on."""
    monkeypatch.setattr("postage.green.amqp.detours.CHECK_INTERVAL", 0.05)
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.feed(3)
        assert next(parts) == 0
        pair = pair_of(server.consumer)
        left = pair.publishing.current
        channel = left.calling.get()
        with monkeypatch.context() as patch:
            patch.setattr(type(channel), "is_behind", True)
            pair._detours.consider(left, channel)
            wait_until(lambda: pair.publishing.current is not left, SOON)
        assert_stays(lambda: left.alive, 0.5)
        server.gate.set()
        assert list(parts) == [1, 2]
        wait_until(lambda: not left.alive, SOON, "it is closed after the stream")
