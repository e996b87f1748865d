"""Traces by OpenTelemetry: which spans there are, and which is the parent of which."""

from __future__ import annotations

import random
from typing import Any

import gevent
import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from postage import (
    GiveUp,
    Handled,
    MalformedMessage,
    MessageResultError,
    NoRoute,
    ReceivedMessage,
    Retry,
    Tracing,
    green,
    messaging,
    parking,
)
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint, producer_at
from tests.support.raw import Raw
from tests.support.recorder import Answers, Handles, Recorder, at
from tests.support.running import SOON, running
from tests.support.spans import Spans, traceparent

pytestmark = pytest.mark.usefixtures("broker_env")

SECRET = "s3cr3t-of-the-body"


@pytest.fixture
def spans() -> Spans:
    return Spans()


class Server(Recorder):
    """Its handlers end in every way."""

    @Handles("command", "note")
    def note(self, content: Any) -> None:
        self.seen.append(content["parameters"])

    @Handles("command", "fail")
    def fail(self, content: Any) -> None:
        raise KeyError("missing")

    @Answers("command", "ask")
    def ask(self, content: Any, reply: Any) -> Any:
        answers = {
            "value": lambda: SECRET,
            "error": lambda: MessageResultError("foreseen"),
            "raise": lambda: {}["missing"],
            "none": lambda: None,
        }
        return answers[content["parameters"]]()


def served(endpoint: Endpoint, spans: Spans, kind: type[Any] = Server, **attributes: Any) -> Any:
    """Return a processor of *kind* with traces."""
    known = {"around": [spans.hook]}
    return at(endpoint, type(kind.__name__, (kind,), known | attributes))


def sender(endpoint: Endpoint, spans: Spans, **attributes: Any) -> Any:
    """Return a producer with traces."""
    return endpoint.producer(around=[spans.hook], **attributes)


# --- one trace


def test_all_that_follows_a_message_is_one_trace(endpoint: Endpoint, spans: Spans):
    """Three processors, a nested call, a message that is tried again, parked and replayed."""
    prices_at, stock_at = Endpoint(endpoint.sub("prices")), Endpoint(endpoint.sub("stock"))
    prices_at.key = stock_at.key = ""
    around = [spans.hook]

    class Prices(Recorder):
        @Answers("command", "price")
        def price(self, content: Any, reply: Any) -> int:
            return 5

    class Stock(Recorder):
        retry = Retry(delays=(0.1,), jitter=0)

        @Handles("command", "reserve")
        def reserve(self, content: Any) -> None:
            self.seen.append(green.message().attempt)
            if len(self.seen) < 3:
                raise (ValueError, GiveUp)[len(self.seen) - 1]

    class Shop(Recorder):
        @Handles("command", "order")
        def order(self, content: Any) -> None:
            assert to_prices.rpc_price().value == 5
            to_stock.message_reserve()

    stock = served(stock_at, spans, Stock)
    with running(served(endpoint, spans, Shop), served(prices_at, spans, Prices), stock):
        to_prices = producer_at(prices_at, around=around)
        to_stock = producer_at(stock_at, around=around)
        sender(endpoint, spans).message_order()
        wait_until(lambda: stock.counts["parked"] == 1, SOON)
        assert parking.replay(f"{stock_at.queue}.parked").count == 1
        spans.wait(8)

    shop, price = endpoint.queue, f"{prices_at.queue}/price"
    process = f"process {stock_at.queue}:{stock_at.queue}"
    reserve = (f"publish {stock_at.queue}", [(process, [])] * 3)
    order = (f"process {shop}:{endpoint.key}:{shop}", [(price, [(price, [])]), reserve])
    assert spans.trees == [(f"publish {shop}:{endpoint.key}", [order])]
    attempts = [s.attributes["postage.message.attempt"] for s in spans.all if s.name == process]
    assert attempts == [1, 2, 1]  # a replay begins anew


def test_tries_at_once_are_spans_of_their_own(endpoint: Endpoint, spans: Spans):
    server = served(endpoint, spans, retry=Retry(now=2))
    with running(server):
        sender(endpoint, spans).message_fail()
        sent, *tries = spans.wait(4)

    assert [each.parent.span_id for each in tries] == [sent.context.span_id] * 3
    assert [each.attributes["postage.message.attempt"] for each in tries] == [1, 2, 3]


