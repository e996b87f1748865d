"""Streams beside peers in other languages, hostile ones, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import gevent
import pika.exceptions
import pytest

from postage import (
    PRIVATE_QUEUES,
    ConnectionLost,
    MessageResult,
    MessageResultException,
    RemoteError,
    Service,
    client,
    options,
    rpc,
)
from postage.message import RpcCommand
from postage.services import stream_protocol, streamed_calls
from postage.services.stream_protocol import ACCEPTED, CREDIT, END, FIRST_WINDOW, NUMBER, PART, STOP
from postage.testing.polling import wait_until
from tests.services.shop import placed
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.raw import Raw, Taken
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

SHORT = 0.2


class Counting(Service):
    """Counts as far as the client lets it."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.sent: list[int] = []
        self.ends: list[str] = []
        super().__init__(*args, **kwds)

    @rpc
    def count(self, to: int) -> Iterator[int]:
        try:
            for number in range(to):
                self.sent.append(number)
                yield number
        finally:
            self.ends.append("count")


def encoded(message: Any) -> bytes:
    return json.dumps(message.body).encode()


# --- a server of plain pika


class RawServer:
    """Answers one stream with what the test says."""

    def __init__(self, raw: Raw, endpoint: Endpoint) -> None:
        self.raw, self.stock = raw, client(placed(Counting, endpoint))
        raw.declare(endpoint.queue)
        raw.channel.queue_bind(endpoint.queue, endpoint.exchange.name, endpoint.queue)
        self.credits = raw.declare("", durable=False, exclusive=True)
        with options(self.stock, timeout=SOON):
            self.opening: Any = gevent.spawn(self.stock.count, 10**9)
        self.request = raw.take(endpoint.queue)

    def send(self, kind: str | None, number: Any, result: Any = None, **properties: Any) -> None:
        """Send a message of the stream to the caller."""
        values = {
            "correlation_id": self.request.properties.correlation_id,
            "headers": {NUMBER: number},
            "reply_to": self.credits,
            "type": kind,
            **properties,
        }
        body = b"" if result is None else encoded(result)
        self.raw.put(self.request.properties.reply_to, body, **values)

    def part(self, number: Any, **properties: Any) -> None:
        self.send(PART, number, MessageResult(number), **properties)

    def accept(self, **properties: Any) -> Any:
        """Accept the stream; return the iterator of the client."""
        self.send(ACCEPTED, 0, **properties)
        return self.opening.get(timeout=SOON)

    @property
    def is_left(self) -> bool:
        """Whether the client has deleted its queue."""
        try:
            return not self.raw.exists(self.request.properties.reply_to)
        except pika.exceptions.ChannelClosedByBroker:  # 405: it is exclusive
            return False

    def heard(self) -> tuple[str, int]:
        """Return the type and the number of the next message of the client."""
        return heard(self.raw.take(self.credits))


def heard(taken: Taken) -> tuple[str, int]:
    headers: dict[str, int] = taken.properties.headers
    return str(taken.properties.type), headers[NUMBER]


@pytest.fixture
def server(raw: Raw, endpoint: Endpoint) -> Iterator[RawServer]:
    made = RawServer(raw, endpoint)
    yield made
    made.opening.kill()


def test_the_wire_form_is_that_of_the_documentation(server):
    assert server.request.properties.headers == {NUMBER: FIRST_WINDOW}
    assert server.request.properties.reply_to.startswith("amq.gen-")
    parts = server.accept()
    for number in range(1, FIRST_WINDOW + 1):
        server.part(number)
    assert [next(parts) for _ in range(FIRST_WINDOW)] == list(range(1, FIRST_WINDOW + 1))
    # The size of the first part tells how many more may be on their way.
    assert server.heard() == (CREDIT, stream_protocol.WINDOW + 1)
    server.send(END, FIRST_WINDOW, MessageResult(None))
    assert list(parts) == []
    assert server.raw.count(server.credits) == 0


