"""Queues that are declared by values: quorum and classic queues, and bindings by headers."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from postage import green, messaging
from postage.errors import ChannelRefused, SettingsError, TopologyMismatch
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint, exchange
from tests.support.proxy import Proxy
from tests.support.raw import Raw, raw_to
from tests.support.recovery import run_to_end
from tests.support.running import SOON, consuming, running
from tests.support.undisturbed import Bystander, Undisturbed

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")

RETURNS = 22
"""Returns of a message after which RabbitMQ 4 has dropped it, unless the queue says otherwise."""


class Server(messaging.MessageProcessor):
    """Answers; and keeps what it is told."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, _reply: Any) -> Any:
        return content["parameters"]

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.seen.append(content["parameters"])


class Endless(Server):
    max_deliveries = None


class Patient(Server):
    max_deliveries = 50


def version_of(component: Any) -> tuple[int, ...]:
    """Return the version of the broker."""
    component = getattr(component, "consumer", component)
    return runtime_of(component.settings).pair.consuming.get().version


# --- declared, consumed, and equal to dictionaries

VALUES = {
    "classic": (green.Classic, {}),
    "exclusive": (green.Classic, {"exclusive": True, "auto_delete": True}),
    "priorities": (green.Classic, {"max_priority": 5, "max_length": 100}),
    "quorum": (green.Quorum, {}),
    "dead letters": (
        green.Quorum,
        {
            "delivery_limit": 5,
            "message_ttl": 60.0,
            "expires": 600,
            "dead_letter_exchange": "",
            "dead_letter_routing_key": "x",
            "overflow": "reject-publish",
            "single_active_consumer": True,
            "initial_group_size": 1,
            "leader_locator": "client-local",
        },
    ),
}


@pytest.mark.behaviour("consumer-queues")
@pytest.mark.parametrize("case", VALUES)
def test_a_value_stands_where_a_queue_is_named(endpoint: Endpoint, case: str) -> None:
    kind, fields = VALUES[case]
    queue = kind(endpoint.queue, **fields)
    dictionary = {"name": endpoint.queue, "flags": queue.flags}
    server = Server(eqk=endpoint.at((queue, endpoint.key), (dictionary, "other")))
    server.add_eqk(endpoint.at((queue, "third")))

    with running(server):
        for key in (endpoint.key, "other", "third"):
            assert endpoint.producer().rpc_echo(key, _key=key).value == key

    assert [name for name, _ in server.consumer.qk_list] == [endpoint.queue] * 3
    assert server.statistics().queues == (endpoint.queue,)


@pytest.mark.behaviour("consumer-queues")
def test_all_methods_of_consumers_take_values(endpoint: Endpoint, raw: Raw) -> None:
    queue = green.Quorum(endpoint.queue)
    consumer = messaging.GenericConsumer()
    consumer.queue_bind(endpoint.exchange, queue, "a")
    consumer.queue_bind(endpoint.exchange, queue, "b")
    consumer.queue_unbind(endpoint.exchange, queue, "b")
    assert consumer.qk_list == [(endpoint.queue, "a")]

    with consuming(consumer) as got:
        raw.send(endpoint.exchange.name, "a", b"1")
        wait_until(lambda: got, SOON)
        consumer.cancel(queue)
        wait_until(lambda: raw.consumers(endpoint.queue) == 0, SOON)


def test_a_passive_value_needs_only_that_the_queue_exists(endpoint: Endpoint, raw: Raw) -> None:
    queue = green.Quorum(endpoint.queue, passive=True, consumer_priority=3)
    with pytest.raises(TopologyMismatch):
        Server(eqk=endpoint.at((queue, None)))
    raw.declare(endpoint.queue, arguments={"x-message-ttl": 60_000})

    server = Server(eqk=endpoint.at((queue, None)))

    with running(server):
        wait_until(lambda: raw.consumers(endpoint.queue) == 1, SOON)


