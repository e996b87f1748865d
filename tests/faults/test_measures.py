"""The measurements see what the process holds, and that it is gone."""

from __future__ import annotations

import socket

import gevent
import gevent.event

from tests.support.measures import connections_to, greenlets, memory, resident


def test_connections_are_counted_by_their_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connections_to(port) == 0
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            assert connections_to(port) == 1
        assert connections_to(port) == 0


def test_greenlets_are_those_that_have_not_ended() -> None:
    before = set(greenlets())
    event = gevent.event.Event()
    waiting = gevent.spawn(event.wait)
    new = gevent.spawn(event.wait)
    gevent.sleep(0)
    assert set(greenlets()) - before == {waiting, new}
    event.set()
    gevent.joinall([waiting, new])
    assert set(greenlets()) <= before


def test_memory_grows_with_what_is_held() -> None:
    before = memory()
    held = resident(50_000_000)
    assert 45_000_000 < memory() - before < 60_000_000
    held.close()
    assert memory() - before < 10_000_000