def test_calls_below_a_handler_have_it_as_their_parent(endpoint: Endpoint, spans: Spans):
    """At once, in the background, and in greenlets that a handler spawns."""

    class Fan(Recorder):
        @Answers("command", "fan")
        def fan(self, content: Any, reply: Any) -> str:
            here = self.producer
            later = [here.rpc_echo.later(1), gevent.spawn(here.rpc_echo, 2)]
            gevent.spawn(here.message_noted)
            here.rpc_echo(3)
            for each in later:
                each.get()
            return "done"

        @Handles("command", "noted")
        def noted(self, content: Any) -> None:
            """Is only seen in the trace."""

    server = served(endpoint, spans, Fan)
    server.producer = sender(endpoint, spans)
    with running(server):
        assert server.producer.rpc_fan().value == "done"
        spans.wait(10)

    name = endpoint.queue
    ((root, [(fan, below)]),) = spans.trees
    assert (root, fan) == (f"{name}/fan", f"{name}/fan")
    echo, note = f"{name}/echo", f"publish {name}:rk"
    assert sorted(below) == sorted(
        [(echo, [(echo, [])])] * 3 + [(note, [(f"process {name}:rk:{name}", [])])]
    )


def test_a_hundred_messages_at_once_do_not_mix(endpoint: Endpoint, spans: Spans):
    class Relay(Recorder):
        @Handles("command", "relay")
        def relay(self, content: Any) -> None:
            number, id_ = content["parameters"]
            gevent.sleep(random.random() / 100)
            assert self.producer.rpc_double(number).value == 2 * number
            self.seen.append((trace.get_current_span().get_span_context().trace_id, id_))

        @Answers("command", "double")
        def double(self, content: Any, reply: Any) -> int:
            gevent.sleep(random.random() / 100)
            return 2 * content["parameters"]

    server = served(endpoint, spans, Relay, concurrency=200, prefetch=200)
    server.producer = sender(endpoint, spans)

    def request(number: int) -> None:
        with spans.tracer.start_as_current_span(f"request {number}") as span:
            gevent.sleep(random.random() / 100)
            server.producer.message_relay([number, str(span.get_span_context().trace_id)])

    with running(server):
        gevent.joinall([gevent.spawn(request, number) for number in range(100)], raise_error=True)
        spans.wait(500)

    double = f"{endpoint.queue}/double"
    handled = (f"process {endpoint.queue}:rk:{endpoint.queue}", [(double, [(double, [])])])
    sent = [(f"publish {endpoint.queue}:rk", [handled])]
    assert sorted(spans.trees) == sorted((f"request {number}", sent) for number in range(100))
    assert [str(found) for found, _ in server.seen] == [id_ for _, id_ in server.seen]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_each_turn_of_a_job_begins_a_trace(endpoint: Endpoint, spans: Spans):
    class Ticking(Server):
        @green.every(0.01)
        def tick(self) -> None:
            if len(self.seen) < 2:
                self.producer.message_note(len(self.seen))
                wait_until(lambda: self.seen, SOON)

    server = served(endpoint, spans, Ticking)
    server.producer = sender(endpoint, spans)
    with running(server):
        wait_until(lambda: len(server.seen) >= 2 and len(spans.all) >= 4, SOON)

    name = endpoint.queue
    assert spans.trees[:2] == [(f"publish {name}:rk", [(f"process {name}:rk:{name}", [])])] * 2


# --- what spans tell


def test_the_attributes_of_a_message(endpoint: Endpoint, spans: Spans):
    with running(served(endpoint, spans)):
        sender(endpoint, spans).message_note(SECRET, _message_id="m1")
        sent, handled = spans.wait(2)

    name = endpoint.queue
    assert (sent.kind, handled.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    both = {
        "messaging.system": "rabbitmq",
        "messaging.rabbitmq.destination.routing_key": "rk",
        "postage.message.name": "note",
    }
    assert sent.attributes == both | {
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": f"{name}:rk",
    }
    assert handled.attributes == both | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": f"{name}:rk:{name}",
        "messaging.message.id": "m1",
        "postage.message.attempt": 1,
    }
    assert handled.parent == handled.links[0].context
    assert (sent.status.status_code, handled.status.status_code) == (StatusCode.UNSET,) * 2
    assert sent.instrumentation_scope.schema_url.endswith("/1.44.0")


