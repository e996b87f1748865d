"""Exchanges, bindings and queues that others delete: made again, or the error that names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from pika import spec

from postage import messaging
from postage.errors import NoRoute, TopologyMismatch
from postage.green.amqp import deleted_exchanges, rebinding
from postage.green.amqp.deleted_exchanges import CONSUMERS_WAIT, DeletedExchanges
from postage.green.runtime import runtime_of
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.attempts import BUSY
from tests.support.broker_commands import control
from tests.support.clock import Clock
from tests.support.endpoints import Endpoint, exchange
from tests.support.raw import Raw, exchange_exists
from tests.support.recovery import error_of, run_to_end
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.sync_client import SocketWire, SyncClient
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")

LIMIT = 5.0
"""Seconds within which everything must be bound again."""
MANY_BINDS = 300
"""They keep RabbitMQ busy until the exchange is deleted."""


class Notes(messaging.MessageProcessor):
    """Keeps the notes that it gets."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.notes: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.notes.append(content["parameters"])

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


def apart(endpoint: Endpoint, **attributes: Any) -> Any:
    """Return a producer with connections of its own, as if in another process."""
    settings = replace(Settings.resolve(), heartbeat=57)
    producer = endpoint.producer(**attributes)
    return type(producer)(settings=settings)


@contextlib.contextmanager
def within_limit() -> Iterator[None]:
    """Fail if the block takes longer than `LIMIT`."""
    watch = Stopwatch()
    yield
    assert watch.own < LIMIT


def warnings_about(caplog: Any, name: str) -> list[str]:
    texts = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    return [text for text in texts if repr(name) in text]


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers"])
def test_an_exchange_that_nobody_uses_is_restored(
    endpoint: Endpoint, raw: Raw, kind: str, caplog: Any
) -> None:
    endpoint.exchange = exchange(endpoint.queue, kind)
    processor = Notes({}, endpoint.eqk)
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        with within_limit():
            raw.channel.exchange_delete(endpoint.queue)
            wait_until(lambda: exchange_exists(raw, endpoint.queue), SOON)
            producer = apart(endpoint, mandatory=True)
            wait_until(lambda: is_taken(producer, endpoint.key), SOON)
        wait_until(lambda: processor.notes == [endpoint.key], SOON)

    assert len(warnings_about(caplog, endpoint.queue)) == 1


@pytest.mark.parametrize("options", [{}, {"mandatory": True}, {"confirm": False}], ids=repr)
@pytest.mark.parametrize("is_apart", [False, True], ids=["one process", "two processes"])
def test_what_is_published_meanwhile_is_handled(
    endpoint: Endpoint, raw: Raw, options: Any, is_apart: bool
) -> None:
    other = Endpoint(endpoint.sub("other"))
    other.exchange = endpoint.exchange
    processors = [Notes({}, endpoint.eqk), Notes({}, other.at((other.queue, "other")))]
    producer = apart(endpoint, **options) if is_apart else endpoint.producer(**options)
    with running(*processors):
        wait_until(lambda: all(each.consumer.consuming for each in processors), SOON)
        producer.message_note(0)
        with within_limit():
            raw.channel.exchange_delete(endpoint.exchange.name)
            if "confirm" in options:  # the first one only shows that the exchange is missing
                producer.message_note(-1)
                wait_until(lambda: not is_declared(producer, endpoint), SOON)
            for number in range(1, 6):
                producer.message_note(number)
                producer.message_note(number, _key="other")
        for processor in processors:
            wait_until(lambda p=processor: set(p.notes) >= {1, 2, 3, 4, 5}, SOON)
        assert producer.rpc_echo(1).value == 1


def is_declared(producer: Any, endpoint: Endpoint) -> bool:
    connection = runtime_of(producer.settings).pair.publishing.current
    return connection is not None and endpoint.exchange in connection.declared


