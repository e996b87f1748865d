"""Connecting sockets: every address of a host is tried, and a limit ends any step."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import gevent.socket
import pytest

from postage.errors import OperationTimeout
from postage.green.amqp import connecting as connecting_module
from postage.green.amqp.connecting import connect_socket
from postage.settings import Settings
from postage.testing.rabbitmq import free_ports


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
    """Let every host have *addresses*."""
    known = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(connecting_module, "_look_up", lambda *_: known)


@pytest.mark.parametrize("limit", [None, OperationTimeout("connecting", 0.2)])
def test_a_limit_is_not_taken_for_the_failure_of_one_address(
    monkeypatch: pytest.MonkeyPatch, limit: BaseException | None
) -> None:
    with silent(2) as addresses:
        looked_up(monkeypatch, addresses)
        expected = type(limit) if limit else gevent.Timeout
        late = AssertionError("the second address was tried without a limit")
        with gevent.Timeout(5, late), pytest.raises(expected), gevent.Timeout(0.2, limit):
            connect_socket(Settings(), "rabbit", 5672)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_addresses_are_connected_to_as_names_are(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        with connect_socket(Settings(), host, port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


def test_the_second_address_is_tried_when_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        looked_up(monkeypatch, [("127.0.0.1", free_ports(1)[0]), there.getsockname()])
        sock = connect_socket(Settings(), "rabbit", 5672)
        assert sock.getpeername() == there.getsockname()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()


def test_the_last_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, [("127.0.0.1", port) for port in free_ports(2)])
    with pytest.raises(ConnectionRefusedError):
        connect_socket(Settings(), "rabbit", 5672)
    looked_up(monkeypatch, [])
    with pytest.raises(OSError, match="rabbit has no address"):
        connect_socket(Settings(), "rabbit", 5672)
