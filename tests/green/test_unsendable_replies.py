"""A reply after `later()` that cannot be sent: its caller gets to know why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.encoding import JsonEncoder
from postage.errors import EncodingError
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor
from tests.support.endpoints import Endpoint
from tests.support.running import SOON
from tests.support.waiting import assert_stays

pytestmark = [pytest.mark.usefixtures("broker_env"), pytest.mark.behaviour("rpc-handlers")]


async def coroutine() -> None:
    pass


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


UNSENDABLE: dict[str, Callable[[], Any]] = {
    "object": object,
    "coroutine": coroutine,
    "coroutine in a result": lambda: messaging.MessageResult(coroutine()),
    "generator": lambda: (each for each in "ab"),
    "bytes": lambda: b"bytes",
    "NaN": lambda: {"ratio": [float("nan")]},
    "object as a message": lambda: messaging.MessageResultError(object()),  # type: ignore[arg-type]
    "loop": endless,
    "exception": lambda: ValueError("no result"),
}


def in_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function).start()


def in_pool(function: Callable[[], None]) -> None:
    gevent.get_hub().threadpool.spawn(function)


RUNNERS: dict[str, Callable[[Callable[[], None]], object]] = {
    "greenlet": gevent.spawn,
    "thread": in_thread,
    "pool": in_pool,
    "the handler": lambda function: function(),
}


class Late(messaging.MessageProcessor):
    """Replies later by what cannot be sent; *errors* has what the code that replies gets."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.errors: list[Exception] = []

    @messaging.RpcHandler("command", "give")
    def give(self, content: Any, reply: Any) -> None:
        kind, runner = content["parameters"]
        reply.later()
        RUNNERS[runner](lambda: self._give(reply, kind))

    def _give(self, reply: Any, kind: str) -> None:
        try:
            reply(UNSENDABLE[kind]())
        except Exception as exc:
            self.errors.append(exc)

    @messaging.RpcHandler("command", "correct")
    def correct(self, content: Any, reply: Any) -> None:
        reply.later()
        RUNNERS[content["parameters"]](lambda: self._correct(reply))

    def _correct(self, reply: Any) -> None:
        try:
            reply(object())
        except EncodingError:
            reply("corrected")


@pytest.fixture
def late(endpoint: Endpoint, run_processor: RunProcessor) -> Late:
    made = Late(None, endpoint.eqk)
    run_processor(made)
    return made


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("kind", UNSENDABLE)
def test_the_caller_gets_the_error(late: Late, endpoint: Endpoint, kind: str, runner: str) -> None:
    result = endpoint.producer().rpc_give((kind, runner), _timeout=SOON, _max_retry=0)

    assert result.value == "EncodingError"
    (error,) = late.errors
    assert isinstance(error, EncodingError)
    assert result.message == str(error)
    assert_stays(lambda: len(late.errors) == 1 and not late.counts["second_reply"], 0.2)


@pytest.mark.parametrize("runner", RUNNERS)
def test_another_reply_may_follow(late: Late, endpoint: Endpoint, runner: str) -> None:
    result = endpoint.producer().rpc_correct(runner, _timeout=SOON, _max_retry=0)

    assert result.unwrap() == "corrected"
    assert_stays(lambda: not late.counts["second_reply"], 0.2)


def test_an_error_of_a_users_encoder_is_told(
    endpoint: Endpoint, run_processor: RunProcessor
) -> None:
    class Picky(JsonEncoder):
        @classmethod
        def encode(cls, data: Any) -> str:
            if data["content"].get("value") == "odd":
                raise LookupError("not this one")
            return JsonEncoder.encode(data)

    class Consumer(messaging.GenericConsumer):
        encoder_class = Picky

    class Server(messaging.MessageProcessor):
        consumer_class = Consumer

        @messaging.RpcHandler("command", "odd")
        def odd(self, content: Any, reply: Any) -> None:
            gevent.spawn(self._reply, reply.later())

        def _reply(self, reply: Any) -> None:
            with pytest.raises(LookupError):
                reply("odd")
            told.append(reply)

    told: list[Any] = []
    run_processor(Server(None, endpoint.eqk))
    result = endpoint.producer().rpc_odd(_timeout=SOON, _max_retry=0)

    assert (result.value, result.message) == ("LookupError", "not this one")
    wait_until(lambda: told, SOON)
    assert told[0].sent
