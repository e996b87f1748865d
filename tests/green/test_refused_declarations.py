"""What the broker refuses to declare: an error at once for whom it concerns, nothing for others."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from pika import spec

from postage import green, messaging
from postage.errors import ChannelRefused
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.ended_connections import RefusingNetwork, refusing
from tests.support.endpoints import Endpoint, exchange
from tests.support.raw import Raw, take
from tests.support.running import SOON, consuming, running
from tests.support.stopwatch import Stopwatch
from tests.support.undisturbed import Bystander, Undisturbed

# A proxy refuses what the broker itself accepts.
pytestmark = [
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("quick_restoring", "broker_env"),
]

#: Exchange types that the broker does not have, and answers by ending the connection.
UNKNOWN_TYPES = ["x-delayed-message", "x", "x-random", "Direct", "fan out", "caf\u00e9"]


def losses(producer: Any) -> int:
    """Return how many connections to the broker of *producer* were lost."""
    pair = runtime_of(producer.settings).pair
    return pair.publishing.losses + pair.consuming.losses


# --- exchanges


@pytest.mark.parametrize("unknown", UNKNOWN_TYPES)
@pytest.mark.parametrize("who", ["producer", "_eks", "eqk", "queue_bind", "processor", "pipelined"])
def test_an_unknown_exchange_type_is_an_error_at_once(
    endpoint: Endpoint, unknown: str, who: str
) -> None:
    wrong = exchange(endpoint.sub(who), unknown)
    eqk: Any = [(wrong, [(endpoint.queue, "rk")])]

    def use() -> None:
        if who == "producer":
            endpoint.producer(eks=[(wrong, "rk")])
        elif who == "_eks":
            endpoint.producer().message_hello(_eks=[(wrong, "rk")])
        elif who == "eqk":
            messaging.GenericConsumer(eqk)
        elif who == "queue_bind":
            messaging.GenericConsumer(endpoint.eqk).queue_bind(wrong, endpoint.queue, "rk")
        elif who == "processor":
            messaging.MessageProcessor({}, eqk)
        else:
            with green.pipelined():
                messaging.MessageProcessor({}, eqk)

    watch = Stopwatch()
    with Undisturbed(endpoint), pytest.raises(ChannelRefused) as caught:
        use()

    assert watch.own < SOON, "not for the whole publish_timeout"
    for words in (repr(wrong.name), repr(unknown), caught.value.text, "Correct the declaration"):
        assert words in str(caught.value)
    assert caught.value.is_final


@pytest.mark.parametrize("unknown", UNKNOWN_TYPES)
def test_add_eqk_with_an_unknown_type_while_consuming(endpoint: Endpoint, unknown: str) -> None:
    wrong = exchange(endpoint.sub("wrong"), unknown)
    consumer = Bystander({}, endpoint.eqk)
    producer = endpoint.producer()
    with Undisturbed(endpoint), running(consumer):
        wait_until(lambda: consumer.consumer.consuming, SOON)
        with pytest.raises(ChannelRefused, match="refused exchange"):
            consumer.consumer.add_eqk([(wrong, [(endpoint.queue, "rk")])])
        assert producer.rpc_echo(1).value == 1
        assert consumer.consumer.counts["restored"] == 0


def test_a_refused_type_is_tried_once_for_all(endpoint: Endpoint, broker_env: Any) -> None:
    with refusing(broker_env.port, lambda _: False, 0, "") as network:
        producer = behind(network, broker_env, endpoint)
        before = network.connections
        for number in range(5):
            wrong: Any = [(exchange(endpoint.sub(str(number)), "x-unknown"), "rk")]
            with pytest.raises(ChannelRefused, match=endpoint.sub(str(number))):
                producer.message_hello(_eks=wrong)
        assert network.connections == before + 1
        assert losses(producer) == 0


# --- calls


@pytest.mark.parametrize("later", [False, True])
def test_a_call_to_a_mismatched_exchange_ends_at_once(
    endpoint: Endpoint, raw: Raw, *, later: bool
) -> None:
    raw.channel.exchange_declare(endpoint.exchange.name, "fanout", durable=True)
    wrong: Any = [(exchange(endpoint.exchange.name, "topic"), "rk")]
    assert_ends_at_once(endpoint, wrong, "TopologyMismatch", later=later)


@pytest.mark.parametrize("unknown", UNKNOWN_TYPES)
@pytest.mark.parametrize("later", [False, True])
def test_a_call_to_an_unknown_type_ends_at_once(
    endpoint: Endpoint, unknown: str, *, later: bool
) -> None:
    wrong: Any = [(exchange(endpoint.exchange.name, unknown), "rk")]
    with Undisturbed(endpoint):
        assert_ends_at_once(endpoint, wrong, "ChannelRefused", later=later)


def assert_ends_at_once(endpoint: Endpoint, wrong: Any, name: str, *, later: bool) -> None:
    """Call by the ``_eks`` *wrong*; its result has the value *name*."""
    producer = Endpoint(endpoint.sub("x")).producer()
    watch = Stopwatch()
    call = producer.rpc_echo
    result = call.later(1, _eks=wrong).get() if later else call(1, _eks=wrong)
    content = result.body["content"]
    assert content["value"] == name
    assert endpoint.exchange.name in content["message"]
    assert watch.own < SOON


# --- soft refusals of exchanges, which must not be repeated either


def test_a_reserved_name_is_an_error_at_once(endpoint: Endpoint) -> None:
    reserved: Any = [(exchange(f"amq.{endpoint.queue}"), "rk")]
    assert_not_sent(endpoint, reserved, 403)
    assert_ends_at_once(endpoint, reserved, "ChannelRefused", later=False)


@pytest.mark.parametrize("value", [5, True, ["a"]])
def test_a_wrong_alternate_exchange_is_an_error_at_once(endpoint: Endpoint, value: Any) -> None:
    wrong = exchange(endpoint.exchange.name, arguments={"alternate-exchange": value})
    assert_not_sent(endpoint, [(wrong, "rk")], 406)


def assert_not_sent(endpoint: Endpoint, wrong: Any, code: int) -> None:
    """Send by the ``_eks`` *wrong*; the error has this *code*, and names the exchange."""
    producer = Endpoint(endpoint.sub("x")).producer()
    watch = Stopwatch()
    with Undisturbed(endpoint), pytest.raises(ChannelRefused, match=wrong[0][0].name) as caught:
        producer.message_hello(_eks=wrong)
    assert caught.value.code == code
    assert watch.own < SOON


# --- queues that a broker may refuse by ending the connection

DENIED = 541, "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated."
TRANSIENT = {"durable": False}


def is_transient(method: Any) -> bool:
    """Tell whether *method* declares what RabbitMQ 4 denies."""
    declares = isinstance(method, spec.Queue.Declare) and not method.passive
    return declares and not (method.durable or method.exclusive)


def behind(network: RefusingNetwork, env: Any, endpoint: Endpoint, **attributes: Any) -> Any:
    """Return a producer behind *network*."""
    kind = type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks, **attributes})
    return kind(hup={**env.hup, "port": network.port})


@pytest.mark.parametrize(
    "flags",
    [
        {"durable": False},
        {"durable": False, "auto_delete": True},
        {"durable": False, "arguments": {"x-expires": 60_000}},
        {"durable": False, "arguments": {"x-unheard-of": 1}},
    ],
)
@pytest.mark.parametrize("name", ["named", ""])
def test_a_denied_queue_hits_only_its_component(
    endpoint: Endpoint, broker_env: Any, flags: dict[str, Any], name: str
) -> None:
    with refusing(broker_env.port, is_transient, *DENIED) as network:
        hup = {**broker_env.hup, "port": network.port}
        good = Bystander({}, endpoint.eqk, hup=hup)
        with running(good):
            producer = behind(network, broker_env, endpoint)
            eqk = endpoint.at(({"name": name and endpoint.sub("bad"), "flags": flags}, "bad"))
            for _ in range(3):
                with pytest.raises(ChannelRefused, match="durable = False") as caught:
                    messaging.GenericConsumer(eqk, hup=hup)
                assert caught.value.code == 541
                assert caught.value.is_final
                assert producer.rpc_echo(1).value == 1
            assert (losses(producer), network.refused) == (0, 1)
            assert good.consumer.counts["lost"] == 0


def test_a_restore_that_is_denied_ends_only_its_component(
    endpoint: Endpoint, broker_env: Any
) -> None:
    denies = False
    with refusing(broker_env.port, lambda each: denies and is_transient(each), *DENIED) as network:
        hup = {**broker_env.hup, "port": network.port}
        good = Bystander({}, endpoint.eqk, hup=hup)
        flags = {"name": endpoint.sub("bad"), "flags": TRANSIENT}
        bad = messaging.GenericConsumer(endpoint.at((flags, "bad")), hup=hup)
        run = spawned(bad.start_consuming, lambda *_: None)
        with running(good):
            producer = behind(network, broker_env, endpoint)
            wait_until(lambda: bad.consuming and good.consumer.consuming, SOON)
            denies = True
            cut = runtime_of(producer.settings).pair.consuming.current
            assert cut is not None
            cut.transport.cut()

            (error,) = outcomes([run], SOON)
            assert isinstance(error, ChannelRefused)
            assert "RabbitMQ 4 denies" in str(error)
            wait_until(lambda: good.consumer.counts["restored"] == 1, SOON)
            assert producer.rpc_echo(1).value == 1
            assert (losses(producer), network.refused) == (1, 1)


def test_a_doubtful_queue_is_tried_once_for_its_sort(endpoint: Endpoint, broker_env: Any) -> None:
    with refusing(broker_env.port, lambda _: False, *DENIED) as network:
        producer = behind(network, broker_env, endpoint)
        hup = {**broker_env.hup, "port": network.port}
        names = [endpoint.sub(str(number)) for number in range(20)]
        with green.pipelined():
            for name in names:
                queue = {"name": name, "flags": TRANSIENT | {"auto_delete": True}}
                messaging.GenericConsumer(endpoint.at((queue, name)), hup=hup)
        assert network.connections == 3, "one for publishing, one for consuming, one for the trial"
        producer.message_hello(_key=names[-1])


@pytest.mark.parametrize("name", ["mine", ""])
def test_an_exclusive_queue_can_be_doubtful(endpoint: Endpoint, raw: Raw, name: str) -> None:
    flags = {"exclusive": True, "arguments": {"x-unheard-of": 1}}
    queue = {"name": name and endpoint.sub(name), "flags": flags}
    consumer = messaging.GenericConsumer(endpoint.at((queue, "one")))
    with consuming(consumer) as got:
        endpoint.producer().message_hello(_key="one")
        wait_until(lambda: got, SOON)
        if name:
            consumer.add_eqk(endpoint.at((queue, "two")))
            endpoint.producer().message_hello(_key="two")
            wait_until(lambda: len(got) == 2, SOON)


def test_a_queue_with_a_name_of_the_broker_is_made_once(endpoint: Endpoint, raw: Raw) -> None:
    flags = {"durable": False, "arguments": {"x-unheard-of": 2}}
    consumer = messaging.GenericConsumer(endpoint.at(({"name": "", "flags": flags}, "rk")))
    endpoint.producer().message_hello()
    ((name, _),) = consumer.qk_list
    assert take(raw, name)["name"] == "hello"


# --- refusals that nobody foresees


def test_an_unforeseen_refusal_costs_one_connection(endpoint: Endpoint, broker_env: Any) -> None:
    def refuse(method: Any) -> bool:
        return isinstance(method, spec.Queue.Declare) and method.queue.endswith("-unforeseen")

    with refusing(broker_env.port, refuse, 540, "NOT_IMPLEMENTED - not today") as network:
        hup = {**broker_env.hup, "port": network.port}
        good = Bystander({}, endpoint.eqk, hup=hup)
        eqk = endpoint.at((endpoint.sub("unforeseen"), "bad"))
        with running(good):
            producer = behind(network, broker_env, endpoint)
            for _ in range(3):
                with pytest.raises(ChannelRefused, match="not today"):
                    messaging.GenericConsumer(eqk, hup=hup)
            messaging.GenericConsumer(endpoint.at((endpoint.sub("good"), "good")), hup=hup)
            wait_until(lambda: good.consumer.counts["restored"] == 1, SOON)
            assert producer.rpc_echo(1).value == 1
            assert losses(producer) == 1


def test_a_type_that_is_switched_off_costs_one_connection(
    endpoint: Endpoint, broker_env: Any
) -> None:
    """RabbitMQ 3 has feature flags for its types of queues, and denies by ending connections."""

    def refuse(method: Any) -> bool:
        return isinstance(method, spec.Queue.Declare) and "x-queue-type" in method.arguments

    text = "INTERNAL_ERROR - Cannot declare a queue: the corresponding feature flag is disabled"
    with refusing(broker_env.port, refuse, 541, text) as network:
        hup = {**broker_env.hup, "port": network.port}
        producer = behind(network, broker_env, endpoint)
        for more in ({}, {"x-delivery-limit": 5}, {"x-max-length": 5}, {}):
            flags = {"arguments": {"x-queue-type": "quorum", **more}}
            queue = {"name": endpoint.sub("quorum"), "flags": flags}
            with pytest.raises(ChannelRefused, match="enable_feature_flag") as caught:
                messaging.GenericConsumer(endpoint.at((queue, "rk")), hup=hup)
            assert caught.value.is_final
        assert network.refused == 4, "one that nobody foresaw, and one trial of each"
        assert losses(producer) == 1


def test_declarations_beside_an_unforeseen_refusal_succeed(
    endpoint: Endpoint, broker_env: Any
) -> None:
    def refuse(method: Any) -> bool:
        return isinstance(method, spec.Queue.Declare) and method.queue.endswith("-unforeseen")

    with refusing(broker_env.port, refuse, 502, "SYNTAX_ERROR - what?") as network:
        hup = {**broker_env.hup, "port": network.port}
        producer = behind(network, broker_env, endpoint)
        names = [endpoint.sub(str(number)) for number in range(10)]
        names.insert(5, endpoint.sub("unforeseen"))
        runs = [
            spawned(messaging.GenericConsumer, endpoint.at((name, name)), hup=hup) for name in names
        ]
        *made, error = sorted(outcomes(runs, SOON), key=lambda each: isinstance(each, Exception))
        assert isinstance(error, ChannelRefused), error
        assert [type(each) for each in made] == [messaging.GenericConsumer] * 10
        assert losses(producer) == 1


# --- losses that are no refusals


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("name", ["named", ""])
def test_a_consumer_is_made_although_its_connection_is_lost(
    endpoint: Endpoint, broker_env: Any, name: str, *, pipelined: bool
) -> None:
    forced = iter([True, True])

    def refuse(method: Any) -> bool:
        return isinstance(method, spec.Queue.Declare) and next(forced, False)

    with refusing(broker_env.port, refuse, 320, "CONNECTION_FORCED - closed by hand") as network:
        hup = {**broker_env.hup, "port": network.port}
        eqk = endpoint.at((name and endpoint.sub(name), "rk"))
        with green.pipelined() if pipelined else nullcontext():
            consumer = messaging.GenericConsumer(eqk, hup=hup)
        producer = behind(network, broker_env, endpoint)
        assert losses(producer) == 2
        with consuming(consumer) as got:
            producer.message_hello()
            wait_until(lambda: got, SOON)


# --- rejected deliveries


class Failing(messaging.MessageProcessor):
    """Rejects every message."""

    @messaging.MessageHandler("command", "hello")
    def hello(self, _content: Any) -> None:
        raise messaging.RejectMessage


@pytest.mark.needs_rabbitmq("streams")
def test_a_stream_whose_messages_fail_costs_one_connection(endpoint: Endpoint) -> None:
    stream = {"name": endpoint.sub("stream"), "flags": {"arguments": {"x-queue-type": "stream"}}}
    failing, good = Failing({}, endpoint.at((stream, "stream"))), Bystander({}, endpoint.eqk)
    with running(failing, good):
        wait_until(lambda: failing.consumer.consuming and good.consumer.consuming, SOON)
        producer = endpoint.producer()
        before = losses(producer)

        def have_failed() -> bool:
            # RabbitMQ 3 ends the connection; what is sent meanwhile, the stream does not deliver.
            producer.message_hello(_key="stream")
            return failing.counts["failed"] > 5

        wait_until(have_failed, SOON)
        assert endpoint.producer(max_retry=3).rpc_echo(1).value == 1
        assert losses(producer) - before <= 1