def test_flags_beside_a_value_are_refused(endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer()
    with pytest.raises(SettingsError, match="fields"):
        consumer.queue_bind(endpoint.exchange, green.Quorum(endpoint.queue), "a", durable=False)


def test_one_queue_cannot_be_consumed_in_two_ways(endpoint: Endpoint) -> None:
    first = green.Quorum(endpoint.queue, consumer_priority=1)
    second = green.Quorum(endpoint.queue, consumer_priority=2)
    with pytest.raises(SettingsError, match="listed twice"):
        Server(eqk=endpoint.at((first, "a"), (second, "b")))
    server = Server(eqk=endpoint.at((green.Quorum(endpoint.queue), "a"), (first, "b")))
    with pytest.raises(SettingsError, match="listed twice"):
        server.add_eqk(endpoint.at((second, "c")))


def test_a_value_that_differs_from_the_queue_is_a_mismatch(endpoint: Endpoint, raw: Raw) -> None:
    raw.declare(endpoint.queue, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3})
    for fields in ({"delivery_limit": 5}, {"message_ttl": 5}):
        with pytest.raises(TopologyMismatch):
            Endless(eqk=endpoint.at((green.Quorum(endpoint.queue, **fields), "a")))


# --- delivery limits


def quorum(form: str, name: str, **fields: Any) -> Any:
    """Return a quorum queue, as a value or as a dictionary."""
    queue = green.Quorum(name, **fields)
    return queue if form == "value" else {"name": name, "flags": queue.flags}


in_both_forms = pytest.mark.parametrize("form", ["value", "dictionary"])


def returned(broker_env: Any, queue: str, most: int = RETURNS) -> int:
    """Let *most* consumers that die take the message of *queue*; return how many got it."""
    for times in range(most):
        with raw_to(broker_env.hup, broker_env.vhost) as dying:
            try:
                wait_until(lambda r=dying: r.channel.basic_get(queue)[0], 1.0)  # type: ignore[misc]
            except TimeoutError:
                return times
    return most


@in_both_forms
@pytest.mark.parametrize("kind", [Endless, Patient])
def test_a_message_is_kept_as_long_as_the_processor_says(
    endpoint: Endpoint, broker_env: Any, kind: type[Server], form: str
) -> None:
    server = kind(eqk=endpoint.at((quorum(form, endpoint.queue), endpoint.key)))
    endpoint.producer().message_note("kept")

    assert returned(broker_env, endpoint.queue) == RETURNS
    with running(server):
        wait_until(lambda: server.seen == ["kept"], SOON)


class Strict(Server):
    max_deliveries = 3


def test_the_processor_rejects_before_the_broker_drops(
    endpoint: Endpoint, raw: Raw, broker_env: Any
) -> None:
    raw.declare(endpoint.dead)
    queue = green.Quorum(
        endpoint.queue,
        delivery_limit=Strict.max_deliveries,
        dead_letter_exchange="",
        dead_letter_routing_key=endpoint.dead,
    )
    server = Strict(eqk=endpoint.at((queue, endpoint.key)))
    endpoint.producer().message_note("poison")
    assert returned(broker_env, endpoint.queue, Strict.max_deliveries) == Strict.max_deliveries

    with running(server):
        wait_until(lambda: server.counts["poisonous"] == 1, SOON)

    died = raw.take(endpoint.dead).properties.headers["x-death"][0]
    assert (server.seen, died["reason"]) == ([], "rejected")


@pytest.mark.parametrize("kind", [Endless, Patient])
@pytest.mark.parametrize("form", ["value", "dictionary", "value with -1"])
def test_a_queue_that_was_declared_earlier_is_used_as_it_is(
    endpoint: Endpoint, raw: Raw, caplog: Any, kind: type[Server], form: str
) -> None:
    raw.declare(endpoint.queue, arguments={"x-queue-type": "quorum"})
    queue = quorum(form, endpoint.queue)
    if form == "value with -1":
        queue = green.Quorum(endpoint.queue, delivery_limit=-1)

    server = kind(eqk=endpoint.at((queue, "rk")))

    with running(server):
        assert endpoint.producer().rpc_echo(1).value == 1
    declared = -1 if form == "value with -1" or kind is Endless else 50
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    told = [each for each in told if "exists with x-delivery-limit = none" in each]
    assert len(told) == (version_of(server) >= (4, 0)), caplog.text
    assert all(f"'{{\"delivery-limit\": {declared}}}'" in each for each in told)


@pytest.mark.parametrize("first", [Patient, Endless, Server])
def test_programs_with_other_limits_share_a_queue(endpoint: Endpoint, first: type[Server]) -> None:
    servers = [
        kind(eqk=endpoint.at((quorum(form, endpoint.queue), "rk")))
        for kind in (first, Patient, Endless, Server)
        for form in ("value", "dictionary")
    ]
    consumer = messaging.GenericConsumer(endpoint.at((green.Quorum(endpoint.queue), "rk")))

    with running(*servers):
        for number in range(8):
            assert endpoint.producer().rpc_echo(number).value == number
    assert consumer.listens