def test_a_stop_is_told_to_the_server(server):
    parts = server.accept()
    server.part(1)
    assert next(parts) == 1
    parts.close()
    assert [server.heard(), server.heard()] == [(CREDIT, stream_protocol.WINDOW + 1), (STOP, 1)]
    wait_until(lambda: server.is_left, SOON)


LOSSES: dict[str, Any] = {
    "a gap": (lambda server: server.part(4), "part 3 was lost: after it, part 4"),
    "a part twice": (lambda server: server.part(2), "part 3 was lost"),
    "no number": (lambda server: server.part(None), "part 3 was lost"),
    "no header": (lambda server: server.part(3, headers=None), "part 3 was lost"),
    "an early end": (lambda server: server.send(END, 3, MessageResult(None)), "2 of 3 have arr"),
    "a late end": (lambda server: server.send(END, 1, MessageResult(None)), "2 of 1 have arr"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_part_is_an_error(server, loss):
    parts = server.accept()
    server.part(1)
    server.part(2)
    cause, text = LOSSES[loss]
    cause(server)
    assert [next(parts), next(parts)] == [1, 2]
    with pytest.raises(ConnectionLost, match=text):
        next(parts)
    wait_until(lambda: server.is_left, SOON)


def test_a_flood_ends_the_stream(server):
    parts = server.accept()
    for number in range(1, FIRST_WINDOW + 2):
        server.part(number)
    # The client has taken none of them yet, so that it has not allowed more.
    wait_until(lambda: parts._stream.ending is not None, SOON)
    with pytest.raises(ConnectionLost, match="sends more than the 10 parts"):
        list(parts)


@pytest.mark.parametrize(
    ("answer", "name", "text"),
    [
        (MessageResultException("Odd", "why"), "Odd", "why"),
        (MessageResult(5), "BadReply", "no stream"),
        (None, "", "Malformed reply"),
    ],
    ids=["exception", "success", "empty"],
)
@pytest.mark.parametrize("after", [0, 2])
def test_an_ordinary_reply_ends_the_stream(server, answer, name, text, after):
    if after:
        parts = server.accept()
        server.part(1)
        server.part(2)
    server.send(None, 0, answer, reply_to=None, headers=None)
    with pytest.raises(RemoteError, match=text) as raised:
        list(parts) if after else server.opening.get(timeout=SOON)
    assert raised.value.name == name


@pytest.mark.parametrize("body", [{"value": "text"}, {"type": "odd"}, None], ids=str)
def test_a_part_that_does_not_fit_ends_the_stream(server, body):
    parts = server.accept()
    result = MessageResult(1)
    if body is None:
        result.body = []  # type: ignore[assignment]
    else:
        result.body["content"].update(body)
    server.send(PART, 1, result)
    with pytest.raises(RemoteError):
        next(parts)
    assert [server.heard(), server.heard()] == [(CREDIT, stream_protocol.WINDOW + 1), (STOP, 1)]


def test_what_others_send_is_no_part(server, raw):
    parts = server.accept()
    elsewhere = raw.declare("", durable=False, exclusive=True)
    server.part(1, reply_to=elsewhere)
    server.part(1, reply_to=None)
    server.part(1, correlation_id="forged")
    server.part(1, correlation_id=None)
    server.send(END, 0, MessageResult(None), reply_to=elsewhere)
    server.part(1)
    server.send(END, 1, MessageResult(None))
    assert list(parts) == [1]


def test_a_second_server_is_stopped(server, raw):
    parts = server.accept()
    second = raw.declare("", durable=False, exclusive=True)
    server.send(ACCEPTED, 0, reply_to=second)
    assert heard(raw.take(second)) == (STOP, 0)
    assert server.heard() == (CREDIT, FIRST_WINDOW)  # is it still there?
    server.part(1)
    server.send(END, 1, MessageResult(None))
    assert list(parts) == [1]


@pytest.mark.parametrize("queue", ["victim", None, "amq.topic"])
def test_credits_go_to_private_queues_only(server, raw, queue):
    raw.declare("victim")
    with pytest.raises(ConnectionLost, match="is no private queue"):
        server.accept(reply_to=queue)
    assert_stays(lambda: raw.count("victim") == 0, SHORT)


@pytest.mark.parametrize("end", [False, True], ids=["no end", "the end is on its way"])
def test_a_returned_credit_tells_that_the_server_is_gone(server, raw, monkeypatch, end):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.05)
    monkeypatch.setattr(streamed_calls, "LINGER", SOON if end else SHORT)
    parts = server.accept()
    raw.channel.queue_delete(server.credits)
    reader = gevent.spawn(list, parts)
    state = stream_protocol.StreamState
    wait_until(lambda: parts._stream.stream_state is state.LEFT, SOON)
    if end:
        server.part(1)
        server.send(END, 1, MessageResult(None))
        assert reader.get(timeout=SOON) == [1]
    else:
        with pytest.raises(ConnectionLost, match="the server is gone"):
            reader.get(timeout=SOON)


# --- a client of plain pika


class RawClient:
    """Asks for one stream, and takes its messages one by one."""

    def __init__(self, raw: Raw, endpoint: Endpoint, window: Any = 3, **properties: Any) -> None:
        self.raw = raw
        self.queue = raw.declare("", durable=False, exclusive=True)
        values = {
            "reply_to": self.queue,
            "correlation_id": "secret",
            "headers": {NUMBER: window},
            **properties,
        }
        request = encoded(RpcCommand("count", {"to": 10**9}))
        raw.send(endpoint.exchange.name, endpoint.queue, request, **values)
        self.server = ""

    def take(self) -> tuple[str, int]:
        taken = self.raw.take(self.queue)
        self.server = taken.properties.reply_to
        assert taken.properties.correlation_id == "secret"
        return heard(taken)

    def send(self, kind: str, number: Any, id_: str | None = "secret") -> None:
        headers = {NUMBER: number}
        self.raw.put(self.server, b"", correlation_id=id_, type=kind, headers=headers)


def test_a_client_in_another_language_reads_by_its_window(raw, endpoint):
    service = placed(Counting, endpoint)({"name": "counting"})
    with running(service):
        caller = RawClient(raw, endpoint)
        taken = [caller.take() for _ in range(4)]
        assert taken == [(ACCEPTED, 0), (PART, 1), (PART, 2), (PART, 3)]
        for kind, number, id_ in [
            (CREDIT, 9, "forged"),
            (CREDIT, 9, None),
            (STOP, 9, "forged"),
            (CREDIT, 2, "secret"),  # less than before
            (CREDIT, -1, "secret"),
            (CREDIT, "many", "secret"),
            (CREDIT, None, "secret"),
            ("postage.odd", 9, "secret"),
        ]:
            caller.send(kind, number, id_)
        assert_stays(lambda: service.sent == [0, 1, 2], SHORT)
        caller.send(CREDIT, 5)
        assert [caller.take() for _ in range(2)] == [(PART, 4), (PART, 5)]
        caller.send(STOP, 5)
        wait_until(lambda: service.ends == ["count"], SOON)
        wait_until(lambda: service.counts["handled"] == 1, SOON)
        assert service.sent == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("credit", [10**12, 2**63 - 1])
def test_a_credit_allows_a_thousand_parts_at_most(raw, endpoint, credit):
    service = placed(Counting, endpoint)({"name": "counting"})
    with running(service):
        caller = RawClient(raw, endpoint, credit)
        wait_until(lambda: len(service.sent) == 1000, SOON)
        assert_stays(lambda: len(service.sent) == 1000, SHORT)
        caller.take()
        caller.send(CREDIT, credit)
        wait_until(lambda: len(service.sent) == 2000, SOON)
        raw.channel.queue_delete(caller.queue)
        caller.send(CREDIT, credit)
        wait_until(lambda: service.ends == ["count"], SOON)


@pytest.mark.parametrize("window", [0, -1, True, "3", None])
def test_what_is_no_window_asks_for_no_stream(raw, endpoint, window):
    service = placed(Counting, endpoint)({"name": "counting"})
    with running(service):
        caller = RawClient(raw, endpoint, window)
        result = raw.take(caller.queue).value["content"]
        assert (result["type"], result["value"]) == ("exception", stream_protocol.STREAMS)
        assert service.sent == []


def test_a_request_without_an_id_gets_no_stream(raw, endpoint):
    service = placed(Counting, endpoint)({"name": "counting"})
    with running(service):
        caller = RawClient(raw, endpoint, correlation_id=None)
        assert raw.take(caller.queue).value["content"]["value"] == stream_protocol.STREAMS
        RawClient(raw, endpoint, reply_to=None)
        wait_until(lambda: service.counts["handled"] == 2, SOON)
        assert service.sent == []


def test_streams_go_only_to_the_queues_that_are_allowed(raw, endpoint):
    service = placed(Counting, endpoint, reply_to=PRIVATE_QUEUES)({"name": "counting"})
    victim = raw.declare(endpoint.sub("victim"))
    with running(service):
        RawClient(raw, endpoint, reply_to=victim)
        wait_until(lambda: service.counts["malformed"] == 1, SOON)
        assert (service.sent, raw.count(victim)) == ([], 0)


@pytest.mark.parametrize("taken", [0, 3])
def test_the_handler_ends_when_the_queue_of_its_caller_does(raw, endpoint, taken, monkeypatch):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.05)
    service = placed(Counting, endpoint)({"name": "counting"})
    with running(service):
        caller = RawClient(raw, endpoint)
        for _ in range(taken):
            caller.take()
        wait_until(lambda: len(service.sent) == 3, SOON)  # it waits for credit
        raw.channel.queue_delete(caller.queue)
        wait_until(lambda: service.ends == ["count"], SOON)
        wait_until(lambda: service.counts["handled"] == 1, SOON)
        assert service.counts["failed"] == 0


