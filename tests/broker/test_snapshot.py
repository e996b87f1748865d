"""``broker.statistics()`` counts everything, and is immutable."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator

import pika
import pytest

from postage.broker import BrokerThread
from postage.broker import snapshot as module


@pytest.fixture
def broker() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


def test_it_counts_connections_channels_queues_and_messages(broker: BrokerThread) -> None:
    before = broker.statistics()
    properties = {"connection_name": "counter"}
    parameters = pika.URLParameters(broker.url)
    parameters.client_properties = properties
    with pika.BlockingConnection(parameters) as connection:
        channel, other = connection.channel(), connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        for _ in range(3):
            channel.basic_publish("", "q", b"12345")
        channel.basic_get("q")
        other.basic_consume("q", lambda *_: None)
        other.basic_qos(prefetch_count=1)
        now = broker.statistics()
        (one,) = now.connections
        queue = now.queue("q")

        assert (one.name, one.user, one.vhost, one.state) == ("counter", "guest", "/", "open")
        assert (one.channels, one.consumers, one.unacked) == (2, 1, 3)
        assert (one.published, one.blocked) == (3, False)
        assert now.channels == 2
        assert (queue.ready, queue.unacked, queue.consumers, queue.body_bytes) == (0, 3, 1, 0)
        assert (now.published, now.delivered, now.alarm) == (3, 3, None)
        channel.basic_publish("", "other", b"")
        other.close()

    later = broker.statistics()
    assert later.connections == ()
    assert later.published == 4
    assert later.delivered >= 3  # pika returns what it has not handled, and some is delivered again
    assert later.queue("q").ready == 3
    assert later.memory > before.memory == 0
    assert now.definitions > later.definitions > before.definitions == 0
    assert later.held == before.held == 0
    rates = later.since(before)
    assert rates.published > 0
    assert rates.delivered > 0


def test_a_queue_that_is_not_there(broker: BrokerThread) -> None:
    with pytest.raises(KeyError):
        broker.statistics().queue("none")


def test_it_is_frozen_and_fit_for_json(broker: BrokerThread) -> None:
    now = broker.statistics()

    json.dumps(dataclasses.asdict(now))
    with pytest.raises(dataclasses.FrozenInstanceError):
        now.memory = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", module.__all__)
def test_every_field_is_explained(name: str) -> None:
    thing = getattr(module, name)
    if not dataclasses.is_dataclass(thing):
        return
    source = inspect.getsource(thing)
    for field in dataclasses.fields(thing):
        line = source[source.index(f"\n    {field.name}: ") + 1 :].split("\n")[1]
        assert line.startswith('    """'), field.name
