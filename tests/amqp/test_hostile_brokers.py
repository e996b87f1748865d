"""Brokers that are hostile or broken: what we keep of theirs is bounded, and the error says why."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pika import spec

from postage.errors import AuthenticationFailed, BrokerUnreachable, ConnectionFailed, PostageError
from postage.green.amqp.connection import Connection
from postage.testing.polling import wait_until
from tests.support.measures import memory
from tests.support.peer import FRAME_MAX, HEARTBEAT, OPEN_OK, START, Peer, listening
from tests.support.running import SOON
from tests.support.wire import method

ESCAPES = "\x1b[2J\nCRITICAL forged"
LONGEST = 1500
"""Characters of our errors: those of a peer's text, and ours."""


def raw_frame(kind: int, channel: int, payload: bytes, size: int | None = None) -> bytes:
    return struct.pack(">BHI", kind, channel, size or len(payload)) + payload + b"\xce"


def start(
    properties: bytes = b"", mechanisms: bytes = b"PLAIN", version: bytes = b"\0\x09"
) -> bytes:
    """Return a connection.start with these bytes in it."""
    parts = b"".join(
        struct.pack(">I", len(each)) + each for each in (properties, mechanisms, b"en")
    )
    return raw_frame(1, 0, struct.pack(">HH", 10, 10) + version + parts)


def nested(levels: int) -> bytes:
    table = b""
    for _ in range(levels):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return table


REFUSED: dict[str, bytes] = {
    "a frame of 4 GB": raw_frame(1, 0, b"x" * 100_000, 0xFFFFFFFF),
    "content before the start": raw_frame(3, 0, b"x" * 100),
    "a nested table": start(nested(3000)),
    "a table with a type that does not exist": start(b"\x03fooQ\xff\xff"),
    "a table that ends too early": start(b"\x03fooS\xff\xff\xff\xff"),
    "a method that does not exist": raw_frame(1, 0, struct.pack(">HH", 10, 99)),
    "a method that is cut short": raw_frame(1, 0, struct.pack(">HHB", 10, 10, 0)),
    "another version": start(version=b"\x09\x09"),
    "no mechanism": start(mechanisms=b"GSSAPI" + ESCAPES.encode()),
    "no frame end": START[:-1] + b"\0",
}

ACCEPTED: dict[str, bytes] = {
    "mechanisms of 4 MB": start(mechanisms=b"PLAIN " + b"M" * 4_000_000),
    "two million mechanisms": start(mechanisms=b"A " * 1_900_000 + b"PLAIN"),
    "escapes in the product": start(b"\x07productS\0\0\0\x18" + ESCAPES.encode()[:24].ljust(24)),
}


@contextmanager
def served(
    first: bytes, tune: tuple[int, int, int] = (2047, FRAME_MAX, 60)
) -> Iterator[Connection]:
    """Connect to a broker that sends *first* as its start, and *tune*; yield the connection."""

    def serve(peer: Peer) -> None:
        peer.next()
        peer.send(first)
        peer.expect(spec.Connection.StartOk)
        peer.send(method(0, spec.Connection.Tune(*tune)))
        peer.expect(spec.Connection.Open)
        peer.send(OPEN_OK, HEARTBEAT * 10_000)
        while True:
            peer.open_channel()

    with listening(serve, connect_timeout=2.0, operation_timeout=0.5) as where:
        connection = Connection(where, "testing", lambda _reason, _properties: None)
        try:
            yield connection
        finally:
            connection.close(0.0)


@pytest.mark.parametrize("case", REFUSED)
def test_a_start_that_makes_no_sense_is_refused(case: str) -> None:
    with pytest.raises(ConnectionFailed) as caught, served(REFUSED[case]):
        pass
    assert isinstance(caught.value, (BrokerUnreachable, AuthenticationFailed))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < LONGEST


