"""`green.message`: what a handler learns of its message beside the content."""

from __future__ import annotations

import contextvars
import datetime as dt
import decimal
import struct
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.pool
import pytest

from postage import (
    GenericApplication,
    MalformedMessage,
    NotHandling,
    ReceivedMessage,
    every,
    green,
    messaging,
)
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.running import SOON, consuming, running

pytestmark = pytest.mark.usefixtures("broker_env")

BODY = messaging.JsonEncoder.encode(messaging.MessageCommand("note", 7).body).encode()


class Server(messaging.MessageProcessor):
    """Does in its handlers whatever the test says, and keeps what that returns."""

    def __init__(
        self, endpoint: Endpoint, do: Callable[[], Any], eqk: Any = None, hup: Any = None
    ) -> None:
        self.do, self.got = do, []
        super().__init__({"name": "server"}, endpoint.eqk if eqk is None else eqk, hup)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.got.append(self.do())

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> str:
        self.got.append(self.do())
        return "answered"


def got_by(endpoint: Endpoint, do: Callable[[], Any], send: Callable[[], object]) -> Any:
    """Return what *do* returns in the handler of the message that *send* sends."""
    server = Server(endpoint, do)
    with running(server):
        send()
        wait_until(lambda: server.got, SOON)
    return server.got[0]


