"""`postage.testing.handle`: one message, handled in the test, without a broker."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import (
    Around,
    Encoder,
    Exchange,
    GenericProducer,
    GiveUp,
    MalformedMessage,
    MessageCommand,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageProcessor,
    MessageResultError,
    NotHandling,
    RejectMessage,
    RemoteError,
    RpcCommand,
    RpcHandler,
    green,
)
from postage.settings import live
from postage.testing import handle


class Shop(Exchange):
    name = "alone-shop"


class Seen:
    """What the handlers of one test have seen."""

    values: list[Any]


class Hook(Around):
    """Notes that it was there."""

    def handle(self, message: Any) -> Iterator[None]:
        Seen.values.append("before")
        handled = yield
        Seen.values.append(handled)


def doubled(content: Any) -> Any:
    return {"parameters": content["parameters"] * 2}


def refused(content: Any) -> Any:
    raise ValueError("not this one")


class Orders(MessageProcessor):
    """Has one handler for each way in which handling can end."""

    eqk = ((Shop, [("alone-orders", "order")]),)

    @MessageHandler("command", "order")
    def order(self, content: Any) -> None:
        Seen.values.append(content["parameters"])

    @MessageHandler("command", "twice")
    @MessageFilter(doubled)
    def twice(self, content: Any) -> None:
        Seen.values.append(content["parameters"])

    @MessageHandler("command", "filtered")
    @MessageFilter(refused)
    def filtered(self, content: Any) -> None:
        Seen.values.append("never")

    @MessageHandlerFullBody("command", "whole")
    def whole(self, body: Any) -> None:
        Seen.values.append(body["name"])

    @MessageHandler("command", "broken")
    def broken(self, content: Any) -> None:
        raise LookupError(content["parameters"])

    @MessageHandler("command", "view")
    def view(self, content: Any) -> None:
        Seen.values.append(green.message())
        gevent.spawn(lambda: Seen.values.append(green.message().id)).join()

    @MessageHandler("command", "send")
    def send(self, content: Any) -> None:
        Customer().message_thanks()

    @MessageHandler("command", "ask")
    def ask(self, content: Any) -> None:
        Customer().call("anything").unwrap()

    @MessageHandler("command", "several")
    def first(self, content: Any) -> None:
        raise LookupError

    @MessageHandler("command", "several")
    def second(self, content: Any) -> None:
        raise GiveUp("enough")

    @RpcHandler("command", "total")
    def total(self, content: Any, reply: Any) -> int:
        return sum(content["parameters"])

    @RpcHandler("command", "later")
    def later(self, content: Any, reply: Any) -> None:
        gevent.spawn_later(0.01, reply.later(), "at last")

    @RpcHandler("command", "thread")
    def thread(self, content: Any, reply: Any) -> None:
        threading.Thread(target=reply.later(), args=["from afar"]).start()

    @RpcHandler("command", "never")
    def never(self, content: Any, reply: Any) -> None:
        reply.later()

    @RpcHandler("command", "error")
    def error(self, content: Any, reply: Any) -> MessageResultError:
        return MessageResultError("no such order")

    @RpcHandler("command", "unsendable")
    def unsendable(self, content: Any, reply: Any) -> object:
        return object()

    @RpcHandler("command", "silent")
    def silent(self, content: Any, reply: Any) -> None:
        """Return nothing."""


class Customer(GenericProducer):
    eks = ((Shop, "thanks"),)


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTAGE_URL", "amqp://127.0.0.1:1/")
    Seen.values = []


def command(name: str, parameters: Any = None) -> MessageCommand:
    return MessageCommand(name, parameters)


def test_a_handler_gets_the_content():
    handled = handle(Orders, command("order", 7))

    assert Seen.values == [7]
    assert (handled.handlers, handled.failures, handled.result) == (1, (), None)


ORDER = command("order", 7).body


@pytest.mark.parametrize("body", [ORDER, json.dumps(ORDER).encode()], ids=["data", "bytes"])
def test_a_body_may_be_plain_data_or_bytes(body):
    handle(Orders, body)

    assert Seen.values == [7]


def test_filters_and_whole_bodies_are_as_ever():
    handle(Orders, command("twice", 4))
    handle(Orders, command("whole"))

    assert Seen.values == [8, "whole"]


def test_a_filter_may_discard_the_message():
    assert handle(Orders, command("filtered")).ok
    assert Seen.values == []


def test_no_handler_is_told_and_no_error():
    assert handle(Orders, command("nobody")).handlers == 0


def test_the_error_of_a_handler_is_raised_from_its_place():
    with pytest.raises(LookupError, match=r"^1$") as caught:
        handle(Orders, command("broken", 1))

    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    ours = "test_the_error_of_a_handler_is_raised_from_its_place"
    assert names == [ours, "handle", "handle_without_broker", "broken"]


def test_of_several_errors_the_one_that_decides_is_raised():
    with pytest.raises(GiveUp):
        handle(Orders, command("several"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", {"name": "x"}, 7])
def test_what_is_no_message_is_malformed(body):
    with pytest.raises(MalformedMessage):
        handle(Orders, body)


def test_the_message_in_hand_is_as_the_broker_would_tell_it():
    handle(
        Orders,
        command("view"),
        properties={"message_id": "m1", "correlation_id": "c1", "expiration": "1500"},
        headers={"x-tenant": "a", "x-postage-attempt": 2},
        queue="orders",
        exchange="shop",
        routing_key="order",
    )

    view, spawned = Seen.values
    assert (view.id, view.correlation_id, view.expiration) == ("m1", "c1", 1.5)
    assert view.headers == {"x-tenant": "a", "x-postage-attempt": 2}
    assert (view.queue, view.exchange, view.routing_key) == ("orders", "shop", "order")
    assert (view.attempt, view.redelivered, view.name) == (3, False, "view")
    assert spawned == "m1"


def test_afterwards_no_message_is_in_hand():
    handle(Orders, command("order"))

    with pytest.raises(NotHandling):
        green.message()
    found = []
    gevent.spawn(lambda: found.append(green.message(None))).join()
    assert found == [None]


def test_in_a_greenlet_the_message_in_hand_is_its_own_again():
    def run() -> None:
        handle(Orders, command("view"), properties={"message_id": "m1"})
        Seen.values.append(green.message(None))

    gevent.spawn(run).get()

    assert Seen.values[1:] == ["m1", None]


@pytest.mark.parametrize(
    ("name", "value"), [("total", 3), ("later", "at last"), ("thread", "from afar")]
)
def test_the_reply_to_a_call_is_collected(name, value):
    handled = handle(Orders, RpcCommand(name, [1, 2]), properties={"reply_to": "amq.gen-gone"})

    assert handled.result is not None
    assert handled.result.value == value
    assert handled.ok


def test_an_error_as_the_reply_is_no_failure():
    handled = handle(Orders, RpcCommand("error"))

    assert (handled.failures, handled.ok) == ((), False)
    assert handled.result is not None
    assert handled.result.message == "no such order"


@pytest.mark.parametrize("name", ["silent", "nobody"])
def test_without_a_reply_the_caller_gets_an_exception(name):
    handled = handle(Orders, RpcCommand(name))

    assert handled.result is not None
    assert handled.result.kind == "exception"


def test_a_reply_that_cannot_be_sent_is_an_error():
    with pytest.raises(ValueError, match="cannot send"):
        handle(Orders, RpcCommand("unsendable"))


def test_a_promised_reply_is_not_awaited_for_ever():
    with pytest.raises(AssertionError, match=r"none came within 0\.02 s"):
        handle(Orders, RpcCommand("never"), within=0.02)


def test_a_reply_queue_that_is_not_allowed_is_refused():
    strict = type("Strict", (Orders,), {"reply_to": ("amq.gen-*",)})

    with pytest.raises(MalformedMessage, match="reply_to"):
        handle(strict, RpcCommand("total", [1]), properties={"reply_to": "orders"})


def test_hooks_see_the_message_and_what_came_of_it():
    watched = type("Watched", (Orders,), {"around": [Hook()]})

    handled = handle(watched, RpcCommand("total", [1]))

    assert Seen.values == ["before", handled]


def test_what_a_handler_sends_goes_nowhere():
    handle(Orders, command("send"))

    with pytest.raises(RemoteError, match="NoRoute"):
        handle(Orders, command("ask"))


def test_processors_do_not_meet_in_their_sandboxes():
    queue = {"name": "alone-orders", "flags": {"auto_delete": True}}
    other = type("Other", (Orders,), {"eqk": [(Shop, [(queue, "x")])]})

    for each in (Orders, other, lambda: Orders(eqk=[])):
        handle(each, command("order"))

    assert len(Seen.values) == 3
    assert live.sandbox is None
    assert green.statistics() == ()


def test_settings_of_the_class_do_not_matter():
    class Placed(Orders):
        def __init__(self) -> None:
            super().__init__(hup={"host": "nowhere.invalid"}, vhost="theirs")

    assert handle(Placed, command("order")).ok


def test_a_processor_with_an_encoder_of_its_own():
    class Words(Encoder):
        @classmethod
        def encode(cls, data: Any) -> bytes:
            return repr(data).encode()

        @classmethod
        def decode(cls, string: Any) -> Any:
            return command("order", string.decode()).body

    consumer = type("Consumer", (MessageProcessor.consumer_class,), {"encoder_class": Words})
    spoken = type("Spoken", (Orders,), {"consumer_class": consumer})

    handle(spoken, b"raw")
    handle(spoken, "text")

    assert Seen.values == ["raw", "'text'"]


def test_what_makes_no_processor_is_refused():
    for wrong in (lambda: 7, 7, "shop:Orders"):
        with pytest.raises(TypeError, match="no processor"):
            handle(wrong, command("order"))  # type: ignore[arg-type]


def test_a_rejection_is_raised():
    class Picky(Orders):
        @MessageHandler("command", "order")
        def order(self, content: Any) -> None:
            raise RejectMessage("no")

    with pytest.raises(RejectMessage):
        handle(Picky, command("order"))


def test_an_instance_keeps_its_broker(postage_url, received, monkeypatch):
    monkeypatch.setenv("POSTAGE_URL", postage_url)
    inbox = received(Shop, "thanks")

    handle(Orders(), command("send"))

    assert [body["name"] for body in inbox.wait()] == ["thanks"]
