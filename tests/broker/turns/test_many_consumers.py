"""Many consumers of one queue: they take turns, and cost a delivery or a method nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.queue import BrokerQueue, ConsumerRotation
from postage.broker.core.vhost import VHost
from postage.broker.wire.methods import encode
from tests.support.core import LimitedConsumer, fill, new_queue
from tests.support.frame_client import FrameClient
from tests.support.instructions import instructions


@pytest.mark.parametrize("priority", [0, 1, -1])
def test_a_delivery_does_not_look_at_all_consumers(virtual_host: VHost, priority: int) -> None:
    costs = []
    for count in (10, 1000):
        queue = new_queue(virtual_host, f"q{count}")
        for _ in range(count):
            queue.add_consumer(LimitedConsumer())
        queue.add_consumer(LimitedConsumer(priority=priority))
        fill(queue, b"first")
        costs.append(instructions(lambda queue=queue: fill(queue, b"m")))
    assert costs[1] <= costs[0] + 100, "at most a search by halves"


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.integers(1, 30))
def test_consumers_of_the_highest_priority_take_turns(priorities: list[int], count: int) -> None:
    rotation = ConsumerRotation(single=False)
    consumers = [LimitedConsumer(priority=each) for each in priorities]
    for consumer in consumers:
        rotation.add(consumer)
    best = [each for each in consumers if each.priority == max(priorities)]
    taken = [rotation.next() for _ in range(count)]
    assert taken == [best[n % len(best)] for n in range(count)]
    assert [each.priority for each in rotation] == sorted(priorities, reverse=True)


def test_an_ack_serves_each_queue_of_a_channel_once(
    client: FrameClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.call("queue.declare", 1, queue="q")
    client.call("basic.qos", 1, prefetch_count=1, global_=True)
    for n in range(50):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=f"c{n}")
    client.publish("q")
    served: list[BrokerQueue] = []
    original = BrokerQueue.dispatch

    def dispatch(queue: BrokerQueue) -> None:
        served.append(queue)
        original(queue)

    monkeypatch.setattr(BrokerQueue, "dispatch", dispatch)
    client.send_method("basic.ack", 1, delivery_tag=1)
    assert len(served) <= 2


def test_a_method_does_not_look_at_all_consumers(client: FrameClient) -> None:
    costs = []
    for count in (10, 500):
        client.call("queue.declare", 1, queue=f"q{count}")
        for n in range(count):
            consume = {"queue": f"q{count}", "consumer_tag": f"{count}-{n}"}
            client.send_method("basic.consume", 1, **consume)
        client.receive()
        consume = encode(1, "basic.consume", queue=f"q{count}", consumer_tag=f"{count}-last")
        declare = encode(1, "queue.declare", queue=f"q{count}", durable=True)
        costs.append(instructions(lambda data=consume + declare: client.send(data)))
        assert client.receive()[-1].consumer_count == count + 1
    assert costs[0] == costs[1]
