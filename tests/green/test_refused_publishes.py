"""What the broker refuses on a shared channel costs only its own publisher."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.broker import BrokerThread, Limits
from postage.encoding import Encoder
from postage.testing.polling import wait_until
from postage.testing.vhosts import chosen_broker
from tests.support.attempts import outcomes, spawned
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint, exchange
from tests.support.recovery import GatedServer, pair_of
from tests.support.running import SOON, consuming, running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")

LARGEST = 20_000
TOO_LARGE = "x" * 30_000
AT_ONCE = 2.0
SET = (
    "application:set_env(rabbit, max_message_size, {0}), "
    "persistent_term:put(max_message_size, {0})."
)


@pytest.fixture(scope="module")
def broker_env(broker_env: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A broker that takes no body over `LARGEST` bytes."""
    if chosen_broker(request.config) == "rabbitmq":
        node = request.getfixturevalue("rabbitmq")
        control(node, "eval", SET.format(LARGEST))
        yield broker_env
        control(node, "eval", SET.format(1 << 27))
        return
    limits = Limits(message_max=LARGEST)
    with BrokerThread(vhosts=("/", broker_env.vhost), limits=limits) as broker:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POSTAGE_PORT", str(broker.port))
            yield dataclasses.replace(broker_env, port=broker.port)
        green.close()