def test_a_missing_mechanism_is_named() -> None:
    with (
        pytest.raises(AuthenticationFailed, match="offers no login by PLAIN"),
        served(start(mechanisms=b"GSSAPI")),
    ):
        pass


def test_the_reason_is_in_the_error() -> None:
    with (
        pytest.raises(BrokerUnreachable, match="a frame of 4294967295 bytes"),
        served(REFUSED["a frame of 4 GB"]),
    ):
        pass


@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_start_costs_little(case: str) -> None:
    before = memory()
    with served(ACCEPTED[case]) as connection:
        assert connection.open_channel().alive
        assert repr(connection).isprintable()
    assert memory() - before < 40e6


@pytest.mark.parametrize(
    "tune",
    [(0, 0, 0), (65535, 0xFFFFFFFF, 65535), (2047, spec.FRAME_MIN_SIZE, 1), (1, FRAME_MAX, 60)],
    ids=("no limits", "huge limits", "small limits", "one channel"),
)
def test_any_limits_are_borne(tune: tuple[int, int, int]) -> None:
    with served(START, tune) as connection:
        assert connection.open_channel().alive
        agreed = connection.transport.params.frame_max or FRAME_MAX
        assert spec.FRAME_MIN_SIZE <= agreed <= FRAME_MAX


def test_a_frame_max_that_is_too_small_is_refused() -> None:
    least = spec.FRAME_MIN_SIZE
    with pytest.raises(ConnectionFailed, match=str(least)), served(START, (2047, least - 1, 60)):
        pass


def test_a_time_that_no_clock_has_does_no_harm() -> None:
    with (
        contextlib.suppress(BrokerUnreachable),  # pika 1.5 takes it as a number, pika 1.4 does not
        served(start(b"\x01tT" + b"\xff" * 8)) as connection,
    ):
        assert connection.open_channel().alive


def test_a_second_channel_is_refused_where_one_is_allowed() -> None:
    with served(START, (1, FRAME_MAX, 60)) as connection:
        connection.open_channel()
        with pytest.raises(PostageError, match="channel_max"):
            connection.open_channel()


@pytest.mark.parametrize("code", [403, 541])
def test_a_close_with_escapes_is_shown_without(code: int) -> None:
    def serve(peer: Peer) -> None:
        peer.next()
        peer.send(START)
        peer.expect(spec.Connection.StartOk)
        peer.send(method(0, spec.Connection.Close(code, ESCAPES, 0, 0)))
        peer.until_gone()

    with pytest.raises(ConnectionFailed) as caught, listening(serve) as where:
        Connection(where, "testing", lambda _reason, _properties: None)
    assert str(caught.value).isprintable()


def test_the_reason_of_an_alarm_is_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def serve(peer: Peer) -> None:
        peer.handshake()
        peer.send(method(0, spec.Connection.Blocked(ESCAPES)) * 1000)
        peer.until_gone()

    with listening(serve) as where:
        connection = Connection(where, "testing", lambda _reason, _properties: None)
        wait_until(lambda: connection.transport.blocked, SOON)
        assert connection.transport.blocked is not None
        assert connection.transport.blocked.isprintable()
        connection.close(0.0)
    assert len(caplog.records) < 10


def test_channels_that_are_closed_at_once_are_named() -> None:
    def serve(peer: Peer) -> None:
        peer.handshake()
        for _ in range(20):
            number = peer.open_channel()
            peer.send(method(number, spec.Channel.Close(500, ESCAPES, 0, 0)))
        peer.until_gone()

    with listening(serve, operation_timeout=2.0) as where:
        connection = Connection(where, "testing", lambda _reason, _properties: None)
        for _ in range(20):
            channel = connection.open_channel()
            wait_until(lambda each=channel: not each.alive, SOON)
            with pytest.raises(PostageError) as caught:
                channel.queue_declare("q")
            assert str(caught.value).isprintable()
        assert connection.alive
        connection.close(0.0)
