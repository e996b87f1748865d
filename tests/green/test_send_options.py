"""Messages and calls with options: what is on the wire, and what handlers see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import Exchange, NoRoute, SettingsError, green, messaging
from postage.copies import AGAIN
from postage.protocol import SEND_ID
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, listen
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

ALL: dict[str, Any] = {
    "_headers": {"x-tenant": "a", "deep": [{"n": 1}, None]},
    "_priority": 5,
    "_message_id": "mine",
    "_delivery_mode": 1,
    "_app_id": "shop",
}
TIMED = {**ALL, "_expiration": 60.5}


class Depot(messaging.GenericProducer):
    """With and without builders."""

    def build_message_built(self, item: int) -> messaging.Message:
        return messaging.MessageCommand("built", item)

    def build_message_classic(self, item: int, _priority: str = "low") -> messaging.Message:
        return messaging.MessageCommand("classic", [item, _priority])


def check(properties: Any) -> None:
    """Assert that a message has the options in `TIMED`."""
    assert properties.headers.pop("x-postage-send-id")
    assert properties.headers == ALL["_headers"]
    assert (properties.priority, properties.delivery_mode) == (5, 1)
    assert (properties.message_id, properties.app_id) == ("mine", "shop")
    assert properties.content_type == "application/json"
    assert properties.timestamp


@pytest.mark.parametrize(
    "send",
    [
        lambda depot: depot.message_x(1, **TIMED),
        lambda depot: depot.message_x(a=1, **TIMED),
        lambda depot: depot.message_built(1, **TIMED),
        lambda depot: depot.send("x", 1, **TIMED),
        lambda depot: depot.send("built", item=1, **TIMED),
        lambda depot: depot.message(1, a=2, **TIMED),
        lambda depot: depot.forward({"any": "body"}, **TIMED),
        lambda depot: depot.message_x(_key="rk", **TIMED),
    ],
    ids=["message", "keyword", "built", "send", "send built", "generic", "forward", "key"],
)
@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "plain"])
def test_every_way_to_send_takes_options(
    endpoint: Endpoint, raw: Raw, queue: str, send: Callable[[Any], None], confirm: bool
) -> None:
    send(endpoint.producer(Depot, confirm=confirm))

    taken = raw.take(queue)
    check(taken.properties)
    assert taken.properties.expiration == "60500"
    assert b"_priority" not in taken.body


@pytest.mark.parametrize(
    "call",
    [
        lambda depot: depot.rpc_ask(1, **ALL),
        lambda depot: depot.call("ask", 1, **ALL),
        lambda depot: depot.rpc_ask.later(a=1, **ALL).get(),
        lambda depot: depot.consume_rpc(depot.rpc_ask(1, _queue_only=True, **ALL))[0],
        lambda depot: depot.consume_rpc(depot.rpc_queue_ask(1, **ALL))[0],
    ],
    ids=["rpc", "call", "later", "queue only", "rpc_queue"],
)
def test_every_way_to_call_takes_options(endpoint: Endpoint, call: Callable[[Any], Any]) -> None:
    class Server(messaging.MessageProcessor):
        @messaging.RpcHandler("command", "ask")
        def ask(self, content: Any, reply: Any) -> Any:
            message = green.message()
            assert message.headers == {"x-tenant": "a", "deep": ({"n": 1}, None)}
            assert message.expiration is not None
            return [message.id, message.priority, message.delivery_mode, message.app_id]

    depot = endpoint.producer(Depot)
    with running(Server(None, endpoint.eqk)):
        for _ in range(2):  # the first call to a destination is a probe
            assert call(depot).unwrap() == ["mine", 5, 1, "shop"]


def test_each_destination_gets_the_options(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    eks = [(endpoint.exchange, "rk"), (endpoint.exchange, "other")]
    endpoint.producer(Depot, eks=eks).message_x(**ALL)
    first, second = raw.take(queue), raw.take(queue)

    assert first.properties.headers == second.properties.headers
    check(first.properties)


def test_without_options_nothing_is_added(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    depot = endpoint.producer(Depot)
    depot.message_x(1)
    depot.send("x", _headers=None, _priority=None)

    for taken in (raw.take(queue), raw.take(queue)):
        properties = taken.properties
        assert (properties.headers, properties.priority, properties.app_id) == (None, None, None)
        assert properties.delivery_mode == 2


def test_a_classic_builder_keeps_its_parameters(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    endpoint.producer(Depot).message_classic(1, _priority="high", _app_id="shop")

    taken = raw.take(queue)
    assert taken.value["content"]["parameters"] == [1, "high"]
    assert (taken.properties.priority, taken.properties.app_id) == (None, "shop")


def test_parameters_that_look_like_options(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    endpoint.producer(Depot).message_x(parameters={"_delay": 1, "_headers": {}})

    assert raw.take(queue).value["content"]["parameters"] == {"_delay": 1, "_headers": {}}


@pytest.mark.parametrize(
    "options",
    [
        {"_delay": 5},
        {"_headers": {"a": 0.5}},
        {"_headers": {"CC": "rk"}},
        {"_priority": -1},
        {"_message_id": ""},
        {"_expiration": float("nan")},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "send",
    [
        lambda depot, options: depot.message_x(1, **options),
        lambda depot, options: depot.send("x", **options),
        lambda depot, options: depot.message(**options),
        lambda depot, options: depot.rpc_x(**options),
        lambda depot, options: depot.call("x", **options),
        lambda depot, options: depot.rpc_x.later(**options),
        lambda depot, options: depot.rpc_queue_x(**options),
    ],
    ids=["message", "send", "generic", "rpc", "call", "later", "rpc_queue"],
)
def test_mistakes_are_refused_before_anything_is_sent(
    endpoint: Endpoint, raw: Raw, queue: str, send: Any, options: dict[str, Any]
) -> None:
    depot = endpoint.producer(Depot)
    with pytest.raises(SettingsError):
        send(depot, options)
    depot.message_end()

    assert raw.take(queue).value["name"] == "end"


# --- ids that the program has chosen


def test_equal_ids_do_not_confuse_returned_messages(endpoint: Endpoint, queue: str) -> None:
    """The broker returns messages, not their places: only an id tells which one it was."""
    depot = endpoint.producer(Depot, mandatory=True)

    def send(key: str) -> str:
        try:
            depot.message_x(_key=key, _message_id="same")
        except NoRoute as exc:
            return exc.key
        return "taken"

    keys = ["rk", "nobody", "rk", "nowhere", "other", "nobody"] * 20
    sent = [gevent.spawn(send, key) for key in keys]
    gevent.joinall(sent, timeout=SOON, raise_error=True)

    expected = [key if key in {"nobody", "nowhere"} else "taken" for key in keys]
    assert [each.get() for each in sent] == expected


def test_a_message_that_was_sent_again_is_not_taken_for_another(
    endpoint: Endpoint, raw: Raw
) -> None:
    """Both have the same id, and one of them the mark of a copy."""
    seen: list[Any] = []

    class Server(messaging.MessageProcessor):
        @messaging.MessageHandler("command", "x")
        def x(self, content: Any) -> None:
            seen.append(content["parameters"])

    body = messaging.JsonEncoder.encode(messaging.MessageCommand("x", 2).body).encode()
    again = {"type": AGAIN, "headers": {SEND_ID: "2b" * 16}}
    with running(Server(None, endpoint.eqk)):
        endpoint.producer().message_x(1, _message_id="same")
        wait_until(lambda: seen, SOON)
        raw.send(endpoint.exchange.name, "rk", body, message_id="same", **again)
        wait_until(lambda: len(seen) == 2, SOON)

    assert seen == [1, 2]


def test_handlers_see_the_id_that_was_given(endpoint: Endpoint) -> None:
    seen: list[Any] = []

    class Server(messaging.MessageProcessor):
        @messaging.MessageHandler("command", "x")
        def x(self, content: Any) -> None:
            seen.append((green.message().id, green.message().headers))

    depot = endpoint.producer()
    with running(Server(None, endpoint.eqk)):
        for _ in range(2):
            depot.message_x(_message_id="same")
        wait_until(lambda: len(seen) == 2, SOON)

    assert [id_ for id_, _ in seen] == ["same", "same"]
    assert seen[0][1]["x-postage-send-id"] != seen[1][1]["x-postage-send-id"]


def test_a_handler_can_send_on_what_it_got(endpoint: Endpoint, raw: Raw) -> None:
    target = listen(raw, endpoint.exchange, "target")
    depot = endpoint.producer()

    class Server(messaging.MessageProcessor):
        @messaging.MessageHandler("command", "x")
        def x(self, content: Any) -> None:
            depot.message_y(_key="target", _headers=green.message().headers)

    with running(Server(None, endpoint.eqk)):
        depot.message_x(_headers={"a": [{"b": None}]})
        assert raw.take(target).properties.headers == {"a": [{"b": None}]}


# --- frames


def test_large_headers_arrive(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    endpoint.producer().message_x(_headers={"long": "x" * 120_000})

    assert len(raw.take(queue).properties.headers["long"]) == 120_000


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "plain"])
def test_headers_larger_than_a_frame_of_this_broker(
    endpoint: Endpoint, raw: Raw, queue: str, confirm: bool
) -> None:
    """The connection, which others use, goes on."""
    depot = endpoint.producer(confirm=confirm)
    connection = green.statistics()
    transport: Any = depot._pair.publishing.current.transport
    transport.params.frame_max = 8192
    with pytest.raises(SettingsError, match="frame_max"):
        depot.message_x(_headers={"long": "x" * 8192})
    with pytest.raises(SettingsError, match="frame_max"):
        depot.rpc_x(_headers={"long": "x" * 8192})
    depot.message_x(_headers={"long": "x" * 7900})

    assert len(raw.take(queue).properties.headers["long"]) == 7900
    assert len(green.statistics()) == len(connection)


def test_options_match_a_headers_exchange(endpoint: Endpoint, raw: Raw) -> None:
    class Sorted(Exchange):
        name = endpoint.sub("sorted")
        exchange_type = "headers"

    class Sender(messaging.GenericProducer):
        eks = ((Sorted, ""),)

    raw.channel.exchange_declare(**Sorted.parameters)
    queue = raw.declare("", durable=False, exclusive=True)
    raw.channel.queue_bind(queue, Sorted.name, "", arguments={"x-match": "all", "type": "pdf"})
    for each in ("txt", "pdf"):
        Sender().message_x(_headers={"type": each})

    assert raw.take(queue).properties.headers == {"type": "pdf"}
