"""Producers: their arguments and attributes, and whether sending waits for the broker."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal

import gevent
import pytest

from postage import messaging
from postage.errors import ChannelRefused, PublishFailed, TopologyMismatch
from tests.classic.recorded import FINGERPRINT
from tests.support.endpoints import exchange, producer_at
from tests.support.raw import exchange_exists, listen, take, take_all
from tests.support.standstill import stop_threads
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")


# --- arguments and attributes


@pytest.mark.behaviour("producer-arguments")
def test_the_defaults():
    producer = messaging.GenericProducer()

    assert producer.eks == [(messaging.Exchange, "nokey")]
    assert producer.default_exchange is messaging.Exchange
    assert producer.encoder_class is messaging.JsonEncoder
    assert (producer.rpc_timeout, producer.max_retry) == (30, 4)
    assert producer.hup is None


@pytest.mark.behaviour("producer-arguments")
def test_the_default_eks_is_the_exchange_noname_and_nokey(raw):
    queue = listen(raw, messaging.Exchange, "nokey")
    messaging.GenericProducer().message_hello()

    assert raw.take(queue).method.exchange == "noname"


@pytest.mark.behaviour("producer-arguments")
def test_the_default_exchange_is_the_first_of_eks(endpoint, second):
    producer = producer_at(endpoint, eks=[(endpoint.exchange, "rk"), (second[0], "rk2")])

    assert producer.default_exchange is endpoint.exchange


@pytest.mark.behaviour("producer-arguments")
def test_the_three_arguments_are_taken_in_order_and_by_name(broker_env, endpoint):
    kind = type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks})
    known = {"fingerprint": {"name": "p"}, "hup": broker_env.hup, "vhost": broker_env.vhost}

    for producer in (kind(*known.values()), kind(**known)):
        assert producer.fingerprint["name"] == "p"
        assert producer.vhost == producer.settings.vhost == broker_env.vhost
        assert producer.settings.port == broker_env.port


@pytest.mark.behaviour("hup", "producer-arguments")
@pytest.mark.parametrize("by", ["argument", "attribute", "both"])
def test_the_hup_argument_beats_the_attribute(broker_env, monkeypatch, endpoint, raw, queue, by):
    nowhere = {"host": "127.0.0.1", "port": 1, "user": "nobody", "password": ""}
    monkeypatch.setattr(messaging, "global_hup", nowhere)
    of_class = {"argument": None, "attribute": broker_env.hup, "both": nowhere}[by]
    kind = type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks, "hup": of_class})

    kind(hup=None if by == "attribute" else broker_env.hup).message_hello()

    assert take(raw, queue)["name"] == "hello"


@pytest.mark.behaviour("producer-arguments")
def test_call_arguments_beat_rpc_timeout_and_max_retry(endpoint, queue):
    producer = producer_at(endpoint, rpc_timeout=0.05, max_retry=2)

    assert producer.rpc_echo().message == "no reply within 0.05 s, 3 tries"
    assert producer.rpc_echo(_timeout=0.1).message == "no reply within 0.1 s, 3 tries"
    assert producer.rpc_echo(_max_retry=0).message == "no reply within 0.05 s, 1 try"


@pytest.mark.behaviour("producer-arguments")
def test_the_repr_tells_the_producer_and_no_password(endpoint, broker_env):
    shown = repr(producer_at(endpoint, {"name": "camera"}))

    assert "Producer of 'camera'" in shown
    assert broker_env.password not in shown


# --- fingerprints


class Badge:
    def as_dict(self):
        return {"name": "badge", "type": "person"}


@pytest.mark.behaviour("fingerprint-as-dictionary")
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
def test_the_given_fingerprint_is_merged_over_a_bare_one(endpoint, raw, queue, given, known):
    producer_at(endpoint, given).message_hello()

    assert take(raw, queue)["fingerprint"] == messaging.Fingerprint().as_dict() | known


@pytest.mark.behaviour("fingerprint-as-dictionary")
@pytest.mark.parametrize("given", [{"name": "camera"}, Badge(), None])
def test_a_processor_merges_its_fingerprint_likewise(endpoint, given):
    bare = messaging.Fingerprint().as_dict()
    known = given.as_dict() if isinstance(given, Badge) else given or {}

    assert messaging.MessageProcessor(given, endpoint.eqk).fingerprint == bare | known


# --- exchanges


@pytest.mark.behaviour("producer-declares-exchanges")
def test_making_one_declares_every_exchange_in_eks(raw, endpoint):
    names = [endpoint.sub(suffix) for suffix in "abc"]
    eks = [(exchange(name), "rk") for name in names] + [(exchange(names[0]), "again")]
    assert not any(exchange_exists(raw, name) for name in names)

    producer_at(endpoint, eks=eks)

    assert all(exchange_exists(raw, name) for name in names)


@pytest.mark.behaviour("exchange-attributes", "producer-declares-exchanges")
def test_pika_and_postage_declare_the_same_exchange(raw, endpoint):
    unrouted = exchange(endpoint.sub("unrouted"), "fanout")
    made = exchange(
        endpoint.sub("made"),
        "topic",
        durable=False,
        auto_delete=True,
        arguments={"alternate-exchange": unrouted.name},
    )
    queue = listen(raw, unrouted, "")
    producer = producer_at(endpoint, eks=[(made, "lamp.on")])
    raw.channel.exchange_declare(**made.parameters)  # the broker would refuse any difference

    producer.message_hello()

    assert (
        raw.take(queue).method.routing_key == "lamp.on"
    )  # because of the arguments of the exchange


@pytest.mark.behaviour("exchange-attributes")
def test_a_passive_exchange_must_exist(raw, endpoint):
    passive = exchange(endpoint.sub("passive"), passive=True)
    with pytest.raises(ChannelRefused, match="404") as caught:
        producer_at(endpoint, eks=[(passive, "rk")])
    assert caught.value.code == 404

    raw.channel.exchange_declare(passive.name, "topic")
    producer_at(endpoint, eks=[(passive, "rk")]).message_hello()


@pytest.mark.behaviour("exchange-attributes")
def test_an_exchange_of_another_type_is_an_error_with_both_types(raw, endpoint):
    raw.channel.exchange_declare(endpoint.exchange.name, "fanout", durable=True)

    with pytest.raises(TopologyMismatch) as caught:
        producer_at(endpoint)

    error = caught.value
    assert (error.kind, error.name, error.flag) == ("exchange", endpoint.exchange.name, "type")
    assert (error.ours, error.theirs) == ("direct", "fanout")
    assert "passive = True" in str(error)


# --- names and attributes


@pytest.mark.behaviour("producer-method-names")
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
def test_only_the_prefix_is_cut_from_the_name(endpoint, raw, queue, attribute, name, category):
    more = {"_queue_only": True} if category == "rpc" and "queue" not in attribute else {}
    getattr(producer_at(endpoint), attribute)(**more)
    sent = take(raw, queue)

    assert (sent["name"], sent["category"]) == (name, category)


@pytest.mark.behaviour("producer-method-names")
@pytest.mark.parametrize(
    "name",
    [
        *("no_such", "messages_x", "send_message_x", "message_", "rpc_", "Message_x"),
        *("build_message_x", "__len__", "__iter__", "__deepcopy__", "_repr_html_", "__wrapped__"),
    ],
)
def test_an_unknown_attribute_is_an_attribute_error(endpoint, name):
    producer = producer_at(endpoint)

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


@pytest.mark.behaviour("producer-method-names")
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


@pytest.mark.behaviour("producer-method-names")
def test_a_producer_that_was_never_initialised_can_be_looked_at():
    """Pickle and debuggers do so; it must not recurse for ever."""
    empty = object.__new__(messaging.GenericProducer)

    assert not hasattr(empty, "anything")
    assert not hasattr(empty, "fingerprint")


# --- confirms


def test_with_confirm_the_broker_has_the_message_on_return(endpoint, raw, queue):
    producer = producer_at(endpoint)
    for number in range(1, 21):
        producer.message_hello(number)
        assert raw.count(queue) == number


def test_without_confirm_all_messages_arrive_in_order(endpoint, raw, queue):
    producer = producer_at(endpoint, confirm=False)
    for number in range(500):
        producer.message_hello(number)

    sent = [json.loads(raw.take(queue).body)["content"]["parameters"] for _ in range(500)]
    assert sent == list(range(500))


@pytest.fixture
def silent_broker(rabbitmq):
    """A function that stops all threads of the broker's process until the end of the test."""
    yield lambda: stop_threads(rabbitmq.pid)
    os.kill(rabbitmq.pid, signal.SIGCONT)


