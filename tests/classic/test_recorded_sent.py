"""What our producers send, message by message, beside what 1.2.1 sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import messaging
from tests.classic.recorded import FINGERPRINT, SENT, WIRE, RecordedExchange
from tests.support.stopwatch import Stopwatch

KEYS = ("rk", "rk2")


class Recorder(messaging.GenericProducer):
    """The producer that was recorded."""

    eks = [(RecordedExchange, "rk")]  # noqa: RUF012 - the classic form

    def build_message_sum(self, a, b):
        return messaging.MessageCommand("sum", {"a": a, "b": b})

    def build_message_online(self):
        return messaging.MessageStatus("online")

    def build_rpc_sum(self, a, b):
        return messaging.RpcCommand("sum", {"a": a, "b": b})


Send = Callable[[Recorder], object]
FORWARDED = json.loads(SENT["forward"]["body"])

#: How each of the recorded messages came about.
SAME: dict[str, Send] = {
    "command, generated, one positional": lambda p: p.message_echo("A test message"),
    "command, generated, no arguments": lambda p: p.message_quit(),
    "command, generated, parameters keyword": lambda p: p.message_join_group(
        parameters={"group_name": "g"}
    ),
    "command, generated, non-ASCII": lambda p: p.message_echo("caffè € 😀"),
    "command, built": lambda p: p.message_sum(5, 6),
    "command, built, _key": lambda p: p.message_sum(5, 6, _key="rk2"),
    "command, built, _eks": lambda p: p.message_sum(5, 6, _eks=[(RecordedExchange, "rk2")]),
    "status": lambda p: p.message_online(),
    "generic message, args and kwds": lambda p: p.message(1, "str", values=[1, 2, 3]),
    "generic message, no arguments": lambda p: p.message(),
    "forward": lambda p: p.forward(FORWARDED),
    "forward, any object": lambda p: p.forward([1, 2, "three"]),
    "rpc, _queue_only": lambda p: p.rpc_sum(1, 2, _queue_only=True),
    "rpc, generated, _queue_only": lambda p: p.rpc_echo("RPC test message", _queue_only=True),
}

#: Where 1.2.1 raised or sent the wrong thing: the call, then name, routing key and content of ours.
OURS: dict[str, tuple[Send, str, str, Any]] = {
    "command, generated, two positionals": (
        lambda p: p.message_echo("a", "b"),
        *("echo", "rk", {"parameters": ["a", "b"]}),
    ),
    "command, generated, other keywords": (
        lambda p: p.message_echo(x=1),
        *("echo", "rk", {"parameters": {"x": 1}}),
    ),
    "command, built, _key and _eks": (
        lambda p: p.message_sum(5, 6, _key="ignored", _eks=[(RecordedExchange, "rk2")]),
        *("sum", "rk2", {"parameters": {"a": 5, "b": 6}}),
    ),
    "name message_message_x": (
        lambda p: p.message_message_x(),
        *("message_x", "rk", {"parameters": {}}),
    ),
    "generic message, a set (as in the README)": (
        lambda p: p.message(values={1}),
        *("none", "rk", {"kwds": {"values": [1]}}),
    ),
    "attribute rpc_queue_echo": (
        lambda p: p.rpc_queue_echo("x"),
        *("echo", "rk", {"parameters": "x"}),
    ),
}

#: What is on the wire beyond the recorded properties; 1.2.1 looks at none of it.
MORE = {
    *("correlation_id", "message_id", "delivery_mode", "timestamp", "headers", "expiration"),
    "content_type",
}


def given(properties: Any) -> dict[str, Any]:
    """Return the properties that are set."""
    return {name: value for name, value in vars(properties).items() if value is not None}


@pytest.fixture
def producer(broker_env):
    return Recorder(FINGERPRINT)


def test_every_recorded_message_is_in_a_table():
    assert SENT.keys() - OURS.keys() == SAME.keys()
    assert OURS.keys() <= WIRE.keys()


@pytest.mark.behaviour(
    "other-languages",
    "encoders",
    "message-seven-keys",
    "message-arguments",
    "message-command",
    "message-status",
    "producer-builders",
    "producer-destinations",
    "producer-forward",
    "rpc-queue-only",
)
@pytest.mark.parametrize("case", SAME)
def test_the_body_is_the_one_that_1_2_1_sends(replay, producer, case):
    queue = replay.listen(*KEYS)
    SAME[case](producer)
    got = replay.take(queue)
    assert got.value == json.loads(SENT[case]["body"])
    assert got.routing_key == SENT[case]["routing_key"]


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("case", SAME)
def test_the_properties_of_1_2_1_are_sent_and_some_it_ignores(replay, producer, case):
    queue = replay.listen(*KEYS)
    SAME[case](producer)
    properties, recorded = given(replay.take(queue).properties), SENT[case]["properties"]
    assert properties["content_type"] == recorded["content_type"] == "application/json"
    assert ("reply_to" in properties) == ("reply_to" in recorded)
    assert properties.keys() - {"reply_to"} <= MORE
    assert all(name.startswith("postage-") for name in properties.get("headers", ()))


@pytest.mark.behaviour(
    "encoders",
    "producer-builders",
    "producer-destinations",
    "producer-method-names",
    "rpc-queue-only",
)
@pytest.mark.parametrize("case", OURS)
def test_what_1_2_1_promised_and_did_not_do_is_done(replay, producer, case):
    send, name, key, content = OURS[case]
    queue = replay.listen(*KEYS)
    send(producer)
    got = replay.take(queue)
    assert (got.value["name"], got.routing_key, got.value["content"]) == (name, key, content)
    assert got.value["fingerprint"] == FINGERPRINT
    assert got.value.keys() == FORWARDED.keys()


@pytest.mark.behaviour("producer-method-names")
def test_an_unknown_attribute_is_not_there(producer):
    assert not hasattr(producer, "no_such")


@pytest.mark.behaviour("rpc-retries", "rpc-timeout")
def test_an_rpc_is_sent_again_as_often_as_the_caller_said(replay, producer):
    """1.2.1 took no notice of ``_max_retry`` and sent the request five times."""
    queue = replay.listen("rk")
    watch = Stopwatch()
    call = gevent.spawn(producer.rpc_echo, "x", _timeout=0.3, _max_retry=1)
    requests = [replay.take(queue), replay.take(queue)]
    returned = call.get(timeout=5)
    assert watch.seconds > 0.5
    assert watch.own < 1.5
    assert replay.channel.basic_get(queue, auto_ack=True)[0] is None
    assert requests[0].body == requests[1].body
    recorded = WIRE["rpc timeout with _timeout=0.3 _max_retry=1"]["returned"]
    returned.body["content"]["message"] = recorded["content"]["message"]  # the text is free
    assert (returned.body, bool(returned)) == (recorded, False)


@pytest.mark.behaviour("rpc-retries", "rpc-timeout")
def test_an_rpc_without_any_time_times_out(replay, producer):
    replay.listen("rk")
    returned = producer.rpc_echo("x", _timeout=0)
    assert returned.value == "TimeoutError"
