"""The transport: two native threads write to one socket; it reads before a timer judges."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pika.frame
import pytest

from postage.green.amqp.connecting import connect_socket, parameters, targets
from postage.green.amqp.properties import Properties
from postage.green.amqp.transport import Transport
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.background_thread import repeated_in_thread
from tests.support.peer import HEARTBEAT, Peer, listening

SOON = 20.0
MB = 1 << 20


class Sink:
    """A peer that opens one channel, and then collects all frames that arrive."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.may_read = gevent.event.Event()
        self.number = 0
        self.peer: Peer

    def serve(self, peer: Peer) -> None:
        self.peer = peer
        peer.handshake()
        self.number = peer.open_channel()
        self.may_read.wait(SOON)
        while True:
            self.frames.append(peer.next())

    @property
    def beats(self) -> int:
        return sum(isinstance(frame, pika.frame.Heartbeat) for frame in self.frames)

    def body(self) -> bytes:
        return b"".join(f.fragment for f in self.frames if isinstance(f, pika.frame.Body))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def where(sink: Sink) -> Iterator[Settings]:
    """The settings for the peer."""
    with listening(sink.serve, late_after=0) as settings:
        yield settings


def test_two_threads_write_whole_frames(connect: Any, where: Settings, sink: Sink) -> None:
    sink.may_read.set()
    connection = connect(where)
    channel = connection.open_channel()
    bodies = [os.urandom(1 + size * 1000) for size in range(300)]
    with repeated_in_thread(connection.transport.beat):
        for body in bodies:
            channel.publish("", "q", Properties(), body, limit=SOON)
            gevent.sleep(0)
        wait_until(lambda: len(sink.body()) == sum(map(len, bodies)), SOON)
    assert sink.body() == b"".join(bodies)
    wait_until(lambda: connection.transport.unsent == 0, SOON)
    assert sink.beats


def test_sent_data_is_not_kept(connect: Any, where: Settings, sink: Sink) -> None:
    sink.may_read.set()
    connection = connect(where)
    connection.open_channel().publish("", "q", Properties(), b"x", limit=SOON)
    wait_until(lambda: sink.body() == b"x", SOON)
    assert connection.transport._sending.obj == b""


def test_much_is_sent_before_the_loop_turns(connect: Any, where: Settings) -> None:
    connection = connect(where)
    transport, channel = connection.transport, connection.open_channel()
    written = transport.written
    channel.publish("", "q", Properties(), b"x")
    assert transport.unsent == transport.written - written, "a little waits for the end of the turn"

    for _ in range(3):
        channel.publish("", "q", Properties(), b"x" * Transport.chunk)
        assert transport.unsent < 100, "no more than pika's own codec writes after the body"
    assert transport.this_turn > 3 * Transport.chunk
    wait_until(lambda: transport.this_turn == 0, SOON)


def test_a_half_written_frame_is_finished_first(connect: Any, where: Settings, sink: Sink) -> None:
    connection = connect(where)
    transport, channel = connection.transport, connection.open_channel()
    body = os.urandom(20 * MB)
    channel.publish("", "q", Properties(), body)
    wait_until(lambda: len(transport._sending), SOON)  # the socket is full
    unsent = transport.unsent
    assert 0 < unsent < len(body)

    for _ in range(1000):
        transport.beat()  # it takes none of these either, and keeps none
    assert transport.unsent <= unsent

    with repeated_in_thread(transport.beat):
        sink.may_read.set()
        wait_until(lambda: len(sink.body()) == len(body), SOON)
        wait_until(lambda: sink.beats > 10, SOON)
    assert sink.body() == body


def test_the_hub_writes_a_heartbeat_that_found_no_room(connect: Any, where: Settings) -> None:
    transport = connect(where).transport
    transport._send_some, written = _nothing, transport._send_some
    transport.beat()
    assert transport.unsent == len(HEARTBEAT)
    transport._send_some = written
    wait_until(lambda: transport.unsent == 0, SOON)


def _nothing(_data: memoryview) -> int:
    raise BlockingIOError


def test_no_heartbeat_after_the_end(connect: Any, where: Settings, sink: Sink) -> None:
    sink.may_read.set()
    connection = connect(where)
    connection.open_channel()
    connection.close_socket()
    mine, theirs = socket.socketpair()  # which may have got the descriptor of the old socket
    with mine, theirs:
        connection.transport.beat()
        for end in (mine, theirs):
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)
    assert (sink.beats, connection.transport.unsent) == (0, 0)


def test_no_heartbeat_before_the_connection_is_open() -> None:
    got: list[Any] = []

    def serve(peer: Peer) -> None:
        got.append(peer.next())
        greeted.set()
        got.append(peer.next())

    greeted = gevent.event.Event()
    with listening(serve) as where:
        ((target, _),) = targets(where.host, where.port, SOON)
        sock = connect_socket(where, where.host, target)
        ignore: dict[str, Any] = dict.fromkeys(("on_open", "on_failure", "on_close"), print)
        transport = Transport(parameters(where, where.host, where.port, "test"), sock, **ignore)
        transport.start()
        transport.beat()
        assert greeted.wait(SOON)
        transport.beat()
        assert transport.unsent == 0
        transport.close_socket()
    assert len(got) == 1


@pytest.mark.parametrize("delay", [0.05, 0.15])
def test_received_data_is_read_before_a_timer_fires(
    connect: Any, where: Settings, sink: Sink, delay: float
) -> None:
    connection = connect(where)
    connection.open_channel()
    transport = connection.transport
    wait_until(lambda: sink.number, SOON)
    seen = gevent.event.AsyncResult()
    before = transport.bytes_received
    transport._adapter_call_later(delay, lambda: seen.set(transport.bytes_received - before))
    sink.peer.sock._sock.send(HEARTBEAT)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass  # the socket and the timer are now due in the same turn of the loop
    assert seen.get(timeout=SOON) == len(HEARTBEAT)


def test_a_timer_does_not_fire_after_reading_the_end(
    connect: Any, where: Settings, sink: Sink
) -> None:
    connection = connect(where)
    connection.open_channel()
    transport = connection.transport
    wait_until(lambda: sink.number, SOON)
    checker = transport._heartbeat_checker
    fired: list[int] = []
    checker._connection._adapter_remove_timeout(checker._check_timer)
    checker._check_timer = transport._adapter_call_later(0.01, lambda: fired.append(1))
    sink.peer.sock._sock.shutdown(socket.SHUT_RDWR)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    wait_until(lambda: not connection.alive, SOON)
    assert not fired
    assert not transport._timers
