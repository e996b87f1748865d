"""Brokers that allow few channels: components share them, or are told both numbers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pika
import pytest

from postage import green, messaging
from postage.broker import BrokerThread, Limits
from postage.errors import NoFreeChannel, PostageError, RemoteError
from postage.green.runtime import runtime_of
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint
from tests.support.raw import parameters
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.undisturbed import Bystander

COUNT = 30


@contextmanager
def allowing(channels: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the components of the block use a broker that allows so many channels."""
    with BrokerThread(limits=Limits(channels=channels)) as broker:
        monkeypatch.setenv("POSTAGE_URL", broker.url)
        yield
        green.close(1.0)


def losses(settings: Settings | None = None) -> int:
    """Return how many connections to this broker were lost."""
    pair = runtime_of(settings or Settings.resolve()).pair
    return pair.publishing.losses + pair.consuming.losses


def processors(endpoint: Endpoint) -> list[Bystander]:
    """Return many processors, each with a queue and a key of its own."""
    keys = [f"k{number}" for number in range(COUNT)]
    return [Bystander({}, endpoint.at((endpoint.sub(key), key))) for key in keys]


def answers(producer: Any) -> list[Any]:
    """Return what the processors answer to calls at the same time."""
    calls = [producer.rpc_echo.later(key, _key=f"k{key}") for key in range(COUNT)]
    return [call.get().value for call in calls]


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint("few")


