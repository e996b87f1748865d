"""The proxy: each kind of fault, with a server that sends everything back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import gevent
import gevent.server
import gevent.socket
import pytest

from postage.testing.polling import wait_until
from tests.support.proxy import CHUNK, MAX_CHUNKS, Proxy
from tests.support.stopwatch import Stopwatch

SOON = 5.0


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""

    def serve(sock: gevent.socket.socket, _address: object) -> None:
        while data := sock.recv(65536):
            sock.sendall(data)

    server = gevent.server.StreamServer(("127.0.0.1", 0), serve)
    server.start()
    yield server.server_port
    server.stop(timeout=0)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as running:
        yield running


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Callable[[], gevent.socket.socket]]:
    """Open a connection through the proxy, and exchange a word over it."""
    socks = []

    def opened() -> gevent.socket.socket:
        sock = gevent.socket.create_connection(("127.0.0.1", proxy.port), SOON)
        socks.append(sock)
        assert echoed(sock, b"hello") == b"hello"
        return sock

    yield opened
    for sock in socks:
        sock.close()


class Wire(NamedTuple):
    """A proxy, and the sockets of both its sides; they block the thread."""

    proxy: Proxy
    client: socket.socket
    broker: socket.socket


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = stack.enter_context(Proxy(server.getsockname()[1]))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), SOON))
        broker = stack.enter_context(server.accept()[0])
        broker.settimeout(SOON)
        yield Wire(proxy, client, broker)


def echoed(sock: gevent.socket.socket, text: bytes) -> bytes:
    """Send *text*, and return the echo, which is shorter if the connection ends."""
    sock.sendall(text)
    answer = b""
    while len(answer) < len(text) and (data := sock.recv(65536)):
        answer += data
    return answer


def ended(sock: gevent.socket.socket) -> bool:
    """Tell whether the other side has closed, in whichever way."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_bytes_cross_both_ways_whole_and_in_order(connect) -> None:
    text = bytes(range(256)) * 4096
    sock = connect()
    answer = gevent.spawn(echoed, sock, text)
    assert answer.get(timeout=SOON) == text


def test_a_cut_ends_all_connections_at_once(connect, proxy: Proxy) -> None:
    socks = [connect(), connect()]
    assert proxy.cut() == 2
    assert all(ended(sock) for sock in socks)
    wait_until(lambda: proxy.connections == 0, SOON)
    connect()


def test_the_end_of_one_side_is_the_end_of_the_other(connect, proxy: Proxy) -> None:
    connect().close()
    wait_until(lambda: proxy.connections == 0, SOON)


def test_refused_connections_are_accepted_later(connect, proxy: Proxy) -> None:
    before = connect()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert echoed(before, b"still here") == b"still here"
    proxy.accept()
    connect()


def test_half_open_swallows_both_ways_and_keeps_the_sockets(connect, proxy: Proxy) -> None:
    sock = connect()
    assert proxy.half_open() == 1
    sock.sendall(b"x" * 10_000_000)  # more than all buffers: the proxy reads it
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert proxy.connections == 1
    assert proxy.buffered == 0
    connect()


def test_half_open_hides_the_end_of_the_other_side(connect, proxy: Proxy) -> None:
    left, other = connect(), connect()
    proxy.half_open()
    other.close()
    left.settimeout(0.1)
    with pytest.raises(TimeoutError):
        left.recv(1)


def test_a_silent_connection_ends_when_both_sides_have_closed(proxy: Proxy, wire: Wire) -> None:
    wait_until(lambda: wire.proxy.half_open() == 1, SOON)
    assert wire.proxy.undetected == 1
    wire.client.close()
    wait_until(lambda: wire.proxy.undetected == 0, SOON)
    assert wire.proxy.connections == 1
    wire.broker.close()
    wait_until(lambda: wire.proxy.connections == 0, SOON)
    assert wire.proxy.accepted == 1


def test_half_open_for_new_connections_until_a_cut(connect, proxy: Proxy) -> None:
    sock = connect()
    proxy.half_open(new=True)
    new = gevent.socket.create_connection(("127.0.0.1", proxy.port), SOON)
    new.settimeout(0.1)
    with pytest.raises(TimeoutError):
        echoed(new, b"anybody there?")
    new.close()
    proxy.cut()
    assert ended(sock), "the bytes it swallowed are lost, so it is cut"
    connect()


def test_a_delay_does_not_reduce_the_rate(connect, proxy: Proxy) -> None:
    sock = connect()
    proxy.slow(delay=0.2)
    watch = Stopwatch()
    for _ in range(20):
        sock.sendall(b"x")
        gevent.sleep(0.005)
    assert sock.recv(1) == b"x"
    assert watch.seconds >= 0.4
    assert watch.own < 1.0, "there and back"
    wait_until(lambda: len(sock.recv(100)) or True, SOON)


def test_a_rate_limits_the_bytes_per_second(connect, proxy: Proxy) -> None:
    sock = connect()
    proxy.slow(rate=10_000)
    watch = Stopwatch()
    assert echoed(sock, b"x" * 5_000) == b"x" * 5_000
    assert watch.seconds >= 0.4
    assert watch.own < 2.0
    proxy.slow()
    assert echoed(sock, b"y" * 500_000) == b"y" * 500_000


def test_a_cut_after_bytes_from_the_broker(connect, proxy: Proxy) -> None:
    sock = connect()
    assert proxy.cut_after(10, from_broker=True) == 1
    assert echoed(sock, b"0123456") == b"0123456"
    assert proxy.pending_cuts == 1
    assert echoed(sock, b"789abcdef") == b"789"
    assert ended(sock)
    wait_until(lambda: proxy.pending_cuts == 0, SOON)


def test_a_cut_after_bytes_to_the_broker(wire: Wire) -> None:
    wait_until(lambda: wire.proxy.cut_after(10) == 1, SOON)
    wire.client.sendall(b"0123456789abcdef")
    assert wire.broker.recv(100, socket.MSG_WAITALL) == b"0123456789"


def test_a_side_that_does_not_read_costs_no_memory(connect, proxy: Proxy) -> None:
    sock = connect()
    proxy.slow(rate=1_000)
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.sendall(b"x" * 100_000_000)
    assert 0 < proxy.buffered <= 2 * MAX_CHUNKS * CHUNK
    proxy.cut()
    wait_until(lambda: proxy.connections == 0, SOON)


def test_a_connection_ends_at_once_without_a_broker(proxy: Proxy, echo: int) -> None:
    proxy.target = 1
    sock = gevent.socket.create_connection(("127.0.0.1", proxy.port), SOON)
    assert ended(sock)
    sock.close()


def test_a_blocked_hub_does_not_block_the_proxy(wire: Wire) -> None:
    wire.proxy.slow(delay=0.1)
    wire.client.sendall(b"x")
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        pass
    wire.broker.setblocking(False)
    assert wire.broker.recv(1) == b"x"