@pytest.mark.parametrize(
    ("ask", "code", "failures"),
    [
        ("value", "success", 0),
        ("error", "error", 0),
        ("raise", "KeyError", 1),
        ("none", "NoReply", 0),
    ],
)
def test_the_outcome_of_a_call(
    endpoint: Endpoint, spans: Spans, ask: str, code: str, failures: int
):
    with running(served(endpoint, spans)):
        sender(endpoint, spans).rpc_ask(ask)
        called, answered = spans.wait(2)

    assert called.name == answered.name == f"{endpoint.queue}/ask"
    assert (called.kind, answered.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert answered.parent.span_id == called.context.span_id
    assert not answered.links
    for each in (called, answered):
        assert each.attributes["rpc.system.name"] == "postage"
        assert each.attributes["rpc.method"] == each.name
        assert each.attributes["rpc.response.status_code"] == code
        failed = code != "success"
        assert each.attributes.get("error.type") == (code if failed else None)
        assert (each.status.status_code is StatusCode.ERROR) == failed
    assert not called.events
    assert len(answered.events) == failures


def test_a_call_spans_the_time_until_its_result(endpoint: Endpoint, spans: Spans):
    with running(served(endpoint, spans)):
        sender(endpoint, spans).rpc_ask("value")
        called, answered = spans.wait(2)

    assert called.start_time < answered.start_time < answered.end_time
    assert called.end_time > answered.start_time


def test_a_failed_handler_is_recorded(endpoint: Endpoint, spans: Spans):
    with running(served(endpoint, spans)):
        sender(endpoint, spans).message_fail()
        sent, handled = spans.wait(2)

    (event,) = handled.events
    assert (handled.status.status_code, handled.status.description) == (
        StatusCode.ERROR,
        "KeyError",
    )
    assert handled.attributes["error.type"] == "KeyError"
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.message"] == "'missing'"
    assert "raise KeyError(" in event.attributes["exception.stacktrace"]
    assert sent.status.status_code is StatusCode.UNSET


def test_an_error_of_sending_is_recorded(endpoint: Endpoint, spans: Spans):
    producer = sender(endpoint, spans, mandatory=True)
    with pytest.raises(NoRoute):
        producer.message_note()
    assert producer.rpc_note().value == "NoRoute"

    message, call = spans.all
    assert message.attributes["error.type"] == "postage.errors.NoRoute"
    assert call.attributes["error.type"] == "NoRoute"
    assert message.events
    assert not call.events


def test_an_unknown_call_names_no_span_of_the_server(endpoint: Endpoint, spans: Spans):
    name = "x" * 5000
    with running(served(endpoint, spans)):
        getattr(endpoint.producer(), f"rpc_{name}")()
        (answered,) = spans.wait(1)

    assert answered.name == "postage"
    assert answered.attributes["rpc.method"] == "_OTHER"
    assert len(answered.attributes["rpc.method_original"]) < 300
    assert answered.attributes["error.type"] == "UnknownCommand"


def test_names_that_peers_wrote_are_bounded(endpoint: Endpoint, raw: Raw, spans: Spans):
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("x\n\x1b" * 9000, 1).body)
    with running(served(endpoint, spans)):
        raw.send(endpoint.exchange.name, endpoint.key, body.encode(), message_id="\n" * 255)
        (handled,) = spans.wait(1)

    texts = [value for value in handled.attributes.values() if isinstance(value, str)]
    assert all(text.isprintable() and len(text) < 300 for text in [handled.name, *texts])


def test_neither_bodies_nor_secrets_are_in_spans(endpoint: Endpoint, raw: Raw, spans: Spans):
    """The ids and queues of replies would let a reader of traces answer a call."""
    seen: list[Any] = []

    class Looks(Server):
        @Answers("command", "look")
        def look(self, content: Any, reply: Any) -> str:
            seen.append(green.message()._delivery.properties)
            return SECRET

    with running(served(endpoint, spans, Looks)):
        producer = sender(endpoint, spans)
        producer.message_note(SECRET, _headers={"x-token": SECRET})
        producer.rpc_look(SECRET)
        exported = "".join(span.to_json() for span in spans.wait(4))

    (properties,) = seen
    for each in (SECRET, properties.correlation_id, properties.reply_to):
        assert each not in exported


# --- headers