def test_calls_wait_for_their_server_to_bind_again(endpoint: Endpoint, raw: Raw) -> None:
    processor, producer = Notes({}, endpoint.eqk), apart(endpoint)
    with running(processor):
        assert producer.rpc_echo(0).value == 0
        raw.channel.exchange_delete(endpoint.exchange.name)
        with within_limit():
            calls = [gevent.spawn(producer.rpc_echo, n, _timeout=5) for n in range(50)]
            assert [call.get(timeout=SOON).value for call in calls] == list(range(50))
        assert producer.rpc_echo(0, _key="unbound", _timeout=5).value == "NoRoute"


def test_bindings_that_are_made_during_the_deletion(
    endpoint: Endpoint, raw: Raw, broker_env: Any
) -> None:
    """RabbitMQ 4 may keep such a binding, which routes nothing until it is removed."""
    endpoints = [Endpoint(endpoint.sub(str(number))) for number in range(5)]
    processors = [Notes({}, each.eqk) for each in endpoints]
    with running(*processors):
        wait_until(lambda: all(each.consumer.consuming for each in processors), SOON)
        for each in endpoints:
            wire = SocketWire(broker_env.host, broker_env.port)
            client = SyncClient(wire, broker_env.vhost, broker_env.user, broker_env.password)
            client.send(1, spec.Channel.Open())
            bind = spec.Queue.Bind(0, each.queue, each.queue, each.key, nowait=True)
            client.send(1, *(MANY_BINDS * [bind]))
            raw.channel.exchange_delete(each.queue)
            client.close()
        for each in endpoints:
            wait_until(lambda e=each: exchange_exists(raw, e.queue), SOON)
            producer = apart(each, mandatory=True)
            wait_until(lambda p=producer, e=each: is_taken(p, e.key), SOON)


@pytest.mark.parametrize("is_apart", [False, True], ids=["one process", "two processes"])
def test_a_deleted_exchange_is_no_loss_of_earlier_calls(
    endpoint: Endpoint, raw: Raw, caplog: Any, is_apart: bool
) -> None:
    """The broker refuses the exchange, and its text fits requests that it has handled before."""
    processor = Notes({}, endpoint.eqk)
    producer = apart(endpoint) if is_apart else endpoint.producer()
    with running(processor):
        for number in range(20):
            assert producer.rpc_echo(number).value == number
        raw.channel.exchange_delete(endpoint.exchange.name)
        for number in range(20):
            assert producer.rpc_echo(number, _timeout=LIMIT).value == number

    assert len(warnings_about(caplog, endpoint.exchange.name)) <= 1
    assert "refused" not in "".join(r.getMessage() for r in caplog.records)


def test_a_request_without_a_call_that_is_refused_is_logged(
    endpoint: Endpoint, raw: Raw, caplog: Any
) -> None:
    producer = endpoint.producer()
    producer.rpc_echo(0)
    raw.channel.exchange_delete(endpoint.exchange.name)
    producer.rpc_echo(1, _queue_only=True)

    wait_until(lambda: "no call waits for (1) were refused" in caplog.text, SOON)


def test_without_any_consumer_a_message_is_no_route(endpoint: Endpoint, raw: Raw) -> None:
    producer = endpoint.producer()
    producer.message_note(0)
    raw.channel.exchange_delete(endpoint.exchange.name)
    with pytest.raises(NoRoute):
        producer.message_note(1)


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
def test_a_removed_binding_is_made_again(endpoint: Endpoint, raw: Raw, kind: str) -> None:
    endpoint.exchange = exchange(endpoint.queue, kind)
    keys = ["a", "b", "c"]
    processor = Notes({}, endpoint.at(*((endpoint.sub(key), key) for key in keys)))
    producer = apart(endpoint, mandatory=True, publish_timeout=1.0)
    with running(processor), within_limit():
        for key in keys:
            raw.channel.queue_unbind(endpoint.sub(key), endpoint.queue, key)
        for key in keys:
            wait_until(lambda k=key: is_taken(producer, k), SOON)


def is_taken(producer: Any, key: str) -> bool:
    with contextlib.suppress(NoRoute):
        producer.message_note(key, _key=key)
        return True
    return False


