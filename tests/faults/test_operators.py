"""What operators do to the broker of a running program: an error with a remedy for whom it hits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.errors import AuthenticationFailed, ChannelRefused, PublishFailed
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import PASSWORD, USER, FaultEnv, on_brokers
from tests.support.attempts import outcomes, spawned
from tests.support.broker_commands import close_connections
from tests.support.endpoints import Endpoint
from tests.support.running import SOON, running
from tests.support.undisturbed import Bystander, Undisturbed

pytestmark = pytest.mark.slow
PATIENCE = 30.0
"""Seconds for reconnecting and restoring; rabbitmqctl takes some of them, too."""


@pytest.fixture
def env(node_and_vhosts: tuple[RabbitMQNode, Iterator[str]]) -> Iterator[FaultEnv]:
    """A vhost of its own on a node that other tests of this folder use, too."""
    node, vhosts = node_and_vhosts
    with on_brokers(node, vhost=next(vhosts), direct=True) as env:
        yield env


@pytest.fixture
def ours() -> Endpoint:
    """What is not hit, or hit like all others."""
    return Endpoint("ours")


@pytest.fixture
def secret() -> Endpoint:
    """What is taken away from the user."""
    return Endpoint("secret")


def permit(env: FaultEnv, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
    env.control("set_permissions", "--vhost", env.vhost, USER, configure, write, read)


NOT_SECRET = "^(?!secret)"


@contextmanager
def alive(endpoint: Endpoint, vhost: str, env: FaultEnv) -> Iterator[Bystander]:
    """Run a processor; at the end it answers on connections that are made anew."""
    processor, producer = Bystander({}, endpoint.eqk), endpoint.producer(rpc_timeout=2)
    with running(processor):
        assert producer.rpc_echo(1).value == 1
        yield processor
        close_connections(env.broker, vhost)
        wait_until(lambda: producer.rpc_echo(2).value == 2, PATIENCE)


@contextmanager
def unharmed(endpoint: Endpoint) -> Iterator[None]:
    """Run a processor beside the block, which keeps its consumer and answers at the end."""
    processor, producer = Bystander({}, endpoint.eqk), endpoint.producer()
    with running(processor):
        for number in range(2):  # after the first one, calls share a reply queue
            assert producer.rpc_echo(number).value == number
        yield
        producer.message_hello()
        assert producer.rpc_echo(2).value == 2
        assert not {"lost", "cancelled", "missing"} & processor.consumer.counts.keys()


# --- permissions


def test_a_publish_without_permission_says_so(
    env: FaultEnv, ours: Endpoint, secret: Endpoint
) -> None:
    producer = secret.producer()
    permit(env, write=NOT_SECRET)
    with unharmed(ours):
        for _ in range(2):
            with pytest.raises(ChannelRefused, match="set_permissions") as caught:
                producer.message_hello()
            assert caught.value.code == 403
            assert producer.rpc_echo(1).value == "ChannelRefused"


def test_a_queue_that_is_taken_away_ends_its_component_only(
    env: FaultEnv, ours: Endpoint, secret: Endpoint
) -> None:
    consumer = messaging.GenericConsumer(secret.eqk)
    run = spawned(consumer.start_consuming, lambda *_: None)
    wait_until(lambda: consumer.consuming, SOON)
    with alive(ours, env.vhost, env):
        permit(env, NOT_SECRET, NOT_SECRET, NOT_SECRET)
        close_connections(env.broker, env.vhost)
        (error,) = outcomes([run], PATIENCE)
    assert isinstance(error, ChannelRefused)
    for words in ("secret", "set_permissions", "403"):
        assert words in str(error)


# --- the login


def test_a_changed_password_is_named_until_it_is_right(env: FaultEnv, ours: Endpoint) -> None:
    processor, producer = Bystander({}, ours.eqk), ours.producer(publish_timeout=3.0)
    with running(processor):
        env.control("change_password", USER, "another")
        close_connections(env.broker, env.vhost)
        try:
            with pytest.raises(PublishFailed, match="correct this here or on the broker") as caught:
                producer.message_hello()
            assert isinstance(caught.value.__cause__, AuthenticationFailed)
        finally:
            env.control("change_password", USER, PASSWORD)
        wait_until(lambda: producer.rpc_echo(1).value == 1, PATIENCE)


# --- the virtual host


def test_a_virtual_host_is_deleted_and_made_again(env: FaultEnv, ours: Endpoint) -> None:
    """Its queues and permissions go before its connections, which is no verdict on either."""
    keys = ["a", "b", "c"]
    processors = [Bystander({"name": key}, ours.at((ours.sub(key), key))) for key in keys]
    producer = ours.producer(rpc_timeout=2)
    with running(*processors):
        env.control("delete_vhost", env.vhost)
        wait_until(lambda: not any(each.consumer.consuming for each in processors), PATIENCE)
        env.control("add_vhost", env.vhost)
        permit(env)
        for key in keys:
            wait_until(lambda key=key: producer.rpc_echo(1, _key=key).value == 1, PATIENCE)


def test_a_limit_on_queues_is_named(env: FaultEnv, ours: Endpoint) -> None:
    with unharmed(ours):
        env.control("set_vhost_limits", "--vhost", env.vhost, '{"max-queues": 1}')
        with pytest.raises(ChannelRefused, match="max-queues") as caught:
            messaging.GenericConsumer(ours.at(("another", "key")))
        assert "another" in caught.value.what


def test_queues_are_quorum_queues_by_default(env: FaultEnv, ours: Endpoint) -> None:
    if env.control("version").startswith("3."):
        pytest.skip("this version has no default type of queue")
    vhost = "all-quorum"
    env.control("add_vhost", vhost, "--default-queue-type", "quorum")
    env.control("set_permissions", "--vhost", vhost, USER, ".*", ".*", ".*")
    for flags in ({}, {}, {"auto_delete": True}, {"exclusive": True, "durable": False}):
        queue = {"name": f"with {list(flags)}", "flags": flags}
        messaging.GenericConsumer(ours.at((queue, "key")), vhost=vhost)
    for name in ("x-max-priority", "x-queue-mode"):
        queue = {"name": name, "flags": {"arguments": {name: 5}}}
        with pytest.raises(ChannelRefused, match="x-queue-type"):
            messaging.GenericConsumer(ours.at((queue, "key")), vhost=vhost)


# --- queues


def test_a_policy_that_fills_a_queue_is_named(env: FaultEnv, ours: Endpoint) -> None:
    full = Endpoint("full")
    messaging.GenericConsumer(full.eqk)
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    env.control("set_policy", "--vhost", env.vhost, "full", "^full", policy)
    producer = full.producer(publish_timeout=1.0)
    with Undisturbed(ours):
        wait_until(lambda: is_full(producer), SOON)


def is_full(producer: Any) -> bool:
    """Publish, and tell whether the error says that a queue may be full."""
    try:
        producer.message_hello()
    except PublishFailed as exc:
        return "is a queue full" in str(exc)
    return False


@pytest.mark.parametrize("name", ["x-queue-master-locator", "x-queue-version"])
def test_an_argument_of_old_versions_hits_its_component(
    env: FaultEnv, ours: Endpoint, name: str
) -> None:
    """RabbitMQ 3.10 accepts both; 4.3 ends the connection for one, the channel for the other."""
    value = 1 if name == "x-queue-version" else "client-local"
    flags = {"arguments": {name: value}}
    is_old = env.control("version").startswith("3.")
    with Undisturbed(ours):
        for number in range(2):
            eqk = ours.at(({"name": ours.sub(f"{name} {number}"), "flags": flags}, "old"))
            made = outcomes([spawned(messaging.GenericConsumer, eqk)], SOON)[0]
            assert isinstance(made, messaging.GenericConsumer if is_old else ChannelRefused)
            assert is_old or (name in str(made) and "Correct the" in str(made))


def test_publishers_go_on_while_quorum_queues_are_deleted(env: FaultEnv, ours: Endpoint) -> None:
    """Until 4.3 a publish at that moment may end the whole connection (541)."""
    producer = ours.producer(publish_timeout=10.0)
    producer.message_hello()
    is_over = False

    def publish() -> None:
        while not is_over:
            producer.message_hello()

    publishers = [spawned(publish) for _ in range(5)]
    with env.raw() as raw:
        for number in range(8):
            name = f"quorum {number}"
            raw.declare(name, arguments={"x-queue-type": "quorum"})
            raw.channel.queue_bind(name, ours.exchange.name, ours.key)
            gevent.sleep(0.05)
            raw.channel.queue_delete(name)
    is_over = True
    assert outcomes(publishers, SOON) == [None] * 5


# --- the node


def test_a_node_in_maintenance_is_waited_for(env: FaultEnv, ours: Endpoint) -> None:
    """`rabbitmq-upgrade drain` ends all connections, and lets nobody in until `revive`."""
    with alive(ours, env.vhost, env) as processor:
        env.control("eval", "rabbit_maintenance:drain().")
        wait_until(lambda: not processor.consumer.consuming, SOON)
        env.control("eval", "rabbit_maintenance:revive().")
        wait_until(lambda: processor.consumer.consuming, PATIENCE)


def test_a_component_that_comes_during_an_alarm_may_consume(env: FaultEnv, ours: Endpoint) -> None:
    env.control("set_vm_memory_high_watermark", "0")
    try:
        processor, producer = Bystander({}, ours.eqk), ours.producer(publish_timeout=1.0)
        with running(processor):
            wait_until(lambda: processor.consumer.consuming, SOON)
            with pytest.raises(PublishFailed, match="an alarm blocks all publishes"):
                producer.message_hello()
            env.control("set_vm_memory_high_watermark", "0.6")
            wait_until(lambda: producer.rpc_echo(1).value == 1, PATIENCE)
    finally:
        env.control("set_vm_memory_high_watermark", "0.4")
