"""Connecting to a host with several addresses: each gets its turn, and a limit ends any step."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import gevent.socket
import pytest
from pika import spec

from postage.errors import AuthenticationFailed, BrokerUnreachable
from postage.green.amqp import connecting as connecting_module
from postage.green.amqp.connecting import connect_socket, targets
from postage.green.amqp.connection import Connection
from postage.settings import Settings
from postage.testing.rabbitmq import free_ports
from tests.support.peer import START, TUNE, Peer, listening
from tests.support.stopwatch import Stopwatch
from tests.support.wire import method


@contextmanager
def silent(count: int) -> Iterator[list[Any]]:
    """Yield addresses that answer no attempt to connect: the queue of their listeners is full."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(2):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            found.append(listener.getsockname())
        yield found


def looked_up(monkeypatch: pytest.MonkeyPatch, addresses: list[Any]) -> None:
    """Let every host have *addresses*, of IPv6 where they have four parts."""
    known = [
        (socket.AF_INET6 if len(each) > 2 else socket.AF_INET, socket.SOCK_STREAM, 0, "", each)
        for each in addresses
    ]
    monkeypatch.setattr(connecting_module, "_look_up", lambda *_: known)


def stay(peer: Peer) -> None:
    """Be a broker."""
    peer.handshake()
    peer.until_gone()


def connect(limit: float = 2.0) -> Connection:
    """Connect to the host whose addresses `looked_up` has set."""
    where = Settings(host="rabbit", connect_timeout=limit)
    return Connection(where, "a test", lambda *_: None)


# --- one address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_addresses_are_connected_to_as_names_are(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        (target, share), *_ = [each for each in targets(host, port, 3) if each[0][0] == 2]
        assert 0 < share <= 3
        with connect_socket(Settings(), host, target) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_look_up_of_a_name_has_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_: gevent.sleep(5))
    watch = Stopwatch()
    with pytest.raises(BrokerUnreachable, match="looking up"):
        connect(0.2)
    assert watch.own < 1


# --- several addresses


REFUSING = {
    "IPv4": lambda: ("127.0.0.1", free_ports(1)[0]),
    "IPv6": lambda: ("::1", free_ports(1)[0], 0, 0),
}


@pytest.mark.parametrize("kind", REFUSING)
def test_an_address_that_refuses_leaves_its_time_to_the_next(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(peer: Peer) -> None:
        gevent.sleep(1.2)  # longer than an equal share
        stay(peer)

    with listening(slow) as where:
        looked_up(monkeypatch, [REFUSING[kind](), (where.host, where.port)])
        connect().close(0.1)


def test_an_address_that_swallows_all_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silent(2) as swallowing, listening(stay) as where:
        looked_up(monkeypatch, [*swallowing, (where.host, where.port)])
        watch = Stopwatch()
        connection = connect(1.5)
        assert watch.seconds > 0.9
        assert watch.own < 1.5
        connection.close(0.1)


SILENCES = {"at once": (), "after the first frame": (START,), "after the login": (START, TUNE)}


@pytest.mark.parametrize("when", SILENCES)
def test_an_address_that_falls_silent_leaves_time_for_the_next(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_silent(peer: Peer) -> None:
        for each in SILENCES[when]:
            peer.send(each)
        peer.until_gone()

    with listening(fall_silent) as first, listening(stay) as second:
        looked_up(monkeypatch, [(first.host, first.port), (second.host, second.port)])
        connect(1.0).close(0.1)


def test_an_address_that_hangs_up_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(lambda _: None) as first, listening(stay) as second:
        looked_up(monkeypatch, [(first.host, first.port), (second.host, second.port)])
        connect().close(0.1)


def test_a_wrong_login_is_not_tried_at_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(peer: Peer) -> None:
        tries.append(peer)
        peer.send(START)
        peer.expect(spec.Connection.StartOk)
        peer.send(method(0, spec.Connection.Close(403, "ACCESS_REFUSED - no", 0, 0)))
        peer.until_gone()

    with listening(refuse) as first, listening(refuse) as second:
        looked_up(monkeypatch, [(first.host, first.port), (second.host, second.port)])
        with pytest.raises(AuthenticationFailed):
            connect()
    assert len(tries) == 1


def test_the_last_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, [("127.0.0.1", port) for port in free_ports(2)])
    with pytest.raises(BrokerUnreachable, match="refused"):
        connect()


def test_a_limit_of_the_caller_is_no_failure_of_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silent(2) as addresses:
        looked_up(monkeypatch, addresses)
        watch = Stopwatch()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
            connect()
        assert watch.own < 0.8
