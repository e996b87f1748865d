"""Producers: what they send, where to, and what is on the wire; read back with plain pika."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import time
import zlib

import gevent
import pytest

from postage import messaging
from postage.errors import (
    ChannelRefused,
    EncodingError,
    PublishFailed,
    SettingsError,
    TopologyMismatch,
)
from postage.testing.waiting import wait_until
from tests.classic.recorded import FINGERPRINT, SENT
from tests.support.broker import exchange_exists, listen, take, take_all
from tests.support.places import exchange
from tests.support.running import running, text, value

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.fixture
def queue(raw, place):
    """A queue that gets what is sent to `place` by the keys ``rk`` and ``other``."""
    return listen(raw, place.exchange, "rk", "other")


@pytest.fixture
def second(raw, place):
    """A second exchange, and the queue that gets what is sent to it by the key ``rk2``."""
    made = exchange(place.sub("second"))
    return made, listen(raw, made, "rk2")


def producer_at(place, fingerprint=None, kind=messaging.GenericProducer, **attributes):
    """Return a producer of *kind* that sends to *place*."""
    return type("Producer", (kind,), {"eks": place.eks, **attributes})(fingerprint)


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


# --- row 23: arguments and attributes


@pytest.mark.row(23)
def test_the_defaults():
    producer = messaging.GenericProducer()

    assert producer.eks == [(messaging.Exchange, "nokey")]
    assert producer.default_exchange is messaging.Exchange
    assert producer.encoder_class is messaging.JsonEncoder
    assert (producer.rpc_timeout, producer.max_retry) == (30, 4)
    assert producer.hup is None


@pytest.mark.row(23)
def test_the_default_eks_is_the_exchange_noname_and_nokey(raw):
    queue = listen(raw, messaging.Exchange, "nokey")
    messaging.GenericProducer().message_hello()

    assert raw.take(queue).method.exchange == "noname"


@pytest.mark.row(23)
def test_the_default_exchange_is_the_first_of_eks(place, second):
    producer = producer_at(place, eks=[(place.exchange, "rk"), (second[0], "rk2")])

    assert producer.default_exchange is place.exchange


@pytest.mark.row(23)
def test_the_three_arguments_are_taken_in_order_and_by_name(broker_env, place):
    kind = type("Producer", (messaging.GenericProducer,), {"eks": place.eks})
    known = {"fingerprint": {"name": "p"}, "hup": broker_env.hup, "vhost": broker_env.vhost}

    for producer in (kind(*known.values()), kind(**known)):
        assert producer.fingerprint["name"] == "p"
        assert producer.vhost == producer.settings.vhost == broker_env.vhost
        assert producer.settings.port == broker_env.port


@pytest.mark.row(5, 23)
@pytest.mark.parametrize("by", ["argument", "attribute", "both"])
def test_a_hup_can_be_argument_or_attribute_and_the_argument_wins(
    broker_env, monkeypatch, place, raw, queue, by
):
    nowhere = {"host": "127.0.0.1", "port": 1, "user": "nobody", "password": ""}
    monkeypatch.setattr(messaging, "global_hup", nowhere)
    of_class = {"argument": None, "attribute": broker_env.hup, "both": nowhere}[by]
    kind = type("Producer", (messaging.GenericProducer,), {"eks": place.eks, "hup": of_class})

    kind(hup=None if by == "attribute" else broker_env.hup).message_hello()

    assert take(raw, queue)["name"] == "hello"


@pytest.mark.row(23)
def test_rpc_timeout_and_max_retry_of_the_class_hold_and_arguments_beat_them(place, queue):
    producer = producer_at(place, rpc_timeout=0.05, max_retry=2)

    assert text(producer.rpc_echo()) == "no reply within 0.05 s, 3 tries"
    assert text(producer.rpc_echo(_timeout=0.1)) == "no reply within 0.1 s, 3 tries"
    assert text(producer.rpc_echo(_max_retry=0)) == "no reply within 0.05 s, 1 tries"


@pytest.mark.row(23)
def test_the_repr_tells_the_producer_and_no_password(place, broker_env):
    shown = repr(producer_at(place, {"name": "camera"}))

    assert "Producer of 'camera'" in shown
    assert broker_env.password not in shown


# --- row 12: fingerprints


class Badge:
    def as_dict(self):
        return {"name": "badge", "type": "person"}


@pytest.mark.row(12)
@pytest.mark.parametrize(
    ("given", "known"),
    [
        (None, {}),
        ({}, {}),
        ({"name": "camera"}, {"name": "camera"}),
        ({"name": "camera", "colour": "red"}, {"name": "camera", "colour": "red"}),
        (messaging.Fingerprint(*FINGERPRINT.values()).as_dict(), FINGERPRINT),
        (Badge().as_dict(), {"name": "badge", "type": "person"}),
        (Badge(), {"name": "badge", "type": "person"}),
    ],
)
def test_the_fingerprint_on_the_wire_is_the_given_one_over_a_bare_one(
    place, raw, queue, given, known
):
    producer_at(place, given).message_hello()

    assert take(raw, queue)["fingerprint"] == messaging.Fingerprint().as_dict() | known


@pytest.mark.row(12)
@pytest.mark.parametrize("given", [{"name": "camera"}, Badge(), None])
def test_a_processor_merges_its_fingerprint_likewise(place, given):
    bare = messaging.Fingerprint().as_dict()
    known = given.as_dict() if isinstance(given, Badge) else given or {}

    assert messaging.MessageProcessor(given, place.eqk).fingerprint == bare | known


# --- rows 22 and 24: exchanges


@pytest.mark.row(24)
def test_making_one_declares_every_exchange_in_eks(raw, place):
    names = [place.sub(suffix) for suffix in "abc"]
    eks = [(exchange(name), "rk") for name in names] + [(exchange(names[0]), "again")]
    assert not any(exchange_exists(raw, name) for name in names)

    producer_at(place, eks=eks)

    assert all(exchange_exists(raw, name) for name in names)


@pytest.mark.row(22, 24)
def test_pika_and_postage_declare_the_same_exchange_by_its_parameters(raw, place):
    unrouted = exchange(place.sub("unrouted"), "fanout")
    made = exchange(
        place.sub("made"),
        "topic",
        durable=False,
        auto_delete=True,
        arguments={"alternate-exchange": unrouted.name},
    )
    queue = listen(raw, unrouted, "")
    producer = producer_at(place, eks=[(made, "lamp.on")])
    raw.channel.exchange_declare(**made.parameters)  # the broker refuses any difference

    producer.message_hello()

    assert raw.take(queue).method.routing_key == "lamp.on"  # by way of the arguments


@pytest.mark.row(22)
def test_a_passive_exchange_must_exist(raw, place):
    passive = exchange(place.sub("passive"), passive=True)
    with pytest.raises(ChannelRefused, match="404") as caught:
        producer_at(place, eks=[(passive, "rk")])
    assert caught.value.code == 404

    raw.channel.exchange_declare(passive.name, "topic")
    producer_at(place, eks=[(passive, "rk")]).message_hello()


@pytest.mark.row(22)
def test_an_exchange_declared_elsewhere_with_another_type_is_an_error_with_both(raw, place):
    raw.channel.exchange_declare(place.exchange.name, "fanout", durable=True)

    with pytest.raises(TopologyMismatch) as caught:
        producer_at(place)

    error = caught.value
    assert (error.kind, error.name, error.flag) == ("exchange", place.exchange.name, "type")
    assert (error.ours, error.theirs) == ("direct", "fanout")
    assert "passive = True" in str(error)


# --- row 25: builders and arguments

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


@pytest.mark.row(25, 27)
@pytest.mark.parametrize("case", CLASSIC)
def test_byte_for_byte_what_1_2_1_sent(place, raw, queue, case):
    CLASSIC[case](producer_at(place, FINGERPRINT))

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


@pytest.mark.row(25)
@pytest.mark.parametrize(("args", "kwds", "parameters"), ARGUMENTS)
@pytest.mark.parametrize("category", ["message", "rpc"])
def test_arguments_become_parameters(place, raw, queue, category, args, kwds, parameters):
    producer = producer_at(place, FINGERPRINT)
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


@pytest.mark.row(25)
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
def test_a_builder_makes_the_message(place, raw, queue, send, expected):
    send(producer_at(place, FINGERPRINT, Builders))
    sent = take(raw, queue)

    assert (sent["category"], sent["name"], sent["content"]) == expected
    assert sent["fingerprint"] == FINGERPRINT


@pytest.mark.row(25)
def test_a_builder_set_on_an_instance_is_used(place, raw, queue):
    producer = producer_at(place)
    producer.build_message_hello = lambda: messaging.MessageStatus("hello")
    producer.message_hello()

    assert take(raw, queue)["type"] == "status"


@pytest.mark.row(25)
def test_wrong_arguments_for_a_builder_are_a_type_error_and_nothing_is_sent(place, raw, queue):
    with pytest.raises(TypeError, match="build_message_sum"):
        producer_at(place, kind=Builders).message_sum()

    assert raw.count(queue) == 0


# --- row 26: where it goes


@pytest.mark.row(26)
def test_a_message_goes_to_every_pair_of_eks(place, raw, queue, second):
    other, at_other = second
    eks = [(place.exchange, "rk"), (other, "rk2"), (place.exchange, "other")]
    producer_at(place, eks=eks).message_hello()

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


@pytest.mark.row(26, 27)
@pytest.mark.parametrize(("given", "keys", "at_second"), TARGETS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_key_and_eks_of_a_call(place, raw, queue, second, way, given, keys, at_second):
    """``_key`` goes to the first exchange alone; with ``_eks`` it is ignored."""
    there = (second[0], "rk2")
    both = [(place.exchange, "other"), there, (place.exchange, "rk")]
    to = {
        **given,
        **({"_eks": [there] if given["_eks"] == "second" else both} if "_eks" in given else {}),
    }
    producer = producer_at(place, kind=Builders, eks=[(place.exchange, "rk"), there])

    WAYS[way](producer, **to)

    assert [taken.method.routing_key for taken in take_all(raw, queue, len(keys))] == keys
    take_all(raw, second[1], at_second)


@pytest.mark.row(26, 29)
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
def test_a_call_goes_to_one_pair_only(place, raw, queue, second, given, key):
    there = (second[0], "rk2")
    to = {**given, **({"_eks": [there, (place.exchange, "rk")]} if "_eks" in given else {})}
    producer = producer_at(place, eks=[(place.exchange, "rk"), there])

    producer.rpc_sum(1, **to, _queue_only=True)

    at = second[1] if key == "rk2" else queue
    assert raw.take(at).method.routing_key == key
    assert raw.count(queue) == raw.count(second[1]) == 0


@pytest.mark.row(26)
@pytest.mark.parametrize("confirm", [True, False])
def test_exchanges_given_by_eks_are_declared_on_first_use(place, raw, confirm):
    new = exchange(place.sub("new"), "fanout", durable=False)
    producer = producer_at(place, confirm=confirm)
    assert not exchange_exists(raw, new.name)

    producer.message_hello("lost", _eks=[(new, "rk")])
    assert exchange_exists(raw, new.name)
    queue = listen(raw, new, "")  # with the very same parameters
    producer.message_hello("found", _eks=[(new, "rk")])

    # Unconfirmed, the first one may not have been there yet when the queue was bound.
    wait_until(lambda: take(raw, queue)["content"] == {"parameters": "found"})


@pytest.mark.row(26)
def test_an_exchange_given_to_a_call_is_declared_on_first_use(place, raw):
    new = exchange(place.sub("new"))

    assert value(producer_at(place).rpc_hello(_eks=[(new, "rk")])) == "NoRoute"
    assert exchange_exists(raw, new.name)


@pytest.mark.row(26)
def test_an_empty_eks_is_refused(place):
    with pytest.raises(SettingsError, match="_eks is empty"):
        producer_at(place).message_hello(_eks=[])


@pytest.mark.parametrize("confirm", [True, False])
def test_an_exchange_that_was_deleted_is_declared_again(place, raw, queue, confirm):
    producer = producer_at(place, confirm=confirm)
    producer.message_hello()
    take(raw, queue)
    raw.channel.exchange_delete(place.exchange.name)

    def is_back():
        producer.message_hello()  # without confirm, the first one only shows that it is gone
        return exchange_exists(raw, place.exchange.name)

    wait_until(is_back)
    again = listen(raw, place.exchange, "rk")
    producer.message_after()
    wait_until(lambda: take(raw, again)["name"] == "after")


# --- row 27: message, forward, serialize_text_file


@pytest.mark.row(27)
def test_message_sends_a_generic_message_with_the_fingerprint(place, raw, queue):
    producer_at(place, FINGERPRINT).message(1, {2}, three={"four": [5]})
    sent = take(raw, queue)

    assert (sent["type"], sent["name"], sent["category"]) == ("none", "none", "message")
    assert sent["content"] == {"args": [1, [2]], "kwds": {"three": {"four": [5]}}}
    assert sent["fingerprint"] == FINGERPRINT


@pytest.mark.row(27)
@pytest.mark.parametrize(
    "body", [None, 5, "text", [1, {"a": None}], {}, {"fingerprint": {"name": "other"}, "x": 1}]
)
def test_forward_sends_a_body_as_it_is(place, raw, queue, body):
    producer_at(place, FINGERPRINT).forward(body)

    assert take(raw, queue) == body


@pytest.mark.row(27)
def test_forward_leaves_the_body_of_a_message_alone(place, raw, queue):
    received = messaging.MessageCommand("log", "line").body
    before = copy.deepcopy(received)
    producer_at(place, FINGERPRINT).forward(received)

    assert take(raw, queue) == received == before


@pytest.mark.row(27)
@pytest.mark.parametrize("form", [str, os.fspath, lambda path: path], ids=["str", "fspath", "path"])
def test_a_text_file_is_its_name_and_its_lines(place, raw, queue, tmp_path, form):
    path = tmp_path / "poem.txt"
    path.write_text("roses\n\u20ac violets\nno newline", encoding="utf-8")
    producer = producer_at(place)
    expected = {"name": "poem.txt", "content": ["roses\n", "\u20ac violets\n", "no newline"]}

    assert producer.serialize_text_file(form(path)) == expected
    producer.message_store(producer.serialize_text_file(form(path)))
    assert take(raw, queue)["content"] == {"parameters": expected}


# --- row 28: names and attributes


@pytest.mark.row(28)
@pytest.mark.parametrize(
    ("attribute", "name", "category"),
    [
        ("message_x", "x", "message"),
        ("message_message_x", "message_x", "message"),
        ("message_rpc_x", "rpc_x", "message"),
        ("message_x_message_y", "x_message_y", "message"),
        ("rpc_rpc_x", "rpc_x", "rpc"),
        ("rpc_message_x", "message_x", "rpc"),
        ("rpc_queue_x", "x", "rpc"),
        ("rpc_queue_rpc_queue_x", "rpc_queue_x", "rpc"),
    ],
)
def test_only_the_prefix_is_cut_from_the_name(place, raw, queue, attribute, name, category):
    more = {"_queue_only": True} if category == "rpc" and "queue" not in attribute else {}
    getattr(producer_at(place), attribute)(**more)
    sent = take(raw, queue)

    assert (sent["name"], sent["category"]) == (name, category)


@pytest.mark.row(28)
@pytest.mark.parametrize(
    "name",
    [
        *("no_such", "messages_x", "send_message_x", "message_", "rpc_", "Message_x"),
        *("build_message_x", "__len__", "__iter__", "__deepcopy__", "_repr_html_", "__wrapped__"),
    ],
)
def test_an_unknown_attribute_is_an_attribute_error(place, name):
    producer = producer_at(place)

    assert not hasattr(producer, name)
    assert getattr(producer, name, "default") == "default"
    with pytest.raises(AttributeError, match=f"'Producer' object has no attribute '{name}'"):
        getattr(producer, name)


class Picklable(messaging.GenericProducer):
    """At the top of the module, where pickle finds it."""

    eks = [(exchange("picklable"), "rk")]  # noqa: RUF012 - the classic form


def pickled(producer):
    """Return *producer* as it comes out of a pickle."""
    return pickle.loads(pickle.dumps(producer))  # noqa: S301 - our own


@pytest.mark.row(28)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_sends_like_the_original(raw, monkeypatch, duplicate):
    named = messaging.Exchange  # pickle finds classes by their names
    monkeypatch.setattr(Picklable, "eks", [(named, "rk")])
    queue = listen(raw, named, "rk")
    original = Picklable({"name": "original"})

    made = duplicate(original)
    made.message_hello()

    assert type(made) is Picklable
    assert made is not original
    assert take(raw, queue)["fingerprint"] == original.fingerprint


@pytest.mark.row(28)
def test_a_producer_that_was_never_initialised_can_be_looked_at():
    """As pickle and debuggers do; it must not end in a recursion."""
    empty = object.__new__(messaging.GenericProducer)

    assert not hasattr(empty, "anything")
    assert not hasattr(empty, "fingerprint")


# --- row 13: encoders, and what is on the wire


class Toy(messaging.Encoder):
    """A binary encoder, as MessagePack would be one."""

    content_type = "application/x-toy"

    @classmethod
    def encode(cls, data):
        return b"\xc1toy" + zlib.compress(json.dumps(data).encode("utf-16"))

    @classmethod
    def decode(cls, string):
        assert string.startswith(b"\xc1toy")
        return json.loads(zlib.decompress(string[4:]).decode("utf-16"))


class ToyConsumer(messaging.GenericConsumer):
    encoder_class = Toy


class ToyServer(messaging.MessageProcessor):
    consumer_class = ToyConsumer

    @messaging.RpcHandler("command", "double")
    def double(self, content, reply_func):
        reply_func(content["parameters"] * 2)


SENDING = {
    "message_X": lambda p: p.message_hello("x"),
    "message": lambda p: p.message("x"),
    "forward": lambda p: p.forward({"a": "x"}),
    "rpc_X": lambda p: p.rpc_hello("x", _queue_only=True),
}


@pytest.mark.row(13)
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("encoder", [messaging.JsonEncoder, Toy])
@pytest.mark.parametrize("way", SENDING)
def test_every_way_of_sending_uses_the_encoder_and_its_content_type(
    place, raw, queue, way, encoder, confirm
):
    SENDING[way](producer_at(place, encoder_class=encoder, confirm=confirm))
    taken = raw.take(queue)

    assert taken.properties.content_type == encoder.content_type
    assert "x" in json.dumps(encoder.decode(taken.body))


@pytest.mark.row(13)
def test_the_plain_encoder_sends_bytes_and_text_without_a_content_type(place, raw, queue):
    producer = producer_at(place, encoder_class=messaging.Encoder)
    producer.forward(b"\x00\xff")
    producer.forward("\u20ac")
    taken = take_all(raw, queue, 2)

    assert [each.body for each in taken] == [b"\x00\xff", "\u20ac".encode()]
    assert not any(each.properties.content_type for each in taken)


@pytest.mark.row(13)
def test_calls_and_their_replies_use_the_encoder(place):
    producer = producer_at(place, encoder_class=Toy, rpc_timeout=10)
    with running(ToyServer({"name": "toys"}, place.eqk)):
        result = producer.rpc_double([1, "a"])

    assert isinstance(result, messaging.MessageResult)
    assert value(result) == [1, "a", 1, "a"]


@pytest.mark.row(13, 35)
def test_the_content_type_of_a_reply_is_that_of_the_encoder(place, raw):
    answers = raw.declare("", durable=False, exclusive=True)
    with running(ToyServer({"name": "toys"}, place.eqk)):
        body = Toy.encode(messaging.RpcCommand("double", 2).body)
        raw.send(place.exchange.name, "rk", body, reply_to=answers, correlation_id="7")
        taken = raw.take(answers)

    assert taken.properties.content_type == "application/x-toy"
    assert Toy.decode(taken.body) == messaging.MessageResult(4).body


class Odd(messaging.Encoder):
    """Does not do what an encoder must."""

    @classmethod
    def encode(cls, data):
        return ["neither", "str", "nor", "bytes"]


#: Ways to send what cannot be encoded, and what the error says about where it is.
UNSENDABLE = {
    "message_X": (lambda p: p.message_hello(object()), r"content\.parameters "),
    "message_X, deep": (
        lambda p: p.message_hello(a=[{"b": 1j}]),
        r"content\.parameters\.a\[0\]\.b ",
    ),
    "message_X, NaN": (lambda p: p.message_hello(float("nan")), r"content\.parameters "),
    "message": (lambda p: p.message(when=object()), r"content\.kwds\.when "),
    "forward": (lambda p: p.forward({"a": b"bytes"}), "send a as JSON"),
    "rpc_X": (lambda p: p.rpc_hello(object()), r"content\.parameters "),
    "rpc_queue_X": (lambda p: p.rpc_queue_hello(x=object()), r"content\.parameters\.x "),
}


@pytest.mark.row(13)
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("case", UNSENDABLE)
def test_what_cannot_be_encoded_raises_before_anything_is_sent(place, raw, queue, case, confirm):
    send, where = UNSENDABLE[case]
    producer = producer_at(place, confirm=confirm)

    with pytest.raises(EncodingError, match=where):
        send(producer)

    producer.message_good()
    (taken,) = take_all(raw, queue, 1)
    assert json.loads(taken.body)["name"] == "good"


@pytest.mark.row(13)
def test_what_cannot_be_encoded_does_not_even_declare(place, raw):
    new = exchange(place.sub("new"))
    with pytest.raises(EncodingError):
        producer_at(place).message_hello(object(), _eks=[(new, "rk")])

    assert not exchange_exists(raw, new.name)


@pytest.mark.row(13)
def test_a_fingerprint_that_cannot_be_encoded_is_named(place):
    with pytest.raises(EncodingError, match=r"fingerprint\.pid "):
        producer_at(place, {"pid": object()}).message_hello()


@pytest.mark.row(13)
def test_an_encoder_must_return_text_or_bytes(place, raw, queue):
    with pytest.raises(EncodingError, match=r"Odd\.encode must return str or bytes, not list"):
        producer_at(place, encoder_class=Odd).message_hello()

    assert raw.count(queue) == 0


@pytest.mark.parametrize("confirm", [True, False])
def test_messages_are_persistent_have_an_id_and_a_time(place, raw, queue, confirm):
    producer = producer_at(place, confirm=confirm)
    before = int(time.time())
    producer.message_one()
    producer.message_two()
    first, other = (taken.properties for taken in take_all(raw, queue, 2))

    assert first.delivery_mode == other.delivery_mode == 2
    assert first.message_id != other.message_id
    assert before <= first.timestamp <= time.time()


@pytest.mark.parametrize("confirm", [True, False])
def test_transient_messages_can_be_asked_for(place, raw, queue, confirm):
    producer_at(place, confirm=confirm, delivery_mode=1).message_hello()

    assert raw.take(queue).properties.delivery_mode == 1


# --- confirms


def test_with_confirm_the_broker_has_the_message_when_the_call_returns(place, raw, queue):
    producer = producer_at(place)
    for number in range(1, 21):
        producer.message_hello(number)
        assert raw.count(queue) == number


def test_without_confirm_all_messages_arrive_in_order(place, raw, queue):
    producer = producer_at(place, confirm=False)
    for number in range(500):
        producer.message_hello(number)

    sent = [json.loads(raw.take(queue).body)["content"]["parameters"] for _ in range(500)]
    assert sent == list(range(500))


@pytest.fixture
def silent_broker(rabbitmq):
    """A function that stops the broker's process; it goes on after the test."""
    yield lambda: os.kill(rabbitmq.pid, signal.SIGSTOP)
    os.kill(rabbitmq.pid, signal.SIGCONT)


def test_without_confirm_the_call_does_not_wait_for_the_broker(
    place, raw, queue, silent_broker, rabbitmq
):
    producer = producer_at(place, confirm=False)
    producer.message_hello("first")
    raw.take(queue)
    silent_broker()

    with gevent.Timeout(2):
        producer.message_hello("second")

    os.kill(rabbitmq.pid, signal.SIGCONT)
    assert take(raw, queue)["content"] == {"parameters": "second"}


def test_with_confirm_a_silent_broker_is_an_error_within_the_publish_timeout(
    place, raw, queue, silent_broker
):
    producer = producer_at(place, publish_timeout=0.3)
    producer.message_hello("first")
    silent_broker()
    started = time.monotonic()

    with pytest.raises(PublishFailed, match=r"within 0\.3 s"):
        producer.message_hello("second")

    assert 0.2 < time.monotonic() - started < 10  # and not the default, 30


def test_many_greenlets_share_one_producer(place, raw, queue):
    producer = producer_at(place)
    sending = [gevent.spawn(producer.message_hello, number) for number in range(200)]
    gevent.joinall(sending, timeout=20, raise_error=True)

    taken = take_all(raw, queue, 200)
    assert {json.loads(each.body)["content"]["parameters"] for each in taken} == set(range(200))