def test_without_confirm_the_call_does_not_wait_for_the_broker(
    endpoint, raw, queue, silent_broker, rabbitmq
):
    producer = producer_at(endpoint, confirm=False)
    producer.message_hello("first")
    raw.take(queue)
    silent_broker()

    with gevent.Timeout(2):
        producer.message_hello("second")

    os.kill(rabbitmq.pid, signal.SIGCONT)
    assert take(raw, queue)["content"] == {"parameters": "second"}


def test_with_confirm_a_silent_broker_times_out(endpoint, raw, queue, silent_broker):
    producer = producer_at(endpoint, publish_timeout=0.3)
    producer.message_hello("first")
    silent_broker()
    watch = Stopwatch()

    with pytest.raises(PublishFailed, match=r"within 0\.3 s"):
        producer.message_hello("second")

    assert watch.seconds > 0.2
    assert watch.own < 10  # and not the default, 30


def test_many_greenlets_share_one_producer(endpoint, raw, queue):
    producer = producer_at(endpoint)
    sending = [gevent.spawn(producer.message_hello, number) for number in range(200)]
    gevent.joinall(sending, timeout=20, raise_error=True)

    taken = take_all(raw, queue, 200)
    assert {json.loads(each.body)["content"]["parameters"] for each in taken} == set(range(200))
