"""Calls fail at once when a server, a queue or a connection is missing."""

from __future__ import annotations

from typing import Any

import gevent
import pika.exceptions
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.answering import server
from tests.support.broker_commands import close_connection, close_connections
from tests.support.running import SOON, running, warm
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")

#: Seconds that no test lasts, not even where rabbitmqctl takes half a minute.
AGES = 300.0


@pytest.mark.behaviour("rpc-immediate-failures")
def test_a_key_without_a_binding_is_no_route_at_once(endpoint):
    watch = Stopwatch()

    result = endpoint.producer().rpc_echo("x", _timeout=30)

    assert watch.own < 5
    assert isinstance(result, messaging.MessageResultException)
    assert result.value == "NoRoute"
    assert repr(endpoint.key) in result.message
    assert repr(endpoint.exchange.name) in result.message


@pytest.fixture
def stopped(endpoint) -> Any:
    """A producer whose server has just stopped; its queue goes with it."""
    queue = {"name": endpoint.queue, "flags": {"auto_delete": True}}
    producer = endpoint.producer()
    with running(server(endpoint.at((queue, endpoint.key)))):
        warm(producer)
    return producer


def is_returned(raw, endpoint) -> bool:
    """Tell whether the broker returns what is sent to *endpoint*.

    For some ms after a queue has gone, RabbitMQ 4.1 and later routes messages to it and drops them.
    """
    try:
        raw.channel.basic_publish(endpoint.exchange.name, endpoint.key, b"", mandatory=True)
    except pika.exceptions.UnroutableError:
        return True
    except pika.exceptions.NackError:
        pass
    return False


@pytest.mark.behaviour("rpc-immediate-failures")
def test_calls_to_a_server_that_stopped_are_no_route(endpoint, raw, stopped):
    producer = stopped
    wait_until(lambda: is_returned(raw, endpoint), SOON)

    calls = [gevent.spawn(producer.rpc_echo, n) for n in range(10)]
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == ["NoRoute"] * 10


@pytest.mark.behaviour("rpc-immediate-failures")
def test_calls_just_after_a_stop_are_no_route_if_sent_again(stopped):
    """RabbitMQ may drop the first request of each unseen, but returns the second one."""
    calls = [gevent.spawn(stopped.rpc_echo, n, _timeout=0.5, _max_retry=1) for n in range(10)]
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == ["NoRoute"] * 10


@pytest.mark.behaviour("rpc-immediate-failures")
def test_an_exchange_that_was_deleted_is_declared_again(endpoint, raw, monkeypatch):
    monkeypatch.setattr("postage.green.amqp.deleted_exchanges.DOUBTED", 0.5)
    producer = endpoint.producer()
    with running(server(endpoint.eqk)):
        warm(producer)
        raw.channel.exchange_delete(endpoint.exchange.name)
        assert producer.rpc_echo("x", _timeout=30).value == "x"
        assert producer.rpc_echo("x", _key="unbound").value == "NoRoute"


@pytest.mark.usefixtures("queues_for_replies")
@pytest.mark.behaviour("rpc-immediate-failures")
@pytest.mark.parametrize("lost", ["publishing", "consuming", "both"])
def test_a_lost_connection_answers_every_waiter_at_once(endpoint, rabbitmq, vhost, lost):
    """Six callers wait: three on reply queues of their own, three on the shared one."""
    echoing = endpoint.at((endpoint.queue, endpoint.key))
    producer = endpoint.producer()
    with running(server(echoing)):
        warm(producer)
    messaging.GenericConsumer(endpoint.at((endpoint.sub("mute"), "mute")))
    calls = [gevent.spawn(producer.rpc_echo, n, _timeout=AGES) for n in range(3)]
    calls += [gevent.spawn(producer.rpc_echo, n, _timeout=AGES, _key="mute") for n in range(3)]
    gevent.idle()

    if lost == "both":
        close_connections(rabbitmq, vhost)
    else:
        close_connection(rabbitmq, vhost, lost)
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == ["ConnectionLost"] * 6
    with running(server(endpoint.at((endpoint.sub("new"), "new")))):
        assert producer.rpc_echo("again", _key="new").value == "again"


@pytest.mark.behaviour("rpc-immediate-failures")
def test_collecting_answers_ends_with_the_connection(endpoint, rabbitmq, vhost):
    producer = endpoint.producer()
    messaging.GenericConsumer(endpoint.eqk)
    queue = producer.rpc_queue_echo("x")
    collecting = gevent.spawn(producer.consume_rpc, queue, timeout=AGES)
    gevent.idle()

    close_connections(rabbitmq, vhost)

    with pytest.raises(messaging.PostageError, match="connection to the broker was lost"):
        collecting.get(timeout=SOON)
