"""The methods message_X and rpc_X stay on a class after their first use, and nobody notices."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from postage import messaging
from postage.green.producer import MOST_ATTRIBUTES
from tests.support.endpoints import Endpoint
from tests.support.raw import take
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Server(messaging.MessageProcessor):
    """Answers with what it was sent."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Picklable(messaging.GenericProducer):
    """At the top of the module, where pickle finds it."""


@pytest.fixture
def kind(endpoint: Endpoint) -> type[Any]:
    """Return a class of producers of its own."""
    return type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks})


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def build(number: int) -> messaging.MessageCommand:
    return messaging.MessageCommand("store", 2 * number)


def test_a_builder_is_looked_for_at_each_use(raw: Any, queue: str, kind: type[Any]) -> None:
    producer, found = kind(), []

    def store() -> None:
        producer.message_store(1)
        found.append(take(raw, queue)["content"]["parameters"])

    store()
    kind.build_message_store = lambda _, number: build(10 * number)
    store()
    producer.build_message_store = build
    store()
    del producer.build_message_store, kind.build_message_store
    store()

    assert found == [1, 20, 2, 1]


def test_a_method_is_no_attribute_of_the_class(kind: type[Any]) -> None:
    producer = kind()
    for name in ("message_store", "rpc_echo", "rpc_queue_echo"):
        assert hasattr(producer, name)
        assert name in vars(kind)
        assert not hasattr(kind, name)
        assert not hasattr(messaging.GenericProducer, name)


def test_an_attribute_of_a_producer_or_a_class_wins(kind: type[Any]) -> None:
    producer = kind()
    assert callable(producer.rpc_echo)
    producer.rpc_echo = "of the producer"
    assert producer.rpc_echo == "of the producer"
    del producer.rpc_echo
    kind.rpc_echo = "of the class"
    assert producer.rpc_echo == "of the class"


def test_a_method_of_another_base_wins(kind: type[Any]) -> None:
    class Other:
        def rpc_echo(self) -> str:
            return "of the other base"

    derived = type("Derived", (kind, Other), {})
    assert kind().rpc_echo != "used first"

    assert derived().rpc_echo() == "of the other base"
    assert derived.rpc_echo is Other.rpc_echo


def test_an_own_getattr_is_asked_each_time(kind: type[Any]) -> None:
    class Asked(kind):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            if name.startswith("rpc_"):
                asked.append(name)
            return super().__getattr__(name)

    asked: list[str] = []
    base = kind()
    derived = Asked()
    for _ in range(3):
        assert type(base.rpc_echo) is type(derived.rpc_echo)

    assert asked == ["rpc_echo"] * 3


@pytest.mark.usefixtures("_without_collector")
def test_a_producer_that_was_used_ends_with_its_last_reference(
    endpoint: Endpoint, kind: type[Any]
) -> None:
    with running(Server({"name": "server"}, endpoint.eqk)):
        producer = kind()
        for number in range(3):
            assert producer.rpc_echo(number).value == number
        kept, method = weakref.ref(producer), producer.rpc_echo
        del producer
        assert method(4).value == 4, "a method keeps its producer"
        del method

        assert kept() is None


def test_a_producer_that_was_used_can_be_pickled() -> None:
    original = Picklable({"name": "original"})
    assert callable(original.message_store)
    again = pickle.loads(pickle.dumps(original))  # noqa: S301 - our own

    assert callable(again.message_store)
    assert vars(again).keys() == vars(original).keys()


def test_names_without_end_are_not_all_kept(kind: type[Any]) -> None:
    producer = kind()
    for number in range(2 * MOST_ATTRIBUTES):
        assert callable(getattr(producer, f"message_{number}"))

    assert len(vars(kind)) == MOST_ATTRIBUTES


def test_the_method_for_a_private_queue_calls_later_too(
    endpoint: Endpoint, kind: type[Any]
) -> None:
    producer = kind()
    with running(Server({"name": "server"}, endpoint.eqk)):
        for _ in range(2):
            reply_queue = producer.rpc_queue_echo.later(5).get(timeout=SOON)
            assert [each.value for each in producer.consume_rpc(reply_queue)] == [5]
