"""Brokers that allow few channels: components share them, or are told both numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from postage import green, messaging
from postage.broker import BrokerThread, Limits
from postage.errors import NoFreeChannel
from postage.green.runtime import runtime_of
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint
from tests.support.running import SOON, running
from tests.support.undisturbed import Bystander

COUNT = 30


@contextmanager
def allowing(channels: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the components of the block use a broker that allows so many channels."""
    with BrokerThread(limits=Limits(channels=channels)) as broker:
        monkeypatch.setenv("POSTAGE_URL", broker.url)
        yield
        green.close(1.0)


def losses() -> int:
    """Return how many connections to this broker were lost."""
    pair = runtime_of(Settings.resolve()).pair
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


@pytest.mark.needs_rabbitmq("limits of users")
@pytest.mark.parametrize(
    ("allowed", "count"), [(10, 30), (10, 9), (10, 8), (20, 30), (5, 5)], ids=str
)
def test_the_limit_of_a_user_costs_one_connection(
    endpoint: Endpoint, broker_env: Any, rabbitmq: Any, allowed: int, count: int
) -> None:
    name = f"limited-{allowed}-{count}"
    rabbitmq.ctl("add_user", name, "secret")
    rabbitmq.ctl("set_permissions", "-p", broker_env.vhost, name, ".*", ".*", ".*")
    rabbitmq.ctl("set_user_limits", name, f'{{"max-channels": {allowed}}}')
    hup = {**broker_env.hup, "user": name, "password": "secret"}
    made = []
    for number in range(count):
        key = f"k{number}"
        made.append(Bystander({}, endpoint.at((f"{name}-{key}", key)), hup=hup))
    with running(*made):
        producer: Any = type("P", (messaging.GenericProducer,), {"eks": endpoint.eks})(hup=hup)
        calls = [producer.rpc_echo.later(n, _key=f"k{n}", _timeout=5) for n in range(count)]
        assert [call.get().value for call in calls] == list(range(count))
        pair = runtime_of(producer.settings).pair
        assert pair.publishing.losses + pair.consuming.losses == 1
    green.close(1.0)