# --- processes that are killed

PROGRAM = """
import sys
from collections.abc import Iterator
from postage import Exchange, Service, client, rpc, run

class Place(Exchange):
    name = sys.argv[1]

class Counting(Service):
    exchange, queue = Place, sys.argv[2]

    @rpc
    def count(self, to: int) -> Iterator[int]:
        print("began", flush=True)
        yield from range(to)

if sys.argv[3] == "server":
    run(Counting({"name": "counting"}))
else:
    for number in client(Counting).count(10**9):
        if number == 50:
            print("fifty", flush=True)
"""


@pytest.mark.parametrize("successor", [False, True], ids=["alone", "with a successor"])
def test_a_server_that_is_killed_is_an_error_in_time(endpoint, successor, monkeypatch):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.1)
    monkeypatch.setattr(streamed_calls, "LINGER", SHORT)
    # It declares the queue, and has no consumer.
    service = placed(Counting, endpoint)({"name": "counting"})
    counting, got = client(type(service)), []
    with Program("-c", PROGRAM, endpoint.exchange.name, endpoint.queue, "server") as program:
        with options(counting, timeout=SOON):
            parts = counting.count(10**9)
        got.extend(next(parts) for _ in range(50))
        os.kill(program.pid, signal.SIGKILL)
        if not successor:
            with pytest.raises(ConnectionLost):
                got.extend(parts)
            assert got == list(range(len(got)))
    with running(service):  # the request is delivered again
        if successor:
            with pytest.raises(ConnectionLost):
                got.extend(parts)
            assert got == list(range(len(got)))
        wait_until(lambda: service.counts["handled"] == 1, SOON)
        assert service.ends == ["count"] * len(service.ends)
        with options(counting, timeout=SOON):
            assert list(counting.count(3)) == [0, 1, 2]


def test_a_client_that_is_killed_ends_the_handler(endpoint, monkeypatch):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.1)
    service = placed(Counting, endpoint)({"name": "counting"})
    with (
        running(service),
        Program("-c", PROGRAM, endpoint.exchange.name, endpoint.queue, "client") as program,
    ):
        program.wait_for_line("fifty", SOON)
        assert service.ends == []
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: service.ends == ["count"], SOON)
        wait_until(lambda: service.counts["handled"] == 1, SOON)