DAMAGED: list[Any] = [
    *("", "00", "-" * 55, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\n" * 55, "x" * 100_000),
    *("ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "00-" + "G" * 32 + "-" + "1" * 16 + "-01"),
    *(5, True, None, -1, [], ["00"], {"a": 1}, b"\xff\xfe", "\u0661" * 55),
]
SOUND = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


@pytest.mark.parametrize("header", DAMAGED, ids=lambda each: ascii(each)[:20])
def test_damaged_headers_do_no_harm(
    endpoint: Endpoint, raw: Raw, spans: Spans, caplog: Any, header: Any
):
    """The message begins a trace of its own; a good header still counts beside a bad one."""
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("note", 1).body).encode()
    server = served(endpoint, spans)
    way = endpoint.exchange.name, endpoint.key, body
    with running(server):
        raw.send(*way, headers={"traceparent": header, "tracestate": "a=b"})
        raw.send(*way, headers={"traceparent": SOUND, "tracestate": header})
        first, second = spans.wait(2)

    assert server.seen == [1, 1]
    assert first.parent is None
    assert not first.links
    assert f"{second.parent.trace_id:x}-{second.parent.span_id:x}" == SOUND[3:-3]
    assert not caplog.records


def test_headers_that_nobody_can_decode_do_no_harm(spans: Spans):
    """Brokers refuse most of them, so the delivery is a made-up one."""

    class Undecodable:
        exchange, routing_key, origin, redelivered, header = "e", "k", "q", False, b""

        @property
        def properties(self) -> Any:
            raise MalformedMessage("broken")

    message = ReceivedMessage(Undecodable(), lambda _: {})  # type: ignore[arg-type]
    message.note_body({"type": "command", "name": "note", "category": "message"})
    handling = spans.hook.handle(message)
    next(handling)
    with pytest.raises(StopIteration):
        handling.send(Handled(1, ()))

    assert [span.name for span in spans.all] == ["process e:k:q"]


def test_another_propagator_may_carry_baggage(endpoint: Endpoint, spans: Spans):
    class Reads(Recorder):
        @Answers("command", "tenant")
        def tenant(self, content: Any, reply: Any) -> Any:
            return baggage.get_baggage("tenant") or "none"

    hook = Tracing(spans.provider, propagator=propagate.get_global_textmap())
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        with running(served(endpoint, spans, Reads, around=[hook])):
            assert sender(endpoint, spans).rpc_tenant().value == "none"
            producer: Any = endpoint.producer(around=[hook])
            assert producer.rpc_tenant().value == "acme"
    finally:
        context.detach(token)


def test_the_state_of_the_trace_travels_on(endpoint: Endpoint, raw: Raw, spans: Spans):
    class Relay(Recorder):
        @Handles("command", "relay")
        def relay(self, content: Any) -> None:
            self.producer.message_on(_key="on")

    body = messaging.JsonEncoder.encode(messaging.MessageCommand("relay").body).encode()
    headers = {"traceparent": SOUND, "tracestate": "vendor=1, t@v=x"}
    server = served(endpoint, spans, Relay)
    server.producer = sender(endpoint, spans)
    queue = raw.declare(endpoint.sub("on"))
    with running(server):
        raw.channel.queue_bind(queue, endpoint.exchange.name, "on")
        raw.send(endpoint.exchange.name, endpoint.key, body, headers=headers)
        sent = raw.take(queue).properties.headers

    assert sent["tracestate"] == "vendor=1,t@v=x"
    assert sent["traceparent"] == traceparent(spans.one(f"publish {endpoint.queue}:on"))
    assert sent["traceparent"][:36] == SOUND[:36]


def test_a_context_that_the_program_gives_stays(
    endpoint: Endpoint, raw: Raw, spans: Spans, queue: str
):
    """The conventions say so for messages; a call is always below its own span."""
    given = {"traceparent": SOUND, "tracestate": "a=b"}
    producer = sender(endpoint, spans)
    producer.message_note(_headers=given)
    producer.rpc_queue_note(_headers=given)
    message, call = (raw.take(queue).properties.headers for _ in range(2))
    sent, called = spans.all

    assert message == given
    assert f"{sent.links[0].context.span_id:x}" == "2" * 16
    assert call == {"traceparent": traceparent(called)}


def test_spans_that_are_not_sampled_cost_no_trace(endpoint: Endpoint, spans: Spans, raw: Raw):
    """The decision of the sender is that of all others."""
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("note", 1).body).encode()
    server = served(endpoint, spans)
    with running(server):
        headers = {"traceparent": f"{SOUND[:-2]}00"}
        raw.send(endpoint.exchange.name, endpoint.key, body, headers=headers)
        wait_until(lambda: server.seen, SOON)

    assert not spans.all
