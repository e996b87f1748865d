"""The hub and the native thread of the monitor send for the same connection at the same time."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.background_thread import repeated_in_thread
from tests.support.waiting import assert_stays

MESSAGES = 6000


@pytest.fixture(autouse=True)
def _nervous() -> Iterator[None]:
    """Let the interpreter change threads all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("prefetch", [1, 40, 0])
def test_messages_and_acks_of_two_senders_stay_whole(connection: Any, prefetch: int) -> None:
    channel, rng = connection.open_channel(), random.Random(prefetch)
    name = channel.queue_declare("", exclusive=True)
    got: list[int] = []
    waiting: list[Any] = []

    def handle(delivery: Any) -> None:
        got.append(int(delivery.body))
        waiting.append(delivery)
        # In any order, some late, some rejected.
        while waiting and (len(waiting) > 5 or prefetch == 1 or rng.random() < 0.5):
            settled = waiting.pop(rng.randrange(len(waiting)))
            if rng.random() < 0.1:
                settled.reject(requeue=False)
            else:
                settled.ack()

    with repeated_in_thread(connection.transport.send_waiting):
        channel.consume(name, handle, prefetch=prefetch)
        for number in range(MESSAGES // (10 if prefetch == 1 else 1)):
            connection.plain.get().publish("", name, Properties(), str(number).encode())
            if rng.random() < 0.05:
                gevent.sleep(0)
        expected = number + 1
        wait_until(lambda: len(got) + 6 * (prefetch > 1) >= expected or not channel.alive, 30)
        while waiting:
            waiting.pop().ack()
        wait_until(lambda: len(got) == expected or not channel.alive, 30)
        while waiting:
            waiting.pop().ack()
        assert_stays(lambda: channel.alive, 0.1)
        assert channel.stale_acks == 0
    assert got == list(range(expected))
    assert connection.transport.unsent == 0
    channel.close()
    with connection.lease() as other:
        ask = other._pika.queue_declare
        frame = other._ask("queue.declare", ask, queue=name, passive=True)
    assert frame.method.message_count == 0, "every message was acknowledged or rejected"
