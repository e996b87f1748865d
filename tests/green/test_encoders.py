"""Encoders, and what is on the wire besides the body; read back with plain pika."""

from __future__ import annotations

import json
import time
import zlib

import pytest

from postage import messaging
from postage.errors import EncodingError
from tests.support.endpoints import exchange, producer_at
from tests.support.raw import exchange_exists, take_all
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


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


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("encoder", [messaging.JsonEncoder, Toy])
@pytest.mark.parametrize("way", SENDING)
def test_all_sending_uses_the_encoder_and_its_content_type(
    endpoint, raw, queue, way, encoder, confirm
):
    SENDING[way](producer_at(endpoint, encoder_class=encoder, confirm=confirm))
    taken = raw.take(queue)

    assert taken.properties.content_type == encoder.content_type
    assert "x" in json.dumps(encoder.decode(taken.body))


@pytest.mark.behaviour("encoders")
def test_the_plain_encoder_sends_bytes_and_text_untyped(endpoint, raw, queue):
    producer = producer_at(endpoint, encoder_class=messaging.Encoder)
    producer.forward(b"\x00\xff")
    producer.forward("\u20ac")
    taken = take_all(raw, queue, 2)

    assert [each.body for each in taken] == [b"\x00\xff", "\u20ac".encode()]
    assert not any(each.properties.content_type for each in taken)


@pytest.mark.behaviour("encoders")
def test_calls_and_their_replies_use_the_encoder(endpoint):
    producer = producer_at(endpoint, encoder_class=Toy, rpc_timeout=10)
    with running(ToyServer({"name": "toys"}, endpoint.eqk)):
        result = producer.rpc_double([1, "a"])

    assert isinstance(result, messaging.MessageResult)
    assert result.value == [1, "a", 1, "a"]


@pytest.mark.behaviour("encoders", "consumer-operations")
def test_the_content_type_of_a_reply_is_that_of_the_encoder(endpoint, raw):
    answers = raw.declare("", durable=False, exclusive=True)
    with running(ToyServer({"name": "toys"}, endpoint.eqk)):
        body = Toy.encode(messaging.RpcCommand("double", 2).body)
        raw.send(endpoint.exchange.name, "rk", body, reply_to=answers, correlation_id="7")
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


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("case", UNSENDABLE)
def test_what_cannot_be_encoded_raises_before_anything_is_sent(endpoint, raw, queue, case, confirm):
    send, where = UNSENDABLE[case]
    producer = producer_at(endpoint, confirm=confirm)

    with pytest.raises(EncodingError, match=where):
        send(producer)

    producer.message_good()
    (taken,) = take_all(raw, queue, 1)
    assert json.loads(taken.body)["name"] == "good"


@pytest.mark.behaviour("encoders")
def test_what_cannot_be_encoded_does_not_even_declare(endpoint, raw):
    new = exchange(endpoint.sub("new"))
    with pytest.raises(EncodingError):
        producer_at(endpoint).message_hello(object(), _eks=[(new, "rk")])

    assert not exchange_exists(raw, new.name)


@pytest.mark.behaviour("encoders")
def test_a_fingerprint_that_cannot_be_encoded_is_named(endpoint):
    with pytest.raises(EncodingError, match=r"fingerprint\.pid "):
        producer_at(endpoint, {"pid": object()}).message_hello()


@pytest.mark.behaviour("encoders")
def test_an_encoder_must_return_text_or_bytes(endpoint, raw, queue):
    with pytest.raises(EncodingError, match=r"Odd\.encode must return str or bytes, not list"):
        producer_at(endpoint, encoder_class=Odd).message_hello()

    assert raw.count(queue) == 0


@pytest.mark.parametrize("confirm", [True, False])
def test_messages_are_persistent_have_an_id_and_a_time(endpoint, raw, queue, confirm):
    producer = producer_at(endpoint, confirm=confirm)
    before = int(time.time())
    producer.message_one()
    producer.message_two()
    first, other = (taken.properties for taken in take_all(raw, queue, 2))

    assert first.delivery_mode == other.delivery_mode == 2
    assert first.message_id != other.message_id
    assert before <= first.timestamp <= time.time()


@pytest.mark.parametrize("confirm", [True, False])
def test_transient_messages_can_be_asked_for(endpoint, raw, queue, confirm):
    producer_at(endpoint, confirm=confirm, delivery_mode=1).message_hello()

    assert raw.take(queue).properties.delivery_mode == 1
