"""Mistakes of components, one function each; the rest of their process must not notice them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from postage import green, messaging
from postage.encoding import JsonEncoder
from tests.support.endpoints import exchange

BIG = 1 << 20
"""Bytes of the largest message that the broker of the run takes."""

Make = Callable[[str, messaging.MessageProcessor], object]
"""Makes the mistake once, with a name that is new and a processor that consumes.  It raises a
`PostageError`, or returns the result of a call."""


class Mistake(NamedTuple):
    """One mistake, and the kind of mistakes that it belongs to."""

    kind: str
    make: Make

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.make.__name__


MISTAKES: list[Mistake] = []
_numbers = itertools.count(1)


def mistake(kind: str) -> Callable[[Make], Make]:
    """Register a function as a mistake of *kind*."""

    def register(make: Make) -> Make:
        MISTAKES.append(Mistake(kind, make))
        return make

    return register


def new_name(of: Mistake) -> str:
    """Return a name for exchanges and queues that nothing else has."""
    return f"{of.name}-{next(_numbers)}"


def to(name: str, kind: str = "direct", **attributes: Any) -> messaging.GenericProducer:
    """Return a producer for the exchange *name*, which has these attributes."""
    eks = [(exchange(name, kind, **attributes), "rk")]
    return type("Wrong", (messaging.GenericProducer,), {"eks": eks})()


def usual() -> messaging.GenericProducer:
    """Return a producer without a mistake."""
    return to("mistakes")


def at(name: str, *, kind: str = "direct", **flags: Any) -> Any:
    """Return the queue *name* with these flags at an exchange of this *kind*."""
    return [(exchange(name, kind), [({"name": name, "flags": flags}, "rk")])]


class Server(messaging.MessageProcessor):
    """Answers with what no broker takes."""

    @messaging.RpcHandler("command", "big")
    def big(self, _content: Any, reply: Any) -> None:
        reply("x" * (BIG + 1))

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


# --- exchanges that the broker does not have


@mistake("exchange type")
def unknown_type_of_a_producer(name: str, _running: Any) -> object:
    return to(name, "x-delayed-message")


@mistake("exchange type")
def unknown_type_in_eks(name: str, _running: Any) -> object:
    return usual().message_hello(_eks=[(exchange(name, "x-delayed-message"), "rk")])


@mistake("exchange type")
def unknown_type_of_a_call(name: str, _running: Any) -> object:
    return usual().rpc_echo(_eks=[(exchange(name, "x-random"), "rk")])


@mistake("exchange type")
def unknown_type_of_a_call_in_the_background(name: str, _running: Any) -> object:
    return usual().rpc_echo.later(_eks=[(exchange(name, "x-unheard-of"), "rk")]).get()


@mistake("exchange type")
def unknown_type_of_a_processor(name: str, _running: Any) -> object:
    return messaging.MessageProcessor({}, at(name, kind="x-recent-history"))


@mistake("exchange type")
def unknown_type_while_consuming(name: str, running: messaging.MessageProcessor) -> object:
    return running.consumer.add_eqk(at(name, kind="x-delayed-message"))


@mistake("exchange type")
def unknown_type_pipelined(name: str, _running: Any) -> object:
    with green.pipelined():
        return messaging.MessageProcessor({}, at(name, kind="x-random"))


@mistake("exchange")
def reserved_name(name: str, _running: Any) -> object:
    return usual().message_hello(_eks=[(exchange(f"amq.{name}"), "rk")])


@mistake("exchange")
def wrong_alternate_exchange(name: str, _running: Any) -> object:
    return to(name, arguments={"alternate-exchange": 5})


@mistake("exchange")
def binding_to_the_default_exchange(name: str, _running: Any) -> object:
    return messaging.GenericConsumer([(exchange("", passive=True), [(name, "rk")])])


# --- queues that the broker does not make


@mistake("queue")
def unknown_queue_type(name: str, _running: Any) -> object:
    return messaging.MessageProcessor({}, at(name, arguments={"x-queue-type": "unheard-of"}))


@mistake("queue")
def wrong_queue_arguments(name: str, _running: Any) -> object:
    return messaging.MessageProcessor({}, at(name, arguments={"x-max-priority": -1}))


@mistake("queue")
def other_flags(_name: str, running: messaging.MessageProcessor) -> object:
    ((queue, _),) = running.consumer.qk_list
    return messaging.MessageProcessor({}, at(queue, arguments={"x-max-length": 7}))


@mistake("queue")
def passive_and_missing(name: str, running: messaging.MessageProcessor) -> object:
    return running.consumer.add_eqk(at(name, passive=True))


# --- messages that the broker or the server refuses


@mistake("size")
def too_large_message(_name: str, _running: Any) -> object:
    return usual().message_hello("x" * (BIG + 1))


@mistake("size")
def too_large_request(_name: str, _running: Any) -> object:
    return usual().rpc_echo("x" * (BIG + 1), _key="server")


@mistake("size")
def too_large_reply(_name: str, _running: Any) -> object:
    return usual().rpc_big(_key="server", _timeout=2, _max_retry=1)


class Foreign(JsonEncoder):
    """Encodes what a processor cannot read."""

    @classmethod
    def encode(cls, data: Any) -> str:
        return f"[{super().encode(data)}"


@mistake("malformed")
def request_of_another_encoder(_name: str, _running: Any) -> object:
    attributes = {"eks": usual().eks, "encoder_class": Foreign}
    producer: Any = type("Wrong", (messaging.GenericProducer,), attributes)()
    return producer.rpc_echo(_key="server", _timeout=2, _max_retry=1)


@mistake("malformed")
def request_that_is_no_message(_name: str, _running: Any) -> object:
    def build_rpc_nothing(_self: Any) -> Any:
        return messaging.Message("not a command")

    attributes = {"eks": usual().eks, "build_rpc_nothing": build_rpc_nothing}
    producer: Any = type("Wrong", (messaging.GenericProducer,), attributes)()
    return producer.rpc_nothing(_key="server", _timeout=2, _max_retry=1)


# --- limits, and values


@mistake("vhost")
def unknown_vhost(_name: str, _running: Any) -> object:
    return messaging.GenericConsumer(at("nowhere"), vhost="nowhere")


@mistake("vhost")
def full_vhost(_name: str, _running: Any) -> object:
    return messaging.GenericConsumer(at("full"), vhost="full")


def _with(**attributes: Any) -> Any:
    return type("Wrong", (messaging.MessageProcessor,), attributes)


@mistake("values")
def no_concurrency(name: str, _running: Any) -> object:
    return _with(concurrency=0)({}, at(name))


@mistake("values")
def too_much_concurrency(name: str, _running: Any) -> object:
    return _with(concurrency=100_000)({}, at(name))


@mistake("values")
def a_queue_that_is_none(_name: str, _running: Any) -> object:
    return messaging.GenericConsumer([(exchange("mistakes"), [(None, "rk")])])  # type: ignore[list-item]


@mistake("values")
def a_key_that_is_a_number(_name: str, _running: Any) -> object:
    return usual().message_hello(_key=5)


@mistake("values")
def a_timeout_that_is_a_text(_name: str, _running: Any) -> object:
    return usual().rpc_echo(_key="server", _timeout="5")


@mistake("values")
def a_float_as_argument(name: str, _running: Any) -> object:
    return messaging.GenericConsumer(at(name, arguments={"x-message-ttl": 60 * 1.5e3}))