def test_an_exchange_that_others_made_again_is_bound(endpoint: Endpoint, raw: Raw) -> None:
    """It is missing for too short a time for anybody to notice."""
    processor, producer = Notes({}, endpoint.eqk), apart(endpoint, mandatory=True)
    with running(processor), within_limit():
        wait_until(lambda: processor.consumer.consuming, SOON)
        raw.channel.exchange_delete(endpoint.queue)
        raw.channel.exchange_declare(endpoint.queue, "direct", durable=True)
        wait_until(lambda: is_taken(producer, endpoint.key), SOON)


def test_a_deleted_alternate_exchange_is_restored(endpoint: Endpoint, raw: Raw) -> None:
    spare = exchange(endpoint.sub("spare"), "fanout")
    main = exchange(endpoint.queue, arguments={"alternate-exchange": spare.name})
    processor = Notes({}, [(main, [(endpoint.queue, "rk")]), (spare, [(endpoint.sub("q"), "")])])
    producer = apart(endpoint, eks=[(main, "unbound")], mandatory=True)
    with running(processor), within_limit():
        wait_until(lambda: is_taken(producer, "unbound"), SOON)
        raw.channel.exchange_delete(spare.name)
        wait_until(lambda: exchange_exists(raw, spare.name), SOON)
        wait_until(lambda: is_taken(producer, "unbound"), SOON)


def test_an_auto_deleted_exchange_and_its_queue_are_restored(endpoint: Endpoint, raw: Raw) -> None:
    endpoint.exchange = exchange(endpoint.queue, auto_delete=True)
    processor, producer = Notes({}, endpoint.eqk), apart(endpoint)
    with running(processor), within_limit():
        assert producer.rpc_echo(1).value == 1
        raw.channel.queue_delete(endpoint.queue)
        assert producer.rpc_echo(2, _timeout=5).value == 2


def test_processes_of_one_queue_keep_an_auto_delete_exchange(
    endpoint: Endpoint, raw: Raw, caplog: Any
) -> None:
    """It would be deleted again if one of them removed the binding of the other."""
    endpoint.exchange = exchange(endpoint.queue, auto_delete=True)
    settings = replace(Settings.resolve(), heartbeat=57)
    processors = [Notes({}, endpoint.eqk), Notes({}, endpoint.eqk, settings=settings)]
    with running(*processors):
        wait_until(lambda: all(each.consumer.consuming for each in processors), SOON)
        caplog.set_level("INFO")
        raw.channel.exchange_delete(endpoint.queue)
        wait_until(lambda: caplog.text.count("exists again") == 2, SOON)
        assert_stays(lambda: len(warnings_about(caplog, endpoint.queue)) == 2, 1.2)


@pytest.mark.parametrize("what", ["exchange", "queue"])
def test_what_has_other_flags_now_ends_only_its_component(
    endpoint: Endpoint, raw: Raw, what: str
) -> None:
    other = Endpoint(endpoint.sub("other"))
    processor, bystander = Notes({}, endpoint.eqk), Notes({}, other.eqk)
    run = gevent.spawn(run_to_end, processor)
    with running(bystander):
        wait_until(lambda: processor.consumer.consuming, SOON)
        if what == "exchange":
            raw.channel.exchange_delete(endpoint.queue)
            raw.channel.exchange_declare(endpoint.queue, "topic", durable=True)
        else:
            raw.channel.queue_delete(endpoint.queue)
            raw.declare(endpoint.queue, arguments={"x-max-length": 5})
        with within_limit():
            error = error_of(run)
        assert other.producer().rpc_echo(1).value == 1
        assert bystander.consumer.counts["lost"] == 0

    assert isinstance(error, TopologyMismatch)
    assert (error.kind, error.name) == (what, endpoint.queue)


def test_what_its_consumer_has_unbound_stays_unbound(endpoint: Endpoint) -> None:
    processor = Notes({}, endpoint.at((endpoint.queue, "kept"), (endpoint.queue, "left")))
    producer = apart(endpoint, mandatory=True)
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        processor.consumer.queue_unbind(endpoint.exchange, endpoint.queue, "left")
        assert_stays(lambda: not is_taken(producer, "left"), 3 * rebinding.CHECK_INTERVAL)
        assert is_taken(producer, "kept")


