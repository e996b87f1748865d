"""The messages that the methods of a producer send, and where; read with plain pika."""

from __future__ import annotations

import copy
import os

import pytest

from postage import messaging
from postage.errors import NoRoute, SettingsError
from postage.testing.polling import wait_until
from tests.classic.recorded import FINGERPRINT, SENT
from tests.support.endpoints import exchange, producer_at
from tests.support.json_library import by_the_standard_library
from tests.support.raw import exchange_exists, listen, take, take_all

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")


class Builders(messaging.GenericProducer):
    """A producer with a builder of each kind."""

    def build_message_sum(self, a, b=0):
        return messaging.MessageCommand("add", {"a": a, "b": b})

    def build_message_online(self):
        return messaging.MessageStatus("online")

    def build_rpc_sum(self, a, b=0):
        return messaging.RpcCommand("add up", {"a": a, "b": b})

    def build_rpc_message_log(self, line):
        return messaging.RpcCommand("log", line)


# --- builders and arguments

CLASSIC = {
    "command, generated, one positional": lambda p: p.message_echo("A test message"),
    "command, generated, no arguments": lambda p: p.message_quit(),
    "command, generated, parameters keyword": lambda p: p.message_join_group(
        parameters={"group_name": "g"}
    ),
    "command, generated, non-ASCII": lambda p: p.message_echo("caff\u00e8 \u20ac \U0001f600"),
    "rpc, generated, _queue_only": lambda p: p.rpc_echo("RPC test message", _queue_only=True),
    "generic message, args and kwds": lambda p: p.message(1, "str", values=[1, 2, 3]),
    "generic message, no arguments": lambda p: p.message(),
    "forward, any object": lambda p: p.forward([1, 2, "three"]),
}


@pytest.mark.behaviour("producer-builders", "producer-forward")
@pytest.mark.parametrize("case", CLASSIC)
def test_byte_for_byte_what_1_2_1_sent(endpoint, raw, queue, case):
    with by_the_standard_library():
        CLASSIC[case](producer_at(endpoint, FINGERPRINT))

    assert raw.take(queue).body.decode() == SENT[case]["body"]


#: The arguments of a call, and the parameters that are sent.
ARGUMENTS = [
    ((), {}, {}),
    (("one",), {}, "one"),
    ((None,), {}, None),
    (([1, 2],), {}, [1, 2]),
    (({"a": 1},), {}, {"a": 1}),
    (((1, 2),), {}, [1, 2]),
    (({3},), {}, [3]),
    (("a", "b"), {}, ["a", "b"]),
    ((1, None, [2]), {}, [1, None, [2]]),
    ((), {"x": 1}, {"x": 1}),
    ((), {"x": 1, "y": [2]}, {"x": 1, "y": [2]}),
    ((), {"parameters": "alone"}, "alone"),
    ((), {"parameters": None}, None),
    ((), {"parameters": 1, "x": 2}, {"parameters": 1, "x": 2}),
    (("a",), {"x": 1}, {"args": ["a"], "kwds": {"x": 1}}),
    (("a", "b"), {"x": 1}, {"args": ["a", "b"], "kwds": {"x": 1}}),
    (("a",), {"parameters": 1}, {"args": ["a"], "kwds": {"parameters": 1}}),
    *(((), {name: 1}, {name: 1}) for name in ("args", "kwds", "name", "kind", "build", "self")),
]


@pytest.mark.behaviour("producer-builders")
@pytest.mark.parametrize(("args", "kwds", "parameters"), ARGUMENTS)
@pytest.mark.parametrize("category", ["message", "rpc"])
def test_arguments_become_parameters(endpoint, raw, queue, category, args, kwds, parameters):
    producer = producer_at(endpoint, FINGERPRINT)
    if category == "rpc":
        producer.rpc_echo(*args, _queue_only=True, **kwds)
    else:
        producer.message_echo(*args, **kwds)

    assert take(raw, queue) == {
        "type": "command",
        "name": "echo",
        "category": category,
        "version": "2",
        "fingerprint": FINGERPRINT,
        "content": {"parameters": parameters},
        "_reserved": {},
    }


