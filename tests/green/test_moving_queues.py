"""From a classic to a quorum queue while messages come, as docs/rabbitmq.md tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from postage import Quorum, messaging
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

PUBLISHERS = 5


class Worker(messaging.MessageProcessor):
    """Counts how often it has handled each message."""

    handled: Counter[Any]

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        gevent.sleep(0.002)
        self.handled[content["parameters"]] += 1


def worker(endpoint: Endpoint, handled: Counter[Any], *queues: Any) -> Worker:
    made = Worker({}, endpoint.at(*queues))
    made.handled = handled
    return made


@pytest.mark.usefixtures("broker_env")
def test_no_message_is_lost_on_the_way_to_another_queue(endpoint: Endpoint, raw: Raw) -> None:
    before, after, confirmed = Counter[Any](), Counter[Any](), list[str]()
    old_queue, new_queue = endpoint.queue, Quorum(endpoint.sub("2"))
    old = worker(endpoint, before, (old_queue, endpoint.key))
    drained = {"name": old_queue, "flags": {"passive": True}}, None

    is_over = False

    def publish(number: int) -> None:
        producer, count = endpoint.producer(), 0
        while not is_over:
            count += 1
            producer.message_work(f"{number}/{count}")
            confirmed.append(f"{number}/{count}")

    def more(handled: Counter[Any]) -> Callable[[], bool]:
        target = handled.total() + 50
        return lambda: handled.total() >= target

    with ExitStack() as stack:
        stack.enter_context(running(old))
        publishers = [spawned(publish, number) for number in range(PUBLISHERS)]
        wait_until(more(before), SOON)
        new = worker(endpoint, after, (new_queue, endpoint.key), drained)  # step 1
        stack.enter_context(running(new))
        wait_until(more(after), SOON)
        old.stop(SOON)  # step 2
        wait_until(more(after), SOON)
        new.consumer.queue_unbind(endpoint.exchange, old_queue, endpoint.key)  # step 3
        wait_until(lambda: raw.count(old_queue) == 0, SOON)
        wait_until(more(after), SOON)
        is_over = True
        assert outcomes(publishers, SOON) == [None] * PUBLISHERS
        wait_until(lambda: not {*confirmed} - before.keys() - after.keys(), SOON)
        assert raw.count(old_queue) == 0

    last = worker(endpoint, after, (new_queue, endpoint.key))  # step 4
    raw.channel.queue_delete(old_queue, if_empty=True)
    with running(last):
        endpoint.producer().message_work("last")
        wait_until(lambda: after["last"] == 1, SOON)
    twice = [each for each in confirmed if before[each] + after[each] > 1]
    assert set(confirmed) > set(twice), "only what came between the first and the third step"
    assert max((before + after).values()) <= 2