def test_a_processor_that_has_ended_restores_nothing(endpoint: Endpoint, raw: Raw) -> None:
    processor = Notes({}, endpoint.eqk)
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
    raw.channel.exchange_delete(endpoint.queue)
    # A connection that had anything to restore would do so after its wait, and one check.
    assert_stays(lambda: not exchange_exists(raw, endpoint.queue), 1.0)


@pytest.mark.slow
def test_hundreds_of_processors_are_bound_again(endpoint: Endpoint, raw: Raw) -> None:
    keys = [f"key{number}" for number in range(300)]
    processors = [Notes({}, endpoint.at((endpoint.sub(key), key))) for key in keys]
    producer = apart(endpoint)
    with running(*processors):
        wait_until(lambda: all(each.consumer.consuming for each in processors), 2 * SOON)
        raw.channel.exchange_delete(endpoint.exchange.name)
        with within_limit():
            calls = [gevent.spawn(producer.rpc_echo, key, _key=key, _timeout=BUSY) for key in keys]
            assert [call.get(timeout=BUSY).value for call in calls] == keys


@pytest.mark.needs_rabbitmq("permissions")
def test_a_user_who_may_not_configure_is_not_disturbed(
    endpoint: Endpoint, rabbitmq: Any, vhost: str, raw: Raw, broker_env: Any
) -> None:
    user = "binder"
    with contextlib.suppress(Exception):
        control(rabbitmq, "add_user", user, user)
    raw.declare(endpoint.queue, durable=True)
    raw.channel.exchange_declare(endpoint.queue, "direct", durable=True)
    control(rabbitmq, "set_permissions", "-p", vhost, user, "^$", ".*", ".*")
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    endpoint.exchange = exchange(endpoint.queue, passive=True)
    hup = {**broker_env.hup, "user": user, "password": user}
    processor = Notes({}, endpoint.at((as_it_is, "rk")), hup)
    producer = apart(endpoint, mandatory=True)
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        with within_limit():
            raw.channel.queue_unbind(endpoint.queue, endpoint.queue, "rk")
            wait_until(lambda: is_taken(producer, "rk"), SOON)
        # It cannot make the exchange again, but it binds as soon as another user has done so.
        raw.channel.exchange_delete(endpoint.queue)
        assert_stays(lambda: processor.consumer.consuming, 3 * rebinding.CHECK_INTERVAL)
        raw.channel.exchange_declare(endpoint.queue, "direct", durable=True)
        wait_until(lambda: is_taken(producer, "rk"), SOON)


# --- how long an exchange is left missing, and then doubted


class Missing(messaging.Exchange):
    name = "missing"


def test_a_missing_exchange_is_left_so_for_a_while() -> None:
    clock = Clock()
    deleted = DeletedExchanges(CONSUMERS_WAIT, clock)
    assert not deleted.must_wait(Missing)
    deleted.add(Missing)
    clock.now += CONSUMERS_WAIT / 2
    deleted.add(Missing)  # a second report changes nothing
    assert deleted.must_wait(Missing)
    clock.now += CONSUMERS_WAIT / 2
    assert not deleted.must_wait(Missing)


def test_an_exchange_made_again_is_doubted_for_a_while() -> None:
    clock = Clock()
    deleted = DeletedExchanges(CONSUMERS_WAIT, clock)
    deleted.doubt(Missing)
    assert not deleted.is_doubted(Missing), "it was never missing"
    deleted.add(Missing)
    clock.now += 1000
    assert deleted.is_doubted(Missing), "it was not made yet"
    deleted.doubt(Missing)
    clock.now += deleted_exchanges.DOUBTED / 2
    deleted.doubt(Missing)  # a message was returned at first
    clock.now += deleted_exchanges.DOUBTED * 0.9
    assert deleted.is_doubted(Missing)
    clock.now += deleted_exchanges.DOUBTED
    assert not deleted.is_doubted(Missing)


def test_publishers_wait_longer_than_all_consumers_need() -> None:
    """The values are a quarter of those in production, see `quick_restoring`."""
    assert 4 * rebinding.CHECK_INTERVAL < deleted_exchanges.CONSUMERS_WAIT
    assert deleted_exchanges.CONSUMERS_WAIT < deleted_exchanges.PUBLISHERS_WAIT < LIMIT
