"""Streamed replies: what clients get of parts, errors and limits, and when handlers wait."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import (
    Around,
    BadParameters,
    ConnectionLost,
    RemoteError,
    RpcHandler,
    SettingsError,
    client,
    deadline,
    green,
    later,
    options,
    rpc,
)
from postage.errors import NoRoute
from postage.green.handling.time_limits import TimeLimit
from postage.services.stream_protocol import FIRST_WINDOW, WINDOW
from postage.services.streamed_calls import PartStream
from postage.testing.polling import wait_until
from tests.services.shop import OutOfStock, placed
from tests.services.streaming_stock import Line, Stock, apart
from tests.support.recorder import Recorder
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.mark.parametrize("count", [0, 1, FIRST_WINDOW, WINDOW + 1, 1000])
def test_all_parts_arrive_in_their_order(endpoint, count):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.lines(count)
        assert list(parts) == [Line(number, f"line {number}") for number in range(count)]
        assert list(parts) == []
        assert server.ends == ["lines"]
        wait_until(lambda: server.counts["handled"] == 1, SOON)


def test_streams_run_side_by_side_and_beside_calls(endpoint):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface, settings=apart())
    with running(server):
        reading = [gevent.spawn(lambda: [each.number for each in stock.lines(300)]) for _ in "abc"]
        assert [stock.one() for _ in range(20)] == [1] * 20
        assert [each.get(timeout=SOON) for each in reading] == [list(range(300))] * 3
        assert list(stock.plain_iterator(3)) == [0, 1, 2]


def test_a_slow_client_holds_the_handler(endpoint):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.lines(10**9)
        wait_until(lambda: len(server.sent) == FIRST_WINDOW, SOON)
        assert_stays(lambda: len(server.sent) == FIRST_WINDOW, 0.2)
        for _ in range(FIRST_WINDOW):
            next(parts)
        wait_until(lambda: len(server.sent) > WINDOW, SOON)
        assert_stays(lambda: len(server.sent) <= FIRST_WINDOW + WINDOW, 0.2)
        parts.close()
        wait_until(lambda: server.ends == ["lines"], SOON)


@pytest.mark.parametrize("after", [0, 1, FIRST_WINDOW + 1, 250])
@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("declared", OutOfStock, "bolt"),
        ("other", RemoteError, "LookupError"),
        ("odd", RemoteError, "has yielded what its hint does not allow"),
        ("result", RemoteError, "has yielded what its hint does not allow"),
    ],
)
def test_an_error_comes_after_the_parts_before_it(endpoint, after, how, error, text):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    got = []
    with running(server):
        parts = stock.failing(after, how)
        with pytest.raises(error, match=text) as raised:
            got.extend(parts)
        assert got == list(range(after))
        assert list(parts) == []
        if how == "declared":
            assert raised.value.args == ("bolt", after)
        wait_until(lambda: server.counts["handled"] == 1, SOON)
        assert server.counts["failed"] == (how != "declared")


def test_the_call_itself_tells_what_is_wrong_with_it(endpoint):
    interface = placed(Stock, endpoint)
    stock: Any = client(interface)
    with options(stock, timeout=0.3, max_retry=0):
        with pytest.raises(NoRoute):
            stock.lines(1)
        with pytest.raises(BadParameters, match="count"):
            stock.lines("many")

    class Newer(Stock):
        @rpc
        def lines(self, count: str) -> Iterator[Line]:  # type: ignore[override]
            raise AssertionError

    with running(placed(Newer, endpoint)({"name": "stock"})):
        with pytest.raises(BadParameters, match="Expected `str`"):
            stock.lines(1)
        with pytest.raises(RemoteError, match="must return an iterator"):
            list(stock.none_at_all())


def test_each_step_has_the_whole_time_of_a_call(endpoint, monkeypatch):
    limits, next_part = [], PartStream.next_part

    def noted(self: PartStream, seconds: float) -> Any:
        limits.append(seconds)
        return next_part(self, seconds)

    class Patient(Stock):
        @rpc
        def feed(self, count: int) -> Iterator[bool]:  # type: ignore[override]
            for _ in range(count):
                yield deadline.remaining() == math.inf  # for the calls of the handler

    monkeypatch.setattr(PartStream, "next_part", noted)
    interface = placed(Patient, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server), options(stock, timeout=7):
        assert list(stock.feed(3)) == [True] * 3
    assert limits == [7] * 4


def test_classic_callers_get_an_error_and_nothing_runs(endpoint):
    interface = placed(Stock, endpoint)
    server = interface({"name": "stock"})
    producer = type("P", (green.GenericProducer,), {"eks": [(endpoint.exchange, endpoint.queue)]})()
    with running(server):
        result = producer.call("lines", 3)
        assert (result.kind, result.value) == ("exception", "HandlerStreams")
        assert "call it by a typed client" in result.message
    assert server.sent == server.ends == []


def test_a_server_that_does_not_stream_is_a_bad_reply(endpoint):
    class Classic(Recorder):
        @RpcHandler("command", "lines")
        def lines(self, content, reply):
            return 5

    stock = client(placed(Stock, endpoint))
    eqk = [(endpoint.exchange, [(endpoint.queue, endpoint.queue)])]
    with running(Classic({"name": "classic"}, eqk)):
        with pytest.raises(RemoteError, match="no stream") as raised:
            stock.lines(3)
        assert raised.value.name == "BadReply"
        with pytest.raises(RemoteError, match="nobody here handles 'feed'"):
            stock.feed(3)


def test_hooks_limits_and_the_message_hold_for_streams(endpoint):
    class Watching(Around):
        def handle(self, message):
            handled = yield
            results.append(handled.result.value)

        def send(self, message):
            message.headers["x-tenant"] = "a"
            yield

    results: list[Any] = []
    interface = placed(Stock, endpoint, around=[Watching()])
    server, stock = interface({"name": "stock"}), client(interface)
    stock._producer.around = [Watching()]
    with running(server):
        assert list(stock.tenants()) == ["a", "a"]
        wait_until(lambda: results == [None], SOON)
        with pytest.raises(RemoteError, match=TimeLimit.__name__):
            list(stock.limited())
        assert server.ends == ["limited"]
        wait_until(lambda: results == [None, "TimeLimit"], SOON)


def test_a_running_stream_is_one_handling(endpoint):
    interface = placed(Stock, endpoint, concurrency=1)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.feed(1)
        assert next(parts) == 0
        call = later(stock.one)()
        assert_stays(lambda: not call.ready(), 0.1)
        parts.close()
        assert call.get() == 1


def test_an_unusual_use_of_the_iterator_is_told(endpoint):
    interface = placed(Stock, endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts: Any = stock.feed(1)
        assert next(parts) == 0
        with pytest.raises(TypeError, match="nothing can be sent"):
            parts.send(5)
        reader = gevent.spawn(next, parts)
        gevent.sleep(0)
        with pytest.raises(ValueError, match="another greenlet waits"):
            next(parts)
        parts.close()
        with pytest.raises(ConnectionLost, match="closed"):
            reader.get(timeout=SOON)
        with pytest.raises(KeyError):
            stock.feed(1).throw(KeyError("own"))
        with pytest.raises(SettingsError, match="returns one value"):
            later(stock.feed)
        wait_until(lambda: server.ends == ["feed", "feed"], SOON)