@pytest.mark.behaviour("producer-builders")
@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda p: p.message_sum(1), ("message", "add", {"parameters": {"a": 1, "b": 0}})),
        (lambda p: p.message_sum(1, b=2), ("message", "add", {"parameters": {"a": 1, "b": 2}})),
        (lambda p: p.message_online(), ("message", "online", {})),
        (
            lambda p: p.rpc_sum(1, 2, _queue_only=True),
            ("rpc", "add up", {"parameters": {"a": 1, "b": 2}}),
        ),
        (lambda p: p.rpc_message_log("x", _queue_only=True), ("rpc", "log", {"parameters": "x"})),
        (lambda p: p.rpc_online(_queue_only=True), ("rpc", "online", {"parameters": {}})),
    ],
    ids=["message", "message, keyword", "status", "rpc", "rpc of a long name", "rpc, no builder"],
)
def test_a_builder_makes_the_message(endpoint, raw, queue, send, expected):
    send(producer_at(endpoint, FINGERPRINT, Builders))
    sent = take(raw, queue)

    assert (sent["category"], sent["name"], sent["content"]) == expected
    assert sent["fingerprint"] == FINGERPRINT


@pytest.mark.behaviour("producer-builders")
def test_a_builder_set_on_an_instance_is_used(endpoint, raw, queue):
    producer = producer_at(endpoint)
    producer.build_message_hello = lambda: messaging.MessageStatus("hello")
    producer.message_hello()

    assert take(raw, queue)["type"] == "status"


@pytest.mark.behaviour("producer-builders")
def test_wrong_builder_arguments_are_a_type_error(endpoint, raw, queue):
    with pytest.raises(TypeError, match="build_message_sum"):
        producer_at(endpoint, kind=Builders).message_sum()

    assert raw.count(queue) == 0


# --- where it goes


@pytest.mark.behaviour("producer-destinations")
def test_a_message_goes_to_every_pair_of_eks(endpoint, raw, queue, second):
    other, at_other = second
    eks = [(endpoint.exchange, "rk"), (other, "rk2"), (endpoint.exchange, "other")]
    producer_at(endpoint, eks=eks).message_hello()

    keys = [taken.method.routing_key for taken in take_all(raw, queue, 2)]
    assert keys == ["rk", "other"]
    assert len(take_all(raw, at_other, 1)) == 1


TARGETS = [
    ({}, ["rk"], 1),
    ({"_key": "other"}, ["other"], 0),
    ({"_eks": "second"}, [], 1),
    ({"_eks": "both"}, ["other", "rk"], 1),
    ({"_key": "other", "_eks": "second"}, [], 1),
]
WAYS = {
    "message_X": lambda producer, **to: producer.message_hello(**to),
    "message_X, built": lambda producer, **to: producer.message_sum(1, **to),
    "message": lambda producer, **to: producer.message(1, **to),
    "forward": lambda producer, **to: producer.forward({"a": 1}, **to),
}


@pytest.mark.behaviour("producer-destinations", "producer-forward")
@pytest.mark.parametrize(("given", "keys", "at_second"), TARGETS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_key_and_eks_of_a_call(endpoint, raw, queue, second, way, given, keys, at_second):
    """``_key`` is for the first exchange only; with ``_eks`` it is ignored."""
    there = (second[0], "rk2")
    both = [(endpoint.exchange, "other"), there, (endpoint.exchange, "rk")]
    to = {
        **given,
        **({"_eks": [there] if given["_eks"] == "second" else both} if "_eks" in given else {}),
    }
    producer = producer_at(endpoint, kind=Builders, eks=[(endpoint.exchange, "rk"), there])

    WAYS[way](producer, **to)

    assert [taken.method.routing_key for taken in take_all(raw, queue, len(keys))] == keys
    take_all(raw, second[1], at_second)


@pytest.mark.behaviour("producer-destinations", "rpc-call")
@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, "rk"),
        ({"_key": "other"}, "other"),
        ({"_eks": True}, "rk2"),
        ({"_eks": True, "_key": "x"}, "rk2"),
    ],
    ids=str,
)
def test_a_call_goes_to_one_pair_only(endpoint, raw, queue, second, given, key):
    there = (second[0], "rk2")
    to = {**given, **({"_eks": [there, (endpoint.exchange, "rk")]} if "_eks" in given else {})}
    producer = producer_at(endpoint, eks=[(endpoint.exchange, "rk"), there])

    producer.rpc_sum(1, **to, _queue_only=True)

    at = second[1] if key == "rk2" else queue
    assert raw.take(at).method.routing_key == key
    assert raw.count(queue) == raw.count(second[1]) == 0