@pytest.mark.parametrize("channels", [100, 20, 8, 5, 3, 2])
def test_many_processors_answer(
    endpoint: Endpoint, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with allowing(channels, monkeypatch), running(*processors(endpoint)):
        producer = endpoint.producer()
        assert answers(producer) == list(range(COUNT))
        producer.message_hello(_key="k0")
        Endpoint("another").producer().message_hello()
        assert all(len(each.channels) <= channels for each in green.statistics())
        assert losses() == 0


@pytest.mark.parametrize("channels", [20, 3])
def test_many_processors_answer_after_a_lost_connection(
    endpoint: Endpoint, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with allowing(channels, monkeypatch):
        made = processors(endpoint)
        with running(*made):
            wait_until(lambda: all(each.consumer.consuming for each in made), SOON)
            consuming = runtime_of(Settings.resolve()).pair.consuming.current
            assert consuming is not None
            consuming.transport.cut()
            wait_until(lambda: all(each.consumer.counts["restored"] for each in made), SOON)
            assert answers(endpoint.producer()) == list(range(COUNT))


def test_declarations_wait_for_a_free_channel(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with allowing(3, monkeypatch):
        queues = [endpoint.at((endpoint.sub(str(number)), "rk")) for number in range(100)]
        runs = [spawned(messaging.GenericConsumer, eqk) for eqk in queues]
        made = outcomes(runs, SOON)
        assert [len(each.qk_list) for each in made] == [1] * 100


def test_an_error_names_both_numbers(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with allowing(1, monkeypatch):
        producer = endpoint.producer()
        producer.message_hello()
        runtime_of(Settings.resolve()).pair.consuming.get().open_channel()

        content = producer.rpc_echo(1).body["content"]

        assert content["value"] == "NoFreeChannel"
        assert "allows 1 (channel_max), 1 are in use" in content["message"]
        with pytest.raises(NoFreeChannel, match="channel_max"):
            endpoint.producer(confirm=False).message_hello()


def test_exclusive_queues_need_channels_of_the_connection(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with allowing(1, monkeypatch):
        pair = runtime_of(Settings.resolve()).pair
        pair.consuming.get().open_channel()
        messaging.GenericConsumer(endpoint.eqk)  # on a connection of its own
        exclusive = {"name": endpoint.sub("exclusive"), "flags": {"exclusive": True}}
        with pytest.raises(NoFreeChannel):
            messaging.GenericConsumer(endpoint.at((exclusive, "rk")))


# --- a user's limit


def limited(rabbitmq: Any, broker_env: Any, name: str, channels: int) -> dict[str, Any]:
    """Add a user with so many channels; return its hup."""
    name = f"{name}-{secrets.token_hex(4)}"
    all_rights = ", ".join(['<<".*">>'] * 3)
    calls = (
        f'add_user(<<"{name}">>, <<"secret">>, <<"test">>)',
        f'set_permissions(<<"{name}">>, <<"{broker_env.vhost}">>, {all_rights}, <<"test">>)',
        f'set_user_limits(<<"{name}">>, #{{<<"max-channels">> => {channels}}}, <<"test">>)',
    )
    # One command: each takes a second.
    made = ", ".join(f"rabbit_auth_backend_internal:{call}" for call in calls)
    control(rabbitmq, "eval", f"{made}.")
    return {**broker_env.hup, "user": name, "password": "secret"}


def told(function: Callable[[], object]) -> str | None:
    """Return the name of the error that *function* raises, or that a call in it ends with."""
    try:
        function()
    except RemoteError as exc:
        return exc.name
    except PostageError as exc:
        return type(exc).__name__
    return None


@pytest.mark.needs_rabbitmq("limits of users")
@pytest.mark.parametrize(
    ("allowed", "count"), [(10, 30), (10, 9), (10, 8), (20, 30), (5, 5)], ids=str
)
def test_the_limit_of_a_user_costs_one_connection(
    endpoint: Endpoint, broker_env: Any, rabbitmq: Any, allowed: int, count: int
) -> None:
    name = f"limited-{allowed}-{count}"
    hup = limited(rabbitmq, broker_env, name, allowed)
    made = []
    for number in range(count):
        key = f"k{number}"
        made.append(Bystander({}, endpoint.at((f"{name}-{key}", key)), hup=hup))
    with running(*made):
        producer: Any = type("P", (messaging.GenericProducer,), {"eks": endpoint.eks})(hup=hup)
        calls = [producer.rpc_echo.later(n, _key=f"k{n}", _timeout=5) for n in range(count)]
        assert [call.get().value for call in calls] == list(range(count))
        assert losses(producer.settings) == 1
    green.close(1.0)


@pytest.mark.needs_rabbitmq("limits of users")
def test_a_user_with_one_channel_can_send(
    endpoint: Endpoint, broker_env: Any, rabbitmq: Any
) -> None:
    hup = limited(rabbitmq, broker_env, "one", 1)
    producer: Any = type("P", (messaging.GenericProducer,), {"eks": endpoint.eks})(hup=hup)
    watch = Stopwatch()
    producer.message_hello()
    for _ in range(5):
        assert told(lambda: producer.rpc_echo(1).unwrap()) == "NoFreeChannel"
        assert told(lambda: Bystander({}, endpoint.eqk, hup=hup)) == "NoFreeChannel"
        producer.message_hello()
    assert watch.own < SOON
    assert losses(producer.settings) <= 2
    green.close(1.0)


@pytest.mark.needs_rabbitmq("limits of users")
def test_a_user_with_two_channels_can_consume_but_not_call(
    endpoint: Endpoint, broker_env: Any, rabbitmq: Any
) -> None:
    hup = limited(rabbitmq, broker_env, "two", 2)
    processor, watch = Bystander({}, endpoint.eqk, hup=hup), Stopwatch()
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        producer: Any = type("P", (messaging.GenericProducer,), {"eks": endpoint.eks})(hup=hup)
        for _ in range(5):
            assert told(lambda: producer.rpc_echo(1).unwrap()) == "NoFreeChannel"
        connections = runtime_of(producer.settings).pair.connections
        assert sum(len(each.statistics()["channels"]) for each in connections) <= 2
        assert losses(producer.settings) <= 2
    assert watch.own < SOON
    green.close(1.0)


@pytest.mark.needs_rabbitmq("limits of users")
@pytest.mark.parametrize("allowed", [1, 3, 8])
def test_channels_that_another_process_holds_are_told(
    endpoint: Endpoint, broker_env: Any, rabbitmq: Any, allowed: int
) -> None:
    """Whoever needs one is told at once, and gets it when it is free again."""
    hup = limited(rabbitmq, broker_env, f"held-{allowed}", allowed)
    kind: Any = type("P", (messaging.GenericProducer,), {"eks": endpoint.eks})
    with closing(pika.BlockingConnection(parameters(hup, broker_env.vhost))) as other:
        for _ in range(allowed):
            other.channel()
        assert told(lambda: kind(hup=hup).message_hello()) == "NoFreeChannel"
        assert told(lambda: kind(hup=hup).rpc_echo(1).unwrap()) == "NoFreeChannel"
        assert told(lambda: Bystander({}, endpoint.eqk, hup=hup)) == "NoFreeChannel"
    wait_until(lambda: told(kind(hup=hup).message_hello) is None, SOON)
    green.close(1.0)
