"""What clients make a broker on sockets keep is bounded, and others can work beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pika import spec

from postage.broker import BrokerThread, Limits
from postage.broker.wire.methods import encode
from postage.testing.processes import wait_blocking
from tests.support.frame_client import body, header
from tests.support.sync_client import SocketWire, SyncClient

MEGABYTE = 1 << 20
MEMORY = 8 * MEGABYTE
FLOOD = 60 * MEGABYTE
"""Bytes that a hostile client causes, or tries to."""


@pytest.fixture
def broker() -> Iterator[BrokerThread]:
    with BrokerThread(limits=Limits(memory=MEMORY, unsent=MEGABYTE)) as running:
        yield running


@pytest.fixture
def clients(broker: BrokerThread) -> Iterator[list[SyncClient]]:
    """Two clients with channel 1 open."""
    found = [SyncClient(SocketWire("127.0.0.1", broker.port, 10.0), "/") for _ in range(2)]
    for client in found:
        client.send(1, spec.Channel.Open())
        client.wait(1, spec.Channel.OpenOk)
    yield found
    for client in found:
        client.wire.close()


def message(key: str, size: int, **flags: bool) -> bytes:
    """Return the frames of a message to the queue *key*."""
    publish = encode(1, "basic.publish", routing_key=key, **flags)
    parts = [body(1, bytes(min(100_000, size - at))) for at in range(0, size, 100_000)]
    return b"".join((publish, header(1, size), *parts))


def in_a_transaction(client: SyncClient) -> bytes:
    client.send(1, spec.Tx.Select())
    return message("q", 500_000)


def returned(client: SyncClient) -> bytes:
    return message("missing", 500_000, mandatory=True)


def direct_replies(client: SyncClient) -> bytes:
    client.send(1, spec.Basic.Consume(queue="amq.rabbitmq.reply-to", no_ack=True))
    client.wait(1, spec.Basic.ConsumeOk)
    client.send(1, spec.Queue.Declare(queue="k", durable=True))
    publish = spec.Basic.Publish(exchange="", routing_key="k")
    client.publish(1, publish, {"reply_to": "amq.rabbitmq.reply-to"}, b"")
    client.send(1, spec.Basic.Get(queue="k", no_ack=True))
    client.wait(1, spec.Basic.GetOk)
    (got,) = [each for each in client.events if isinstance(each.method, spec.Basic.GetOk)]
    return message((got.properties or {})["reply_to"], 500_000)


def answers_to_basic_get(client: SyncClient) -> bytes:
    client.send(1, spec.Queue.Declare(queue="own", exclusive=True))
    client.publish(1, spec.Basic.Publish(exchange="", routing_key="own"), None, bytes(500_000))
    again = encode(1, "basic.recover_async", requeue=True)
    return (encode(1, "basic.get", queue="own") + again) * 2000


def unfinished_messages(client: SyncClient) -> bytes:
    opened = [encode(number, "channel.open") for number in range(2, 200)]
    for number in range(2, 200):
        publish = encode(number, "basic.publish", routing_key="q")
        opened.extend((publish, header(number, MEGABYTE), body(number, bytes(100_000))))
    return b"".join(opened)


HOSTILE = (in_a_transaction, returned, direct_replies, answers_to_basic_get, unfinished_messages)


@pytest.mark.slow
@pytest.mark.parametrize("prepare", HOSTILE, ids=lambda prepare: prepare.__name__)
def test_a_flood_of_one_client_blocks_no_other(
    broker: BrokerThread, clients: list[SyncClient], prepare: Callable[[SyncClient], bytes]
) -> None:
    hostile, healthy = clients
    healthy.send(1, spec.Queue.Declare(queue="q", durable=True), spec.Confirm.Select())
    healthy.wait(1, spec.Confirm.SelectOk)
    data, peaks = prepare(hostile), [0]
    assert isinstance(hostile.wire, SocketWire)
    sock = hostile.wire.socket
    sock.settimeout(0.5)

    def flood() -> None:
        with suppress(OSError):  # the broker reads no more, or has ended the connection
            for _ in range(FLOOD // max(len(data), MEGABYTE // 4)):
                sock.sendall(data)

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    while flooding.is_alive():
        peaks.append(broker.statistics().memory)
        healthy.events.clear()
        healthy.publish(1, spec.Basic.Publish(exchange="", routing_key="q"), None, b"healthy")
        healthy.wait(1, spec.Basic.Ack)
        assert not healthy.ended
    flooding.join()
    assert max(peaks) <= MEMORY, "no publisher is blocked"
    assert wait_blocking(lambda: broker.statistics().held <= MEMORY // 2, 5)
    hostile.wire.close()
    healthy.send(1, spec.Queue.Purge(queue="q"))
    healthy.wait(1, spec.Queue.PurgeOk)
    assert wait_blocking(lambda: broker.statistics().memory == 0, 5)
