"""Streams of users who may not declare queues: by direct reply-to, on one side or on both."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from postage import Exchange, RemoteError, Service, client, rpc
from postage.services import stream_protocol
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint, exchange
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = [
    pytest.mark.usefixtures("broker_env"),
    pytest.mark.needs_rabbitmq("permissions"),
]

USERS = {"stream-bystander": ("^$", ".*", ".*"), "stream-silent": ("^$", "^test_", ".*")}
"""May declare nothing; may not even write to the default exchange."""


class Counting(Service):
    """Counts as far as the client lets it."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.ends: list[str] = []
        super().__init__(*args, **kwds)

    @rpc
    def count(self, to: int) -> Iterator[int]:
        try:
            yield from range(to)
        finally:
            self.ends.append("count")


@pytest.fixture(scope="module")
def logins(broker_env: Any, rabbitmq: Any) -> dict[str, Settings]:
    """Return the settings of a user with all rights, and of those in `USERS`."""
    everything = Settings.resolve(None, None, None)
    made = {"guest": everything}
    for name, rights in USERS.items():
        control(rabbitmq, "add_user", name, "pw")
        control(rabbitmq, "set_permissions", "--vhost", broker_env.vhost, name, *rights)
        made[name] = replace(everything, user=name, password="pw")
    return made


@pytest.fixture
def interface(raw: Raw, endpoint: Endpoint) -> Any:
    """The service; its exchange and queue exist already."""
    place: type[Exchange] = exchange(endpoint.exchange.name, passive=True)
    raw.channel.exchange_declare(place.name, "direct", durable=True)
    raw.declare(endpoint.queue)
    raw.channel.queue_bind(endpoint.queue, place.name, endpoint.queue)
    eqk = [(place, [({"name": endpoint.queue, "flags": {"passive": True}}, None)])]
    return type("Counting", (Counting,), {"eqk": eqk, "exchange": place, "park": None})


@pytest.mark.parametrize("server", ["guest", "stream-bystander"])
@pytest.mark.parametrize("caller", ["guest", "stream-bystander"])
def test_streams_need_no_right_to_declare_queues(
    logins, interface, endpoint, caller, server, monkeypatch
):
    monkeypatch.setattr(stream_protocol, "PULSE", 0.1)
    service = interface({"name": "counting"}, settings=logins[server])
    counting = client(interface, queue=endpoint.queue, settings=logins[caller])
    with running(service):
        assert list(counting.count(1000)) == list(range(1000))
        parts = counting.count(10**9)
        assert next(parts) == 0
        del parts
        gc.collect()
        wait_until(lambda: service.ends == ["count"] * 2, SOON)


def test_who_may_not_send_credits_is_told(logins, interface, endpoint):
    service = interface({"name": "counting"}, settings=logins["guest"])
    service.shutdown_timeout = 0.1  # nobody tells its handler that this client is gone
    counting = client(interface, queue=endpoint.queue, settings=logins["stream-silent"])
    with running(service):
        parts = counting.count(1000)
        with pytest.raises(RemoteError, match="ACCESS_REFUSED") as raised:
            list(parts)
        assert raised.value.name == "ChannelRefused"
