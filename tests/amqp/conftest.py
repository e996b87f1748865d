"""Fixtures for the AMQP client: settings, connections, and a check for errors in the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.hub
import pytest

from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.settings import Settings


@pytest.fixture(autouse=True)
def hub_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The errors that callbacks raised in the hub; a test that leaves one here fails."""
    errors: list[Any] = []
    hub = gevent.get_hub()
    passed_on = hub.handle_error

    def handle(context: Any, kind: Any, value: Any, traceback: Any) -> None:
        if not issubclass(kind, (*hub.SYSTEM_ERROR, *hub.NOT_ERROR)):
            errors.append((context, value))
        passed_on(context, kind, value, traceback)

    monkeypatch.setattr(hub, "handle_error", handle)
    yield errors
    assert not errors, "an error reached the hub"


@pytest.fixture
def settings(broker_env: Any) -> Settings:
    """The settings for the broker of the module."""
    return Settings.resolve()


@pytest.fixture
def connect() -> Iterator[Callable[[Settings], Connection]]:
    """Make connections that are closed when the test ends."""
    made: list[Connection] = []

    def make(settings: Settings) -> Connection:
        made.append(Connection(settings, "a test", lambda *_: None))
        return made[-1]

    yield make
    for connection in made:
        connection.close(2.0)


@pytest.fixture
def connection(connect: Callable[[Settings], Connection], settings: Settings) -> Connection:
    """A connection to the broker of the module."""
    return connect(settings)


@pytest.fixture
def channel(connection: Connection) -> Channel:
    """A channel of its own for one test."""
    return connection.open_channel()


@pytest.fixture
def queue(channel: Channel) -> str:
    """A queue for one test, which ends with its connection."""
    return channel.queue_declare("", exclusive=True)