def test_a_limit_in_a_dictionary_is_sent_as_it_is(endpoint: Endpoint, raw: Raw) -> None:
    raw.declare(endpoint.queue, arguments={"x-queue-type": "quorum"})
    queue = quorum("dictionary", endpoint.queue, delivery_limit=5)
    with pytest.raises(TopologyMismatch, match="x-delivery-limit = 5"):
        Endless(eqk=endpoint.at((queue, "rk")))


@pytest.mark.needs_rabbitmq("policies")
def test_the_policy_that_is_advised_keeps_messages(
    endpoint: Endpoint, raw: Raw, broker_env: Any, caplog: Any, rabbitmq: Any
) -> None:
    raw.declare(endpoint.queue, arguments={"x-queue-type": "quorum"})
    server = Endless(eqk=endpoint.at((green.Quorum(endpoint.queue), endpoint.key)))
    if version_of(server) < (4, 0):
        pytest.skip("before RabbitMQ 4 there is no limit")
    name, definition = caplog.text.partition(" NAME ")[2].split("\n")[0].split(" ", 1)
    policy = ["set_policy", "-p", broker_env.vhost, "--apply-to", "queues", "limit"]
    rabbitmq.ctl(*policy, name.strip("'"), definition.strip("'"))
    endpoint.producer().message_note("kept")

    assert returned(broker_env, endpoint.queue) == RETURNS


def test_arguments_that_the_broker_ignores_are_told(endpoint: Endpoint, caplog: Any) -> None:
    queue = green.Quorum(endpoint.queue, delayed_retry="all", delayed_retry_min=0.1)
    server = Server(eqk=endpoint.at((queue, "rk")))

    version = version_of(server)
    assert ("ignores the argument x-delayed-retry-type" in caplog.text) == (version < (4, 3))


# --- consumers


def test_consumers_of_a_higher_priority_come_first(endpoint: Endpoint) -> None:
    def server(priority: int) -> Server:
        queue = green.Quorum(endpoint.queue, consumer_priority=priority)
        return Server(eqk=endpoint.at((queue, endpoint.key)))

    low, high = server(-1), server(5)
    with running(low, high):
        wait_until(lambda: low.consumer.consuming and high.consumer.consuming, SOON)
        for number in range(20):
            endpoint.producer().message_note(number)
            wait_until(lambda n=number: n in low.seen + high.seen, SOON)  # type: ignore[misc]

    assert (low.seen, high.seen) == ([], [*range(20)])


def test_one_of_several_consumers_is_active(endpoint: Endpoint) -> None:
    queue = green.Classic(endpoint.queue, single_active_consumer=True)
    first, second = (Server(eqk=endpoint.at((queue, endpoint.key))) for _ in range(2))
    producer = endpoint.producer()
    with running(second):
        with running(first):
            wait_until(lambda: first.consumer.consuming and second.consumer.consuming, SOON)
            for number in range(10):
                producer.message_note(number)
            wait_until(lambda: len(first.seen + second.seen) == 10, SOON)
            assert [] in (first.seen, second.seen)
        producer.message_note("last")
        wait_until(lambda: "last" in second.seen, SOON)


def test_an_exclusive_consumer_keeps_others_away(endpoint: Endpoint) -> None:
    queue = green.Classic(endpoint.queue, exclusive_consumer=True)
    holder = Server(eqk=endpoint.at((queue, endpoint.key)))
    with running(holder):
        wait_until(lambda: holder.consumer.consuming, SOON)
        for other in (queue, endpoint.queue):
            with Undisturbed(endpoint):
                error = run_to_end(Server(eqk=endpoint.at((other, endpoint.key))))
            assert isinstance(error, ChannelRefused)
            assert error.code == 403
            assert "single_active_consumer=True" in str(error)
        assert endpoint.producer().rpc_echo(1).value == 1
    after = Server(eqk=endpoint.at((queue, endpoint.key)))
    with running(after):
        assert endpoint.producer().rpc_echo(2).value == 2


