"""`send` and `call` take the name of a message, and do the same as ``message_X`` and ``rpc_X``."""

from __future__ import annotations

from typing import Any

import pytest

from postage import messaging
from postage.errors import RemoteError, SettingsError
from tests.support.endpoints import Endpoint, producer_at
from tests.support.raw import take
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Server(messaging.MessageProcessor):
    """Answers with what it was sent."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])

    @messaging.RpcHandler("command", "fail")
    def fail(self, content: Any, reply: Any) -> None:
        raise KeyError(content["parameters"])


class Producer(messaging.GenericProducer):
    def build_message_doubled(self, number: int) -> messaging.MessageCommand:
        return messaging.MessageCommand("doubled", 2 * number)

    def build_rpc_squared(self, number: int) -> messaging.RpcCommand:
        return messaging.RpcCommand("echo", number * number)


ARGUMENTS = [
    ((), {}, {}),
    ((1,), {}, 1),
    ((1, 2), {}, [1, 2]),
    ((), {"name": "x", "timeout": 1}, {"name": "x", "timeout": 1}),
    ((1,), {"key": 2}, {"args": [1], "kwds": {"key": 2}}),
    ((), {"parameters": [3]}, [3]),
]


@pytest.mark.parametrize(("args", "kwds", "parameters"), ARGUMENTS, ids=str)
def test_send_takes_the_arguments_of_the_magic_method(
    endpoint: Endpoint, raw: Any, queue: str, args: Any, kwds: Any, parameters: Any
) -> None:
    producer = producer_at(endpoint)
    producer.send("store", *args, **kwds)
    producer.message_store(*args, **kwds)

    sent, magic = take(raw, queue), take(raw, queue)
    assert sent == magic
    assert (sent["name"], sent["content"]["parameters"]) == ("store", parameters)


def test_both_use_the_builders(endpoint: Endpoint, raw: Any, queue: str) -> None:
    producer = producer_at(endpoint, kind=Producer)
    producer.send("doubled", 4)

    assert take(raw, queue)["content"]["parameters"] == 8
    with running(Server({"name": "server"}, endpoint.eqk)):
        assert producer.call("squared", 5).value == 25


def test_call_returns_the_result_of_the_call(endpoint: Endpoint) -> None:
    producer = producer_at(endpoint)
    with running(Server({"name": "server"}, endpoint.eqk)):
        assert producer.call("echo", [1, 2]) == producer.rpc_echo([1, 2])
        failed = producer.call("fail", "x")
        assert (failed.kind, failed.value) == ("exception", "KeyError")
        with pytest.raises(RemoteError, match="KeyError: 'x'"):
            failed.unwrap()


def test_both_take_the_options(endpoint: Endpoint, raw: Any, queue: str) -> None:
    producer = producer_at(endpoint, eks=[(endpoint.exchange, "nobody")])
    producer.send("store", _key=endpoint.key)
    assert take(raw, queue)["name"] == "store"

    assert producer.call("echo", 1).value == "NoRoute"
    missed = producer.call("echo", 1, _eks=endpoint.eks, _timeout=0.1, _max_retry=1)
    assert (missed.value, missed.message) == ("TimeoutError", "no reply within 0.1 s, 2 tries")
    with pytest.raises(SettingsError):
        producer.send("store", _eks=[])


class Old(messaging.GenericProducer):
    """A producer of a user who has had methods of these names for years."""

    def send(self, number: int) -> str:  # type: ignore[override]
        self.message_store(number)
        return "mine"

    def call(self, number: int) -> Any:  # type: ignore[override]
        return self.rpc_echo(number)


def test_methods_of_these_names_of_a_users_own_win(
    endpoint: Endpoint, raw: Any, queue: str
) -> None:
    producer = producer_at(endpoint, kind=Old)
    assert producer.send(1) == "mine"
    assert take(raw, queue)["name"] == "store"
    with running(Server({"name": "server"}, endpoint.eqk)):
        assert producer.call(2).value == 2
        assert producer.rpc_echo.later(3).get(timeout=SOON).value == 3


def test_dir_lists_what_the_builders_add(endpoint: Endpoint) -> None:
    producer = producer_at(endpoint, kind=Producer)
    producer.build_rpc_mine = messaging.RpcCommand

    names = dir(producer)
    assert {"message_doubled", "rpc_squared", "rpc_queue_squared", "rpc_mine", "send"} <= {*names}
    assert all(hasattr(producer, name) for name in names)
    assert len(names) == len(set(names))