def test_a_message_of_a_producer(endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    message: ReceivedMessage = got_by(endpoint, green.message, producer.message_note)

    assert (message.type, message.name, message.category) == ("command", "note", "message")
    assert message.exchange == endpoint.exchange.name
    assert (message.routing_key, message.queue) == (endpoint.key, endpoint.queue)
    assert (message.redelivered, message.attempt) == (False, 1)
    assert message.fingerprint["pid"] == producer.fingerprint["pid"]
    assert message.id
    assert abs(message.timestamp - dt.datetime.now().timestamp()) < 60  # noqa: DTZ005
    assert message.delivery_mode == 2
    assert (message.correlation_id, message.priority, message.expiration) == (None, None, None)
    assert (message.app_id, message.user_id, dict(message.headers)) == (None, None, {})


def test_a_call_of_a_producer(endpoint: Endpoint) -> None:
    caller = endpoint.producer()
    message = got_by(endpoint, green.message, lambda: caller.rpc_ask(_timeout=7))

    assert (message.name, message.category) == ("ask", "rpc")
    assert message.correlation_id
    assert message.id is None
    assert 6 < message.expiration <= 7


def test_properties_of_another_program(endpoint: Endpoint, raw: Raw) -> None:
    since = dt.datetime(2001, 2, 3, tzinfo=dt.timezone.utc)
    headers = {
        "text": "é",
        "list": [1, {"deep": ["x"]}],
        "table": {"a": {"b": None}},
        "number": -(2**40),
        "cent": decimal.Decimal("1.25"),
        "since": since,
        "yes": True,
        "bytes": b"\xff",
    }
    message = got_by(
        endpoint,
        green.message,
        lambda: raw.put(
            endpoint.queue,
            BODY,
            headers=headers,
            priority=9,
            expiration="60000",
            message_id="same",
            correlation_id="conversation",
            timestamp=12345,
            app_id="shop",
            user_id="guest",
        ),
    )

    assert dict(message.headers) == {
        **headers,
        "list": (1, {"deep": ("x",)}),
    }
    assert (message.id, message.correlation_id) == ("same", "conversation")
    assert (message.priority, message.expiration, message.timestamp) == (9, 60.0, 12345)
    assert (message.app_id, message.user_id, message.exchange) == ("shop", "guest", "")
    assert message.delivery_mode is None
    assert "'same'" in repr(message)


def test_nothing_of_it_can_be_changed(endpoint: Endpoint, raw: Raw) -> None:
    headers = {"table": {"a": 1}, "list": [1]}
    message = got_by(
        endpoint, green.message, lambda: raw.put(endpoint.queue, BODY, headers=headers)
    )

    for name in ("id", "headers", "queue", "attempt", "another"):
        with pytest.raises(AttributeError):
            setattr(message, name, "x")
    for table in (message.headers, message.headers["table"], message.fingerprint):
        with pytest.raises(TypeError):
            table["x"] = 1
    assert message.headers["list"] == (1,)


def test_what_a_handler_does_to_its_body_is_not_seen(endpoint: Endpoint) -> None:
    class Careless(messaging.MessageProcessor):
        got: Any = None

        @messaging.MessageHandlerFullBody("command", "note")
        def note(self, body: Any) -> None:
            body["fingerprint"].clear()
            self.got = green.message()

    processor = Careless(None, endpoint.eqk)
    with running(processor):
        endpoint.producer().message_note()
        wait_until(lambda: processor.got, SOON)

    assert len(processor.got.fingerprint) == 6


def test_it_is_the_same_object_each_time(endpoint: Endpoint) -> None:
    first, second = got_by(
        endpoint, lambda: (green.message(), green.message()), endpoint.producer().message_note
    )

    assert first is second


# --- whose message it is


def test_each_of_many_handlers_has_its_own(endpoint: Endpoint) -> None:
    def ids() -> tuple[str | None, ...]:
        before = green.message().id
        gevent.sleep(0.001)
        return before, green.message().id

    server, producer = Server(endpoint, ids), endpoint.producer()
    with running(server):
        gevent.joinall([gevent.spawn(producer.message_note) for _ in range(50)], raise_error=True)
        wait_until(lambda: len(server.got) == 50, SOON)

    assert all(before == after for before, after in server.got)
    assert len({before for before, _ in server.got}) == 50


def in_pool(function: Callable[[], Any]) -> Any:
    return gevent.pool.Pool(1).spawn(function)


def in_a_child_of_a_child(function: Callable[[], Any]) -> Any:
    return gevent.spawn(lambda: gevent.spawn(function).get())


def in_context(function: Callable[[], Any]) -> Any:
    return gevent.spawn(contextvars.copy_context().run, function)


@pytest.mark.parametrize(
    "spawn",
    [
        gevent.spawn,
        lambda function: gevent.spawn_later(0.01, function),
        in_pool,
        in_a_child_of_a_child,
        in_context,
    ],
    ids=["spawn", "spawn_later", "pool", "child of a child", "context"],
)
def test_greenlets_that_a_handler_spawns_have_it(endpoint: Endpoint, spawn: Any) -> None:
    def both() -> Any:
        return green.message(), spawn(green.message).get()

    own, spawned = got_by(endpoint, both, endpoint.producer().message_note)

    assert spawned is own


def test_a_spawned_greenlet_keeps_it_after_the_handler(endpoint: Endpoint) -> None:
    handled = gevent.event.Event()

    def after() -> Any:
        handled.wait()
        return green.message().id, green.message().queue

    server = Server(endpoint, lambda: gevent.spawn(after))
    with running(server):
        for _ in range(2):
            endpoint.producer().message_note()
        wait_until(lambda: server.counts["handled"] == 2, SOON)
        handled.set()
        found = [each.get() for each in server.got]

    assert len({id_ for id_, _ in found}) == 2
    assert {queue for _, queue in found} == {endpoint.queue}


def test_a_timer_of_a_handler_has_it(endpoint: Endpoint) -> None:
    server = Server(endpoint, lambda: server.add_timeout(0.01, keep) or green.message())
    found: list[Any] = []

    def keep() -> None:
        found.append(green.message())

    with running(server):
        endpoint.producer().message_note()
        wait_until(lambda: found, SOON)

    assert found == server.got


def test_filters_and_handler_classes_have_it(endpoint: Endpoint) -> None:
    seen: list[Any] = []

    def watch(content: Any) -> Any:
        seen.append(green.message().id)
        return content

    class Classes(messaging.MessageProcessor):
        @messaging.MessageFilter(watch)
        @messaging.MessageHandler("command", "note")
        class Note(messaging.Handler):
            def call(self) -> None:
                seen.append(green.message().id)

    with running(Classes(None, endpoint.eqk)):
        endpoint.producer().message_note()
        wait_until(lambda: len(seen) == 2, SOON)

    assert seen[0] == seen[1] is not None


def test_a_generic_application_has_it(broker_env: Any) -> None:
    class Asked(GenericApplication):
        @messaging.RpcHandler("command", "key")
        def key(self, content: Any, reply: Any) -> str:
            return green.message().routing_key

    class Caller(messaging.GenericProducer):
        eks = ((green.GenericApplicationExchange, "in-hand/rr"),)

    with running(Asked({"name": "in-hand"})):
        assert Caller().rpc_key().value == "in-hand/rr"


# --- where there is none


def test_outside_of_a_handler(endpoint: Endpoint) -> None:
    with pytest.raises(NotHandling, match=r"green\.message\(None\)"):
        green.message()
    with pytest.raises(LookupError):
        gevent.spawn(green.message).get()
    assert green.message(None) is None
    assert gevent.spawn(green.message, "none").get() == "none"


def test_a_native_thread_has_none(endpoint: Endpoint) -> None:
    def in_thread() -> Any:
        return gevent.get_hub().threadpool.apply(green.message, (None,))

    server = Server(endpoint, lambda: [in_thread()])
    with running(server):
        endpoint.producer().message_note()
        wait_until(lambda: server.got, SOON)

    assert server.got == [[None]]


def test_a_job_has_none(endpoint: Endpoint) -> None:
    class Working(Server):
        @every(0.01)
        def work(self) -> None:
            self.got.append(self.do())

    server = Working(
        endpoint, lambda: [green.message(None), gevent.spawn(green.message, None).get()]
    )
    with running(server):
        wait_until(lambda: server.got, SOON)

    assert server.got[0] == [None, None]


def test_the_callback_of_a_consumer_has_none(endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    found: list[Any] = []
    with consuming(consumer) as got:
        endpoint.producer().message_note()
        wait_until(lambda: got, SOON)
        found.append(green.message(None))

    assert found == [None]


# --- attempts


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [({"x-queue-type": "quorum"}, 20), ({"x-queue-type": "quorum"}, None), ({}, 20), ({}, None)],
    ids=["quorum", "quorum, unlimited", "classic", "classic, unlimited"],
)
def test_attempts(
    endpoint: Endpoint,
    raw: Raw,
    proxy: Proxy,
    hup: dict[str, Any],
    arguments: dict[str, Any],
    limit: int | None,
) -> None:
    """A message that was lost with its connection comes again."""
    queue = {"name": endpoint.queue, "flags": {"arguments": arguments}}
    gate = gevent.event.Event()
    server = Server(
        endpoint, lambda: (green.message().attempt, gate.wait())[0], endpoint.at((queue, "rk")), hup
    )
    server.max_deliveries = limit
    forged = {"x-delivery-count": 7} if arguments else None
    raw.put(endpoint.queue, BODY, headers=forged)
    with running(server):
        wait_until(lambda: "1 of" in repr(server), SOON)
        proxy.cut()
        wait_until(lambda: "2 of" in repr(server), SOON)
        gate.set()
        wait_until(lambda: len(server.got) == 2, SOON)

    assert sorted(server.got) == [1, 2]


# --- what cannot be read


def delivered(**properties: Any) -> ReceivedMessage:
    """Return the view of a delivery with these properties."""
    delivery = Delivery("", 1, False, "", "", 0.0)
    delivery.header = Properties(**properties).encode()
    return ReceivedMessage(delivery, lambda _: {})


def test_headers_that_nobody_can_read() -> None:
    too_far = struct.pack(">B4scQ", 4, b"when", b"T", 1 << 60)
    message = delivered(message_id="odd", headers=struct.pack(">I", len(too_far)) + too_far)

    with pytest.raises(MalformedMessage, match="headers"):
        message.headers  # noqa: B018 - reading is what is tried
    assert message.id == "odd"
    assert "'odd'" in repr(message)


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "", "\u0663"], ids=ascii)
def test_an_expiration_that_is_no_number(text: str) -> None:
    assert delivered(expiration=text).expiration is None