def test_an_exclusive_consumer_waits_for_its_own_old_one(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    queue = green.Classic(endpoint.queue, exclusive_consumer=True)
    plain = green.Quorum(endpoint.sub("plain"))
    server = Server({}, endpoint.at((queue, endpoint.key), (plain, "plain")), hup)
    with running(server):
        wait_until(lambda: server.consumer.consuming, SOON)
        proxy.cut()
        wait_until(lambda: server.consumer.counts["restored"] == 1, SOON)
        assert endpoint.producer().rpc_echo(1).value == 1


# --- headers


def papers(endpoint: Endpoint) -> type[messaging.Exchange]:
    return exchange(endpoint.exchange.name, "headers")


SENT = {
    "pdf": {"type": "pdf", "pages": 3},
    "long": {"type": "pdf", "pages": 300, "urgent": True},
    "text": {"type": "text", "pages": 3, "x-from": "here"},
    "none": {},
}
WANTED = {
    "all of two": (green.Headers(type="pdf", pages=3), {"pdf"}),
    "any of two": (green.Headers(type="text", pages=300, match="any"), {"long", "text"}),
    "one is there": (green.Headers(urgent=None), {"long"}),
    "with x": (green.Headers({"x-from": "here"}, match="all-with-x"), {"text"}),
    "a flag is no number": (green.Headers(urgent=1), set()),
    "everything": (green.Headers(), set(SENT)),
}


@pytest.mark.parametrize("case", WANTED)
def test_headers_choose_messages(endpoint: Endpoint, raw: Raw, case: str) -> None:
    wanted, expected = WANTED[case]
    consumer = messaging.GenericConsumer([(papers(endpoint), [(endpoint.queue, wanted)])])
    for name, headers in SENT.items():
        raw.send(endpoint.exchange.name, "", name.encode(), headers=headers)
    raw.put(endpoint.queue, b"end")

    with consuming(consumer) as got:
        wait_until(lambda: got and got[-1][3] == b"end", SOON)

    assert {body.decode() for *_, body in got[:-1]} == expected
    assert consumer.qk_list == [(endpoint.queue, wanted)]


def test_several_headers_bind_one_queue_and_one_is_removed(endpoint: Endpoint, raw: Raw) -> None:
    kind, first, second = papers(endpoint), green.Headers(a=1), green.Headers(a=2)
    consumer = messaging.GenericConsumer([(kind, [(endpoint.queue, h) for h in (first, second)])])

    consumer.queue_unbind(kind, endpoint.queue, green.Headers(a=1))

    assert consumer.qk_list == [(endpoint.queue, second)]
    for number in (1, 2):
        raw.send(endpoint.exchange.name, "", str(number).encode(), headers={"a": number})
    assert raw.take(endpoint.queue).body == b"2"
    assert raw.count(endpoint.queue) == 0


@pytest.mark.parametrize("how", ["the exchange is deleted", "the binding is removed"])
def test_bindings_by_headers_are_made_again(endpoint: Endpoint, raw: Raw, how: str) -> None:
    kind, wanted, name = papers(endpoint), green.Headers(a=1), endpoint.exchange.name
    consumer = messaging.GenericConsumer([(kind, [(endpoint.queue, wanted)])])

    def arrives() -> bool:
        if how.startswith("the binding"):
            raw.send(name, "", b"1", headers={"a": 1})
            return bool(got)
        try:
            raw.send(name, "", b"1", headers={"a": 1})
        except Exception:  # the exchange is missing
            return False
        return bool(got)

    with consuming(consumer) as got:
        if how.startswith("the exchange"):
            raw.channel.exchange_delete(name)
        else:
            raw.channel.queue_unbind(endpoint.queue, name, "", wanted.arguments)
        wait_until(arrives, SOON)
        raw.send(name, "", b"2", headers={"a": 2})
        raw.send(name, "", b"3", headers={"a": 1})
        wait_until(lambda: got[-1][3] == b"3", SOON)
        assert {body for *_, body in got} == {b"1", b"3"}


def test_bindings_by_headers_survive_a_lost_connection(
    endpoint: Endpoint, raw: Raw, hup: Any, proxy: Proxy
) -> None:
    queue, wanted = green.Classic("", exclusive=True), green.Headers(a=1)
    consumer = messaging.GenericConsumer([(papers(endpoint), [(queue, wanted)])], hup)
    with consuming(consumer) as got:
        proxy.cut()
        wait_until(lambda: consumer.counts["restored"] == 1 and consumer.consuming, SOON)
        raw.send(endpoint.exchange.name, "", b"1", headers={"a": 1})
        wait_until(lambda: got, SOON)


def test_a_bystander_of_wrong_headers_goes_on(endpoint: Endpoint) -> None:
    with running(Bystander({}, endpoint.eqk)), pytest.raises(SettingsError):
        Server(eqk=endpoint.at((endpoint.sub("q"), green.Headers(a=1))))
