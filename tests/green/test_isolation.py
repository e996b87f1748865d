"""Many processors in one process: each gets its own messages only, and all can call each other."""

from __future__ import annotations

import os
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.broker_commands import connections_of
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Cats(messaging.MessageProcessor):
    def __init__(self, *args: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "feed")
    def feed(self, content):
        self.seen.append(content["parameters"])

    @messaging.RpcHandler("command", "noise")
    def noise(self, content, reply_func):
        reply_func("meow")


class Dogs(messaging.MessageProcessor):
    def __init__(self, *args: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "feed")
    def feed(self, content):
        self.seen.append(content["parameters"])

    @messaging.RpcHandler("command", "noise")
    def noise(self, content, reply_func):
        reply_func("woof")


@pytest.mark.behaviour("handler-inheritance")
def test_equal_handler_names_in_two_classes_do_not_mix(endpoint):
    cats = Cats({"name": "cats"}, endpoint.at((endpoint.sub("cats"), "cats")))
    dogs = Dogs({"name": "dogs"}, endpoint.at((endpoint.sub("dogs"), "dogs")))
    producer = endpoint.producer()

    with running(cats, dogs):
        for number in range(10):
            producer.message_feed(f"fish {number}", _key="cats")
            producer.message_feed(f"bone {number}", _key="dogs")
        assert producer.rpc_noise(_key="cats").value == "meow"
        assert producer.rpc_noise(_key="dogs").value == "woof"
        wait_until(lambda: len(cats.seen) == len(dogs.seen) == 10, SOON)

    assert cats.seen == [f"fish {number}" for number in range(10)]
    assert dogs.seen == [f"bone {number}" for number in range(10)]


@pytest.mark.behaviour("handler-inheritance")
def test_processors_of_one_class_have_messages_of_their_own(endpoint):
    one, other = (Cats({}, endpoint.at((endpoint.sub(key), key))) for key in "ab")

    with running(one, other):
        endpoint.producer().message_feed("fish", _key="a")
        assert endpoint.producer().rpc_noise(_key="b").value == "meow"
        wait_until(lambda: one.seen == ["fish"], SOON)

    assert other.seen == []


def counting(endpoint: Any, key: str, to: str, concurrency: int) -> messaging.MessageProcessor:
    """Return a processor at *key* which counts down with the help of the one at *to*."""

    class CountsDown(messaging.MessageProcessor):
        @messaging.RpcHandler("command", "count_down")
        def count_down(self, content, reply_func):
            left = content["parameters"]
            rest = self.next_one.rpc_count_down(left - 1).value if left else []
            reply_func([left, *rest])

    CountsDown.concurrency = concurrency
    processor = CountsDown({"name": key}, endpoint.at((endpoint.sub(key), key)))
    processor.next_one = endpoint.producer(eks=[(endpoint.exchange, to)])
    return processor


@pytest.mark.behaviour("rpc-call")
def test_a_handler_can_call_its_own_processor(endpoint):
    with running(counting(endpoint, "self", "self", 100)):
        result = endpoint.producer().rpc_count_down(5, _key="self")

    assert result.value == [5, 4, 3, 2, 1, 0]


@pytest.mark.behaviour("rpc-call")
@pytest.mark.parametrize("concurrency", [100, 1])
def test_a_handler_can_call_another_processor_of_the_process(endpoint, concurrency):
    chain = [counting(endpoint, f"k{n}", f"k{n + 1}", concurrency) for n in range(6)]

    with running(*chain):
        result = endpoint.producer().rpc_count_down(5, _key="k0")

    assert result.value == [5, 4, 3, 2, 1, 0]


@pytest.mark.behaviour("processor-arguments", "round-robin-and-fan-out")
def test_two_hundred_processors_share_two_connections(endpoint, rabbitmq):
    keys = [f"key{number}" for number in range(200)]
    herd = [Cats({"name": key}, endpoint.at((endpoint.sub(key), key))) for key in keys]
    producer = endpoint.producer()

    with running(*herd):
        calls = [gevent.spawn(producer.rpc_noise, _key=key) for key in keys]
        gevent.joinall(calls, timeout=SOON)
        for key in keys:
            producer.message_feed(key, _key=key)
        names = connections_of(rabbitmq, os.getpid())

    assert [call.get(block=False).value for call in calls] == ["meow"] * 200
    assert [processor.seen for processor in herd] == [[key] for key in keys]
    pid = os.getpid()
    assert names == [f"postage {pid} consuming", f"postage {pid} publishing"]
