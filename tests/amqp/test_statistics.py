"""Statistics of connections and channels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from postage import green, messaging
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties
from postage.settings import Settings
from postage.statistics_types import ChannelStatistics, ConnectionStatistics
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint

SOON = 10.0


def test_an_unused_pair(settings: Settings) -> None:
    pair = Pair(settings)
    idle = pair.publishing.statistics()
    assert (idle.role, idle.state, idle.vhost) == ("publishing", "idle", settings.vhost)
    assert (idle.losses, idle.waiting, idle.host, idle.port, idle.channels) == (0, 0, "", 0, ())
    assert pair.consuming.statistics().role == "consuming"


def test_a_channel_counts_its_messages(settings: Settings) -> None:
    pair = Pair(settings)
    try:
        connection = pair.publishing.get()
        channel = connection.open_channel()
        queue = channel.queue_declare("", exclusive=True)
        got: list[Any] = []
        channel.consume(queue, got.append)
        confirming = connection.confirming.get()
        for _ in range(3):
            channel.publish("", queue, Properties(), b"x" * 1000)
        for _ in range(2):
            confirming.publish_confirmed("", queue, Properties(), b"y", limit=SOON)
        wait_until(lambda: len(got) == 5, SOON)
        found = pair.publishing.statistics()
        plain, confirmed = found.channels
        assert (plain.published, plain.delivered, plain.consumers) == (3, 5, 1)
        assert (confirmed.published, confirmed.unconfirmed, confirmed.consumers) == (2, 0, 0)
        assert (plain.number, confirmed.number) == (1, 2)
        assert (found.host, found.port) == (connection.host, connection.port)
        assert found.bytes_sent > 3000
        assert found.bytes_received > 3000
        assert found.bytes_unsent == 0
        assert found.state == plain.state == "open"
        held = got[0]
        channel.close()
        held.ack()
        assert channel.statistics().state == "ended"
        assert channel.statistics().stale_acks == 1
    finally:
        pair.close(1.0)
    assert pair.publishing.statistics().state == "closed"


def test_the_connections_of_this_hub(broker_env: Any) -> None:
    endpoint = Endpoint("statistics")
    consumer = messaging.GenericConsumer(endpoint.eqk)
    endpoint.producer().message_hello()
    mine = [each for each in green.statistics() if each.vhost == consumer.settings.vhost]
    assert [(each.role, each.state) for each in mine] == [
        ("publishing", "open"),
        ("consuming", "open"),
    ]
    assert mine[0].channels[-1].published >= 1


@pytest.mark.parametrize("kind", [ChannelStatistics, ConnectionStatistics])
def test_they_are_frozen(kind: Any) -> None:
    names = [each.name for each in dataclasses.fields(kind)]
    found = kind(**dict.fromkeys(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(found, names[0], 1)


def test_the_password_is_in_none_of_it(settings: Settings) -> None:
    pair = Pair(dataclasses.replace(settings, password="not-to-be-shown"))
    assert "not-to-be-shown" not in repr((pair.publishing.statistics(), pair.publishing))