@pytest.mark.behaviour("producer-destinations")
@pytest.mark.parametrize("confirm", [True, False])
def test_exchanges_given_by_eks_are_declared_on_first_use(endpoint, raw, confirm):
    new = exchange(endpoint.sub("new"), "fanout", durable=False)
    producer = producer_at(endpoint, confirm=confirm)
    assert not exchange_exists(raw, new.name)

    producer.message_hello("lost", _eks=[(new, "rk")])
    assert exchange_exists(raw, new.name)
    queue = listen(raw, new, "")  # with the same parameters
    producer.message_hello("found", _eks=[(new, "rk")])

    # Unconfirmed, the first message may have been published before the queue was bound.
    wait_until(lambda: take(raw, queue)["content"] == {"parameters": "found"})


@pytest.mark.behaviour("producer-destinations")
def test_an_exchange_given_to_a_call_is_declared_on_first_use(endpoint, raw):
    new = exchange(endpoint.sub("new"))

    assert producer_at(endpoint).rpc_hello(_eks=[(new, "rk")]).value == "NoRoute"
    assert exchange_exists(raw, new.name)


@pytest.mark.behaviour("producer-destinations")
def test_an_empty_eks_is_refused(endpoint):
    with pytest.raises(SettingsError, match="_eks is empty"):
        producer_at(endpoint).message_hello(_eks=[])


@pytest.mark.parametrize("confirm", [True, False])
def test_an_exchange_that_was_deleted_is_declared_again(endpoint, raw, queue, confirm, monkeypatch):
    monkeypatch.setattr("postage.green.amqp.deleted_exchanges.DOUBTED", 0.5)
    producer = producer_at(endpoint, confirm=confirm)
    producer.message_hello()
    take(raw, queue)
    raw.channel.exchange_delete(endpoint.exchange.name)

    def is_back():
        producer.message_hello()  # unconfirmed, the first only shows the loss

    with pytest.raises(NoRoute):  # its queue was bound to the exchange by nobody who binds again
        wait_until(is_back)
    assert exchange_exists(raw, endpoint.exchange.name)
    again = listen(raw, endpoint.exchange, "rk")
    producer.message_after()
    wait_until(lambda: take(raw, again)["name"] == "after")


# --- message, forward, serialize_text_file


@pytest.mark.behaviour("producer-forward")
def test_message_sends_a_generic_message_with_the_fingerprint(endpoint, raw, queue):
    producer_at(endpoint, FINGERPRINT).message(1, {2}, three={"four": [5]})
    sent = take(raw, queue)

    assert (sent["type"], sent["name"], sent["category"]) == ("none", "none", "message")
    assert sent["content"] == {"args": [1, [2]], "kwds": {"three": {"four": [5]}}}
    assert sent["fingerprint"] == FINGERPRINT


@pytest.mark.behaviour("producer-forward")
@pytest.mark.parametrize(
    "body", [None, 5, "text", [1, {"a": None}], {}, {"fingerprint": {"name": "other"}, "x": 1}]
)
def test_forward_sends_a_body_as_it_is(endpoint, raw, queue, body):
    producer_at(endpoint, FINGERPRINT).forward(body)

    assert take(raw, queue) == body


@pytest.mark.behaviour("producer-forward")
def test_forward_leaves_the_body_of_a_message_alone(endpoint, raw, queue):
    received = messaging.MessageCommand("log", "line").body
    before = copy.deepcopy(received)
    producer_at(endpoint, FINGERPRINT).forward(received)

    assert take(raw, queue) == received == before


@pytest.mark.behaviour("producer-forward")
@pytest.mark.parametrize("form", [str, os.fspath, lambda path: path], ids=["str", "fspath", "path"])
def test_a_text_file_is_its_name_and_its_lines(endpoint, raw, queue, tmp_path, form):
    path = tmp_path / "poem.txt"
    path.write_text("roses\n\u20ac violets\nno newline", encoding="utf-8")
    producer = producer_at(endpoint)
    expected = {"name": "poem.txt", "content": ["roses\n", "\u20ac violets\n", "no newline"]}

    assert producer.serialize_text_file(form(path)) == expected
    producer.message_store(producer.serialize_text_file(form(path)))
    assert take(raw, queue)["content"] == {"parameters": expected}