class Texts(messaging.MessageProcessor):
    """Replies with a text of the length that a caller asks for."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.runs: list[int] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "text")
    def text(self, content: Any, reply: Any) -> None:
        length = content["parameters"] if isinstance(content["parameters"], int) else 1
        self.runs.append(length)
        reply("x" * length)


@pytest.fixture(params=["one-connection", "two"])
def hup(request: pytest.FixtureRequest, broker_env: Any) -> Any:
    """Where the server connects; "two": over other connections than the callers."""
    return broker_env.hup | ({"host": "localhost"} if request.param == "two" else {})


@pytest.fixture
def server(endpoint: Endpoint, hup: Any) -> Iterator[Texts]:
    made = Texts({"name": "texts"}, endpoint.eqk, hup)
    with running(made):
        yield made


@pytest.fixture
def caller(endpoint: Endpoint, server: Texts) -> Any:
    made = endpoint.producer()
    assert made.rpc_text(1).value == "x"
    forget_limits(made, server.consumer)
    server.runs.clear()
    return made


def forget_limits(*components: Any) -> None:
    """Let the connections not know what the broker has refused in other tests."""
    for each in components:
        pair = pair_of(each)
        for connection in pair.connections:
            connection.codec.max_body = float("inf")


def refused(result: Any) -> bool:
    return result.value == "ChannelRefused" and "size" in result.message


# --- replies and requests


@pytest.mark.parametrize("place", [0, 10, 20])
def test_a_too_large_reply_costs_no_other_reply(caller: Any, server: Texts, place: int) -> None:
    lengths = [10] * 20
    lengths.insert(place, len(TOO_LARGE))
    watch = Stopwatch()
    results = outcomes([gevent.spawn(caller.rpc_text, each) for each in lengths], SOON)

    assert watch.own < AT_ONCE
    assert refused(results.pop(place))
    assert [each.value for each in results] == ["x" * 10] * 20
    assert sorted(server.runs) == sorted(lengths)


@pytest.mark.parametrize("place", [0, 10, 20])
def test_a_too_large_request_costs_no_other_call(caller: Any, server: Texts, place: int) -> None:
    texts: list[Any] = [10] * 20
    texts.insert(place, TOO_LARGE)
    watch = Stopwatch()
    results = outcomes([gevent.spawn(caller.rpc_text, each) for each in texts], SOON)

    assert watch.own < AT_ONCE
    assert refused(results.pop(place))
    assert [each.value for each in results] == ["x" * 10] * 20
    assert server.runs == [10] * 20


def test_two_hundred_calls_with_many_mistakes(caller: Any, server: Texts) -> None:
    sent: list[Any] = [TOO_LARGE if n % 7 == 3 else 30_000 if n % 5 == 2 else n for n in range(200)]
    results = [each.get(timeout=SOON) for each in [caller.rpc_text.later(each) for each in sent]]

    def is_right(what: Any, result: Any) -> bool:
        return refused(result) if what in (TOO_LARGE, 30_000) else result.value == "x" * what

    pairs = zip(sent, results, strict=True)
    wrong = [(n, each.body) for n, (what, each) in enumerate(pairs) if not is_right(what, each)]
    assert not wrong
    assert len(server.runs) == sum(each != TOO_LARGE for each in sent)


def test_a_mistake_that_is_repeated_ends_the_channel_once(caller: Any, server: Texts) -> None:
    def channels() -> list[Any]:
        return [pair_of(e).publishing.current.calling.get() for e in (caller, server.consumer)]

    before = channels()
    for what in (TOO_LARGE, len(TOO_LARGE)):
        assert refused(caller.rpc_text(what))
    after = channels()
    for _ in range(5):
        for what in (TOO_LARGE, len(TOO_LARGE)):
            assert refused(caller.rpc_text(what))

    assert not any(each.alive for each in before)
    assert channels() == after
    assert caller.rpc_text(2).value == "xx"


def test_a_body_of_the_largest_size_passes(caller: Any) -> None:
    assert refused(caller.rpc_text(TOO_LARGE))

    overhead = LARGEST - 500
    assert caller.rpc_text("x" * overhead).value == "x"
    assert len(caller.rpc_text(overhead).value) == overhead


class Pickle(Encoder):
    content_type = "application/x-pickle"

    @classmethod
    def encode(cls, data: Any) -> bytes:
        return pickle.dumps(data)

    @classmethod
    def decode(cls, string: Any) -> Any:
        return pickle.loads(string)  # noqa: S301 - written by this test


def test_the_refusal_is_encoded_as_the_replies_are(endpoint: Endpoint, broker_env: Any) -> None:
    class Consumer(messaging.GenericConsumer):
        encoder_class = Pickle

    class Server(Texts):
        consumer_class = Consumer

    caller = endpoint.producer(encoder_class=Pickle)
    with running(Server({"name": "pickles"}, endpoint.eqk)):
        assert refused(caller.rpc_text(len(TOO_LARGE)))
        assert caller.rpc_text(1).value == "x"


def test_a_reply_that_is_collected_later_is_refused_as_well(caller: Any) -> None:
    queue = caller.rpc_queue_text(len(TOO_LARGE))

    (result,) = caller.consume_rpc(queue)
    assert refused(result)


# --- exchanges that are gone


def test_calls_in_flight_survive_a_missing_exchange(
    endpoint: Endpoint, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.deleted_exchanges.DOUBTED", 0.5)
    other = exchange(endpoint.sub("other"))
    server = GatedServer({"name": "server"}, endpoint.eqk)
    caller = endpoint.producer()
    lost = type("Lost", (messaging.GenericProducer,), {"eks": [(other, "rk")]})()
    with running(server):
        runs = [gevent.spawn(caller.rpc_ask, n) for n in range(10)]
        wait_until(lambda: len(server.asked) == 10, SOON)
        raw.channel.exchange_delete(other.name)
        runs.append(gevent.spawn(lost.rpc_ask, 0, _timeout=5, _max_retry=0))
        runs += [gevent.spawn(caller.rpc_ask, n) for n in range(10, 20)]
        assert runs[10].get(timeout=SOON).value == "NoRoute"
        wait_until(lambda: len(server.asked) == 20, SOON)
        server.gate.set()
        results = outcomes(runs[:10] + runs[11:], SOON)

    assert [each.value for each in results] == list(range(20))
    assert sorted(server.asked) == list(range(20))


# --- messages without confirms


@pytest.mark.parametrize("place", [0, 5, 10])
def test_an_unconfirmed_message_costs_no_other(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    producer = endpoint.producer(confirm=False)
    with consuming(messaging.GenericConsumer(endpoint.eqk)) as got:
        producer.message_warm()
        wait_until(lambda: len(got) == 1, SOON)
        forget_limits(producer)
        with caplog.at_level(logging.WARNING, "postage"):
            for n in range(11):
                producer.message_text(TOO_LARGE if n == place else n)
            wait_until(lambda: len(got) == 11, SOON)
        assert_stays(lambda: len(got) == 11, 0.2)

    (text,) = [each.getMessage() for each in caplog.records if "are lost" in each.getMessage()]
    assert repr(endpoint.exchange.name) in text
    assert "message size" in text


# --- the record


def test_what_the_broker_has_handled_is_forgotten(
    caller: Any, server: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.publish_record.BYTES", 5_000)

    def recorded() -> int:
        connections = (pair_of(each).publishing.current for each in (caller, server.consumer))
        return sum(len(each.calling.get()._record.entries) for each in connections)

    wait_until(lambda: recorded() == 0, SOON)
    for _ in range(100):
        caller.rpc_text(100)
        assert recorded() < 60
    wait_until(lambda: recorded() == 0, SOON)


@pytest.mark.needs_rabbitmq("permissions")
def test_a_call_that_is_not_permitted_costs_no_other(
    endpoint: Endpoint, rabbitmq: Any, broker_env: Any
) -> None:
    login = ["--vhost", broker_env.vhost, "writer", ".*", "^(amq.default|open.*|test.*)$", ".*"]
    control(rabbitmq, "add_user", "writer", "pw")
    control(rabbitmq, "set_permissions", *login)
    hup = {**broker_env.hup, "user": "writer", "password": "pw"}
    free, closed = exchange(f"open-{endpoint.queue}"), exchange(f"closed-{endpoint.queue}")
    server = Texts({"name": "texts"}, [(free, [(endpoint.queue, "rk")])], hup)
    caller = type("Free", (messaging.GenericProducer,), {"eks": [(free, "rk")]})(None, hup)
    denied = type("Denied", (messaging.GenericProducer,), {"eks": [(closed, "rk")]})(None, hup)
    with running(server):
        caller.rpc_text(1)
        runs = [spawned((denied if n % 5 == 2 else caller).rpc_text, 3) for n in range(20)]
        results = outcomes(runs, SOON)

    kinds = [each.value for each in results]
    assert kinds == ["ChannelRefused" if n % 5 == 2 else "xxx" for n in range(20)]
    assert len(server.runs) == 17
