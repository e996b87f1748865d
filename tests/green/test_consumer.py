"""Consumers: queues with their flags, bindings that change, and what becomes of messages."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.errors import SettingsError, TopologyMismatch
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.broker_commands import control
from tests.support.endpoints import exchange
from tests.support.instructions import instructions
from tests.support.running import SOON, consuming, running

pytestmark = pytest.mark.usefixtures("broker_env")


def names(got: list[Any]) -> list[str]:
    """Return the names of the messages that a consumer got."""
    return [json.loads(body)["name"] for _, _, _, body in got]


# --- what a consumer listens to


@pytest.mark.behaviour("consumer-queues")
def test_a_queue_is_a_name_or_a_dictionary_with_or_without_flags(endpoint):
    queues = [
        (endpoint.sub("plain"), "a"),
        ({"name": endpoint.sub("bare")}, "b"),
        ({"name": endpoint.sub("flags"), "flags": {"auto_delete": True}}, "c"),
    ]
    producer = endpoint.producer(eks=[(endpoint.exchange, key) for key in "abc"])

    with consuming(messaging.GenericConsumer(endpoint.at(*queues))) as got:
        producer.message_hello()
        wait_until(lambda: len(got) == 3, SOON)

    assert {method.routing_key for _, method, _, _ in got} == {"a", "b", "c"}


def test_finding_the_queue_of_a_delivery_takes_constant_time(endpoint):
    def to_find_out(count: int) -> int:
        queues = [
            (endpoint.sub(f"{count}-{number}"), f"{count}-{number}") for number in range(count)
        ]
        consumer = messaging.GenericConsumer(endpoint.at(*queues))
        with consuming(consumer) as got:
            endpoint.producer(eks=[(endpoint.exchange, queues[-1][1])]).message_hello()
            wait_until(lambda: len(got) == 1, SOON)
            method = got[0][1]
            assert consumer.queue_of(method) == queues[-1][0]
            return instructions(lambda: consumer.queue_of(method))

    assert to_find_out(30) == to_find_out(3)


@pytest.mark.behaviour("consumer-queues")
def test_eqk_may_name_several_exchanges(endpoint):
    other = exchange(endpoint.sub("other"), "fanout")
    eqk = [(endpoint.exchange, [(endpoint.queue, "rk")]), (other, [(endpoint.queue, "")])]

    with consuming(messaging.GenericConsumer(eqk)) as got:
        endpoint.producer().message_direct()
        endpoint.producer(eks=[(other, "any")]).message_fanned()
        wait_until(lambda: len(got) == 2, SOON)

    assert sorted(names(got)) == ["direct", "fanned"]
    assert {method.exchange for _, method, _, _ in got} == {endpoint.exchange.name, other.name}


@pytest.mark.behaviour("consumer-queues")
def test_flags_go_to_the_declaration_of_the_queue(endpoint, rabbitmq, vhost):
    limit = {"x-max-length": 5}
    queues = {
        "plain": {},
        "auto_delete": {"auto_delete": True},
        "exclusive": {"exclusive": True},
        "transient": {"exclusive": True, "durable": False, "auto_delete": True},
        "arguments": {"arguments": limit},
    }
    pairs = [({"name": name, "flags": flags}, name) for name, flags in queues.items()]
    consumer = messaging.GenericConsumer(endpoint.at(*pairs))

    columns = ("name", "durable", "auto_delete", "exclusive", "arguments")
    text = control(rabbitmq, "list_queues", "-p", vhost, "--formatter", "json", *columns)
    known = {row["name"]: tuple(row[name] for name in columns[1:4]) for row in json.loads(text)}

    assert {name: known[name] for name in queues} == {
        "plain": (True, False, False),
        "auto_delete": (True, True, False),
        "exclusive": (False, False, True),
        "transient": (False, True, True),
        "arguments": (True, False, False),
    }
    arguments = {row["name"]: str(row["arguments"]) for row in json.loads(text)}
    assert "x-max-length" in arguments["arguments"]
    assert "5" in arguments["arguments"]
    assert dict(consumer.qk_list) == {name: name for name in queues}


@pytest.mark.behaviour("consumer-queues")
def test_a_flag_that_does_not_exist_is_refused_by_name(endpoint):
    with pytest.raises(SettingsError, match="no flag 'autodelete'"):
        messaging.GenericConsumer(endpoint.at(({"name": "q", "flags": {"autodelete": True}}, "k")))


class Reversed(messaging.JsonEncoder):
    """Another encoder: the text is written backwards."""

    content_type = "text/reversed"

    @classmethod
    def encode(cls, data):
        return super().encode(data)[::-1]

    @classmethod
    def decode(cls, string):
        return super().decode(string.decode()[::-1])


@pytest.mark.behaviour("consumer-queues")
def test_class_attributes_say_where_and_how_a_consumer_listens(endpoint, broker_env):
    class Own(messaging.GenericConsumer):
        eqk = endpoint.eqk
        encoder_class = Reversed
        hup = broker_env.hup
        vhost = broker_env.vhost

    with pytest.MonkeyPatch.context() as patch:
        for variable in broker_env.variables():
            patch.delenv(variable)
        consumer = Own()

    assert consumer.vhost == broker_env.vhost
    with consuming(consumer) as got:
        endpoint.producer(encoder_class=Reversed).message_hello("you")
        wait_until(lambda: got, SOON)

    ((_, _, header, body),) = got
    assert header.content_type == "text/reversed"
    assert consumer.decode(body)["content"] == {"parameters": "you"}


@pytest.mark.behaviour("consumer-queues")
def test_arguments_beat_the_class_attributes(endpoint, broker_env):
    class Own(messaging.GenericConsumer):
        vhost = "no such"

    Own.eqk = endpoint.at(("not this", "one"))
    Own.hup = {"host": "nowhere.invalid", "user": "nobody", "password": "none"}
    consumer = Own(endpoint.eqk, broker_env.hup, broker_env.vhost)

    assert consumer.qk_list == [(endpoint.queue, endpoint.key)]
    assert consumer.vhost == broker_env.vhost


# --- bindings and consumers


@pytest.mark.behaviour("consumer-operations")
def test_a_queue_with_many_keys_has_one_amqp_consumer(endpoint, raw):
    keys = [f"key{number}" for number in range(5)]
    consumer = messaging.GenericConsumer(endpoint.at(*((endpoint.queue, key) for key in keys)))

    with consuming(consumer) as got:
        wait_until(lambda: raw.consumers(endpoint.queue) == 1, SOON)
        consumer.queue_bind(endpoint.exchange, endpoint.queue, "key5")
        for key in [*keys, "key5"]:
            endpoint.producer(eks=[(endpoint.exchange, key)]).message_hello()
        wait_until(lambda: len(got) == 6, SOON)
        assert raw.consumers(endpoint.queue) == 1

    assert len({method.consumer_tag for _, method, _, _ in got}) == 1
    wait_until(lambda: raw.consumers(endpoint.queue) == 0, SOON)


@pytest.mark.behaviour("consumer-operations")
def test_concurrent_binds_of_a_queue_make_one_amqp_consumer(endpoint, raw):
    consumer = messaging.GenericConsumer()

    with consuming(consumer):
        binding = [
            gevent.spawn(consumer.queue_bind, endpoint.exchange, endpoint.queue, f"key{number}")
            for number in range(5)
        ]
        gevent.joinall(binding, timeout=SOON, raise_error=True)
        assert raw.consumers(endpoint.queue) == 1


@pytest.mark.behaviour("consumer-operations", "application-groups")
def test_a_queue_can_be_left_while_its_consumer_is_being_started(endpoint, raw):
    queues = [endpoint.sub(name) for name in "abc"]
    consumer = messaging.GenericConsumer(endpoint.at(*((queue, endpoint.key) for queue in queues)))

    with consuming(consumer):  # the first is being started, the others come after it
        for queue in queues[:2]:
            consumer.cancel(queue)
        wait_until(lambda: raw.consumers(queues[2]) == 1, SOON)
        assert [raw.consumers(queue) for queue in queues] == [0, 0, 1]


@pytest.mark.behaviour("consumer-operations")
def test_eqk_can_be_added_before_and_while_consuming(endpoint):
    consumer = messaging.GenericConsumer()
    consumer.add_eqk(endpoint.at((endpoint.sub("before"), "a")))
    producer = endpoint.producer(eks=[(endpoint.exchange, key) for key in "ab"])

    with consuming(consumer) as got:
        consumer.add_eqk(endpoint.at((endpoint.sub("meanwhile"), "b")))
        producer.message_hello()
        wait_until(lambda: len(got) == 2, SOON)

    assert {method.routing_key for _, method, _, _ in got} == {"a", "b"}


@pytest.mark.behaviour("consumer-operations")
def test_queue_bind_and_queue_unbind_work_while_consuming(endpoint, raw):
    consumer = messaging.GenericConsumer(endpoint.eqk)
    end = endpoint.producer(eks=[(endpoint.exchange, "end")])

    with consuming(consumer) as got:
        consumer.queue_bind(endpoint.exchange, endpoint.queue, "end")
        consumer.queue_bind(endpoint.exchange, endpoint.sub("short"), "more", auto_delete=True)
        end.message_one(_key="more")
        consumer.queue_unbind(endpoint.exchange, endpoint.queue, endpoint.key)
        end.message_two(_key=endpoint.key)
        end.message_three()
        wait_until(lambda: len(got) == 2, SOON)

    assert sorted(names(got)) == ["one", "three"]
    assert (endpoint.queue, endpoint.key) not in consumer.qk_list
    wait_until(lambda: not raw.exists(endpoint.sub("short")), SOON)


@pytest.mark.behaviour("consumer-operations")
def test_the_callback_gets_channel_method_header_and_body(endpoint):
    consumer = messaging.GenericConsumer(endpoint.eqk)
    got: list[Any] = []

    def callback(channel: Any, method: Any, header: Any, body: bytes) -> None:
        got.append((channel, method, header, body))
        consumer.ack(method)
        if len(got) == 2:
            consumer.stop_consuming()

    run = gevent.spawn(consumer.start_consuming, callback)
    producer = endpoint.producer()
    for number in range(2):
        producer.message_hello(number)
    run.get(timeout=SOON)

    channel, method, header, body = got[1]
    assert method.channel is channel
    assert (method.routing_key, method.exchange) == (endpoint.key, endpoint.exchange.name)
    assert not method.redelivered
    assert header.content_type == "application/json"
    assert consumer.decode(body)["content"] == {"parameters": 1}


@pytest.mark.behaviour("consumer-operations")
def test_stop_consuming_twice_and_consuming_again_is_fine(endpoint):
    consumer = messaging.GenericConsumer(endpoint.eqk)
    for _ in range(2):
        with consuming(consumer) as got:
            endpoint.producer().message_hello()
            wait_until(lambda g=got: g, SOON)
            consumer.stop_consuming()

    assert names(got) == ["hello"]


@pytest.mark.behaviour("consumer-operations")
def test_what_is_not_acknowledged_goes_back_to_its_queue(endpoint, raw):
    consumer = messaging.GenericConsumer(endpoint.eqk)
    got: list[Any] = []
    run = gevent.spawn(consumer.start_consuming, lambda *message: got.append(message))
    endpoint.producer().message_hello()
    wait_until(lambda: got, SOON)

    assert raw.count(endpoint.queue) == 0
    consumer.stop_consuming()
    run.get(timeout=SOON)

    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)


@pytest.mark.behaviour("consumer-operations")
def test_ack_and_reject_settle_a_message(endpoint, raw):
    """The first is acknowledged, the second put back once and then dropped for good."""
    consumer = messaging.GenericConsumer(endpoint.strict)
    raw.declare(endpoint.dead)
    seen: list[tuple[str, bool]] = []

    def settle(_channel: Any, method: Any, _header: Any, body: bytes) -> None:
        seen.append((consumer.decode(body)["name"], method.redelivered))
        if seen[-1][0] == "good":
            consumer.ack(method)
        else:
            consumer.reject(method, not method.redelivered)

    run = gevent.spawn(consumer.start_consuming, settle)
    endpoint.producer().message_good()
    endpoint.producer().message_bad()
    wait_until(lambda: len(seen) == 3, SOON)
    consumer.stop_consuming()
    run.get(timeout=SOON)

    assert seen == [("good", False), ("bad", False), ("bad", True)]
    assert json.loads(raw.take(endpoint.dead).body)["name"] == "bad"
    assert (raw.count(endpoint.queue), raw.count(endpoint.dead)) == (0, 0)


@pytest.mark.behaviour("consumer-operations")
def test_discard_all_messages_rejects_everything(endpoint, raw):
    raw.declare(endpoint.dead)
    consumer = messaging.GenericConsumer(endpoint.strict)
    consumer.discard_all_messages = True
    producer = endpoint.producer()

    with consuming(consumer) as got:
        for _ in range(3):
            producer.message_hello()
        wait_until(lambda: raw.count(endpoint.dead) == 3, SOON)
        consumer.discard_all_messages = False
        producer.message_welcome()
        wait_until(lambda: got, SOON)

    assert names(got) == ["welcome"]


@pytest.mark.behaviour("consumer-operations")
@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (messaging.MessageResult(7, "seven"), ("success", 7, "seven")),
        (messaging.MessageResultError("no"), ("error", None, "no")),
        (messaging.MessageResultException("E", "x"), ("exception", "E", "x")),
        ({"any": ["value"]}, ("success", {"any": ["value"]}, "")),
    ],
    ids=["result", "error", "exception", "value"],
)
def test_rpc_reply_sends_correlation_id_and_content_type(endpoint, raw, answer, content):
    consumer = messaging.GenericConsumer(endpoint.eqk)
    replies = raw.declare("", exclusive=True, durable=False)

    consumer.rpc_reply(Properties(reply_to=replies, correlation_id="mine"), answer)

    reply = raw.take(replies)
    assert (reply.properties.correlation_id, reply.properties.content_type) == (
        "mine",
        "application/json",
    )
    sent = json.loads(reply.body)["content"]
    assert (sent["type"], sent["value"], sent["message"]) == content


@pytest.mark.behaviour("encoders", "consumer-operations")
def test_rpc_reply_uses_the_encoder_of_the_consumer(endpoint, raw):
    class Own(messaging.GenericConsumer):
        encoder_class = Reversed

    replies = raw.declare("", exclusive=True, durable=False)
    Own(endpoint.eqk).rpc_reply(Properties(reply_to=replies), 7)

    reply = raw.take(replies)
    assert reply.properties.content_type == "text/reversed"
    assert Reversed.decode(reply.body)["content"]["value"] == 7


# --- plain queues


@pytest.mark.behaviour("shared-queues")
def test_a_plain_queue_keeps_messages_while_nobody_consumes(endpoint):
    messaging.GenericConsumer(endpoint.eqk)
    producer = endpoint.producer()
    producer.message_first()
    with consuming(messaging.GenericConsumer(endpoint.eqk)) as got:
        wait_until(lambda: got, SOON)
    producer.message_second()  # consumed before, and not auto-deleted

    with consuming(messaging.GenericConsumer(endpoint.eqk)) as later:
        wait_until(lambda: later, SOON)

    assert (names(got), names(later)) == (["first"], ["second"])


@pytest.mark.behaviour("shared-queues")
def test_a_plain_queue_is_shared_by_its_consumers(endpoint):
    with (
        consuming(messaging.GenericConsumer(endpoint.eqk)) as one,
        consuming(messaging.GenericConsumer(endpoint.eqk)) as other,
    ):
        for _ in range(20):
            endpoint.producer().message_hello()
        wait_until(lambda: len(one) + len(other) == 20, SOON)

    assert one
    assert other


MISMATCHES = {
    "auto_delete": ({"auto_delete": True}, "auto_delete", "false", "true"),
    "an argument": ({"arguments": {"x-max-length": 5}}, "x-max-length", "none", "5"),
}


@pytest.mark.behaviour("shared-queues")
@pytest.mark.parametrize(
    ("existing", "flag", "ours", "theirs"), MISMATCHES.values(), ids=MISMATCHES.keys()
)
def test_a_queue_mismatch_is_an_error_that_says_what_to_write(
    endpoint, raw, existing, flag, ours, theirs
):
    raw.declare(endpoint.queue, **existing)

    with pytest.raises(TopologyMismatch) as refused:
        messaging.GenericConsumer(endpoint.eqk)

    error = refused.value
    assert (error.kind, error.name, error.flag) == ("queue", endpoint.queue, flag)
    assert (error.ours, error.theirs) == (ours, theirs)
    said = str(error)
    assert repr(endpoint.queue) in said
    assert f"{flag} = {theirs}" in said
    assert f"{flag} = {ours}" in said
    assert f'{{"name": {endpoint.queue!r}, "flags": {{"passive": True}}}}' in said


@pytest.mark.behaviour("shared-queues")
def test_what_the_error_says_to_write_uses_the_queue_as_it_is(endpoint, raw):
    raw.declare(endpoint.queue, auto_delete=True)
    with pytest.raises(TopologyMismatch):
        messaging.GenericConsumer(endpoint.eqk)

    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    with consuming(messaging.GenericConsumer(endpoint.at((as_it_is, endpoint.key)))) as got:
        endpoint.producer().message_hello()
        wait_until(lambda: got, SOON)


@pytest.mark.behaviour("shared-queues")
def test_a_refused_queue_ends_nothing_else(endpoint, raw):
    """The broker closes the channel of the declaration; other components do not notice."""
    raw.declare(endpoint.sub("other"), auto_delete=True)
    with consuming(messaging.GenericConsumer(endpoint.eqk)) as got:
        with pytest.raises(TopologyMismatch):
            messaging.GenericConsumer(endpoint.at((endpoint.sub("other"), "k")))
        endpoint.producer().message_hello()
        wait_until(lambda: got, SOON)


@pytest.mark.behaviour("shared-queues")
def test_an_exchange_type_mismatch_is_an_error_with_both_types(endpoint):
    messaging.GenericConsumer(endpoint.eqk)
    same_name = exchange(endpoint.exchange.name, "topic")

    with pytest.raises(TopologyMismatch, match="passive = True in the exchange class") as refused:
        messaging.GenericConsumer([(same_name, [(endpoint.queue, "k")])])

    assert (refused.value.kind, refused.value.flag) == ("exchange", "type")
    assert (refused.value.ours, refused.value.theirs) == ("topic", "direct")


def test_processors_reply_by_an_overridden_rpc_reply(endpoint):
    class Louder(messaging.GenericConsumer):
        def rpc_reply(self, header, message):
            super().rpc_reply(header, str(message).upper())

    class Server(messaging.MessageProcessor):
        consumer_class = Louder

        @messaging.RpcHandler("command", "say")
        def say(self, content, reply_func):
            reply_func(content["parameters"])

    with running(Server(None, endpoint.eqk)):
        assert endpoint.producer().rpc_say("hello").unwrap() == "HELLO"
