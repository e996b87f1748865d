"""Streamed replies: what both sides see of parts, ends, errors and stops."""

from __future__ import annotations

import gc
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gevent
import gevent.event
import pytest

from postage import (
    Application,
    Around,
    BadParameters,
    ConnectionLost,
    HandlerError,
    MessageResult,
    RemoteError,
    RpcHandler,
    Service,
    SettingsError,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    command,
    deadline,
    green,
    later,
    options,
    rpc,
)
from postage.errors import NoRoute
from postage.green.handling.time_limits import TimeLimit
from postage.message import RpcCommand
from postage.services import stream_protocol
from postage.services.stream_protocol import FIRST_WINDOW, WINDOW
from postage.services.streamed_calls import PartStream
from postage.settings import Settings
from postage.testing import handle
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Recorder
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


@dataclass
class Line:
    number: int
    text: str


class OutOfStock(Exception):
    """A part of the interface."""


class Stock(Service):
    """The interface, and the service."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.sent: list[int] = []
        self.ends: list[str] = []
        self.gate = gevent.event.Event()
        super().__init__(*args, **kwds)

    @rpc
    def lines(self, count: int) -> Iterator[Line]:
        try:
            for number in range(count):
                self.sent.append(number)
                yield Line(number, f"line {number}")
        finally:
            self.ends.append("lines")

    @rpc(name="all", raises=(OutOfStock,))
    def failing(self, after: int, how: str) -> Generator[int, None, None]:
        yield from range(after)
        if how == "declared":
            raise OutOfStock("bolt", after)
        if how == "odd":
            yield "text"  # type: ignore[misc]
        if how == "result":
            yield MessageResult(5)  # type: ignore[misc]
        raise LookupError(how)

    @rpc
    def feed(self, count: int) -> Iterator[int]:
        try:
            yield from range(count)
            self.gate.wait()
        except Exception:
            self.ends.append("caught")
        finally:
            self.ends.append("feed")

    @rpc
    def plain_iterator(self, count: int) -> Iterator[int]:
        return iter(range(count))

    @rpc
    def none_at_all(self) -> Iterator[int]:
        return None  # type: ignore[return-value]

    @rpc
    def tenants(self) -> Iterator[str]:
        for _ in range(2):
            yield green.message().headers["x-tenant"]

    @rpc
    @green.time_limit(0.2)
    def limited(self) -> Iterator[int]:
        try:
            yield 1
            gevent.sleep(SOON)
        finally:
            self.ends.append("limited")

    @rpc
    def one(self) -> int:
        return 1


def placed(endpoint: Endpoint, kind: Any = Stock, **attributes: Any) -> Any:
    """Return a class like *kind* whose queue is that of *endpoint*."""
    known = {"exchange": endpoint.exchange, "queue": endpoint.queue}
    return type("Stock", (kind,), known | attributes)


def apart() -> Settings:
    """Return settings for a client with connections of its own."""
    return replace(Settings.resolve(None, None, None), heartbeat=61)


@pytest.mark.parametrize("count", [0, 1, FIRST_WINDOW, WINDOW + 1, 1000])
def test_all_parts_arrive_in_their_order(endpoint, count):
    interface = placed(endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.lines(count)
        assert list(parts) == [Line(number, f"line {number}") for number in range(count)]
        assert list(parts) == []
        assert server.ends == ["lines"]
        wait_until(lambda: server.counts["handled"] == 1, SOON)


def test_streams_run_side_by_side_and_beside_calls(endpoint):
    interface = placed(endpoint)
    server, stock = interface({"name": "stock"}), client(interface, settings=apart())
    with running(server):
        reading = [gevent.spawn(lambda: [each.number for each in stock.lines(300)]) for _ in "abc"]
        assert [stock.one() for _ in range(20)] == [1] * 20
        assert [each.get(timeout=SOON) for each in reading] == [list(range(300))] * 3
        assert list(stock.plain_iterator(3)) == [0, 1, 2]


def test_a_slow_client_holds_the_handler(endpoint):
    interface = placed(endpoint)
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
    interface = placed(endpoint)
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
    interface = placed(endpoint)
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

    with running(placed(endpoint, Newer)({"name": "stock"})):
        with pytest.raises(BadParameters, match="Expected `str`"):
            stock.lines(1)
        with pytest.raises(RemoteError, match="must return an iterator"):
            list(stock.none_at_all())


STOPS: dict[str, Any] = {
    "break": lambda parts: [each for _, each in zip(range(10), parts, strict=False)],
    "close": lambda parts: parts.close(),
    "closing": lambda parts: closing(parts).__exit__(),
    "delete": next,
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("call", ["lines", "feed"])
def test_a_client_that_stops_early_ends_the_handler(endpoint, stop, call):
    interface = placed(endpoint)
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
    interface = placed(endpoint)
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
    interface = placed(endpoint)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts: Any = stock.feed(2)
        assert [next(parts), next(parts)] == [0, 1]
        parts._timeout = 0.1  # of the whole stream, its beginning could take longer here
        with pytest.raises(TimeoutError, match=r"no part within 0\.1 s, after 2 parts"):
            next(parts)
        wait_until(lambda: server.ends == ["feed"], SOON)


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
    interface = placed(endpoint, Patient)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server), options(stock, timeout=7):
        assert list(stock.feed(3)) == [True] * 3
    assert limits == [7] * 4


def test_a_server_that_stops_tells_its_clients(endpoint):
    interface = placed(endpoint, shutdown_timeout=0.1)
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


def test_classic_callers_get_an_error_and_nothing_runs(endpoint):
    interface = placed(endpoint)
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

    stock = client(placed(endpoint))
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
    interface = placed(endpoint, around=[Watching()])
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
    interface = placed(endpoint, concurrency=1)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.feed(1)
        assert next(parts) == 0
        call = later(stock.one)()
        assert_stays(lambda: not call.ready(), 0.1)
        parts.close()
        assert call.get() == 1


def test_an_unusual_use_of_the_iterator_is_told(endpoint):
    interface = placed(endpoint)
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


def test_the_handler_gives_up_an_idle_client(endpoint):
    interface = placed(endpoint, stream_timeout=0.2)
    server, stock = interface({"name": "stock"}), client(interface)
    with running(server):
        parts = stock.lines(10**6)
        wait_until(lambda: server.ends == ["lines"], SOON)
        assert [next(parts).number for _ in range(FIRST_WINDOW)] == list(range(FIRST_WINDOW))
        with pytest.raises(TimeoutError, match="has taken no part"):
            next(parts)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_lost_connection_ends_the_stream_on_both_sides(endpoint, side, monkeypatch):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.1)
    settings = apart()
    interface = placed(endpoint)
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


@pytest.mark.parametrize("function", ["lines", "failing"])
def test_a_streaming_handler_is_tested_without_a_broker(endpoint, function):
    interface = placed(endpoint)
    if function == "lines":
        handled = handle(interface, RpcCommand("lines", {"count": 2}))
        assert handled.result is not None
        assert handled.result.value == [
            {"number": 0, "text": "line 0"},
            {"number": 1, "text": "line 1"},
        ]
        with pytest.raises(HandlerError, match="yields more than 1000 parts"):
            handle(interface, RpcCommand("lines", {"count": 2000}))
        return
    handled = handle(interface, RpcCommand("all", {"after": 2, "how": "declared"}))
    assert handled.result is not None
    assert handled.result.value == "OutOfStock"
    with pytest.raises(LookupError):
        handle(interface, RpcCommand("all", {"after": 2, "how": "other"}))


def yields(self) -> Iterator[int]:
    yield 1


def yields_a_list(self) -> list[int]:
    yield [1]  # type: ignore[misc]


def no_part(self) -> Iterator: ...  # type: ignore[type-arg,empty-body]
def takes_values(self) -> Generator[int, str, None]: ...  # type: ignore[empty-body]
def returns_more(self) -> Generator[int, None, str]: ...  # type: ignore[empty-body]
def odd_part(self) -> Iterator[object]: ...  # type: ignore[empty-body]


async def async_parts(self) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("decorate", "told"),
    [
        (lambda: command(yields), "is a generator"),
        (lambda: command(rpc(no_part)), "needs the type of its parts"),
        (lambda: rpc(yields_a_list), "write -> Iterator[Part]"),
        (lambda: rpc(no_part), "needs the type of its parts"),
        (lambda: rpc(takes_values), "needs the type of its parts"),
        (lambda: rpc(returns_more), "needs the type of its parts"),
        (lambda: rpc(odd_part), "the hint of its parts has object"),
        (lambda: rpc(async_parts), "is async"),
    ],
)
def test_what_can_be_no_stream_is_refused(decorate, told):
    with pytest.raises(SettingsError) as raised:
        type("Stock", (Service,), {"handler": decorate()})
    assert told in str(raised.value)


def test_a_plain_function_may_stream(endpoint):
    place = {"exchange": endpoint.exchange, "queue": endpoint.queue}
    shop = Application("shop", stream_timeout=5, **place)

    @shop.rpc
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    @shop.rpc
    def nothing(count: int) -> Iterator[None]:
        yield from [None] * count

    with running(shop()):
        assert list(shop.client(numbers)(3)) == [0, 1, 2]
        assert list(shop.client(nothing)(3)) == [None] * 3


def test_the_signature_says_that_a_handler_streams():
    known = Stock.signatures
    assert (known["lines"].streams, known["lines"].returns) == (True, Line)
    assert (known["failing"].streams, known["failing"].returns) == (True, int)
    assert not known["one"].streams


@pytest.mark.parametrize("value", [0, -1, "5", None])
def test_a_stream_timeout_is_a_number_of_seconds(endpoint, value):
    with pytest.raises(SettingsError, match="stream_timeout"):
        placed(endpoint, stream_timeout=value)
    service = placed(endpoint)({"name": "stock"})
    with pytest.raises(SettingsError, match="stream_timeout"):
        service.stream_timeout = value
