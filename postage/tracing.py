"""Traces of messages and calls by OpenTelemetry: see `Tracing` and docs/tracing.md.

How it works
------------
`Tracing` is a hook (`postage.around`).  Around sending, it starts a span and writes the context of
this span into the headers, as W3C trace context (``traceparent``, ``tracestate``).  Around
handling, it reads them, and starts a span below that of the sender.  This span is the current one
while the handlers run, so what they send is below it.

Three things complicate this:

* **Greenlets.**  OpenTelemetry keeps the current span in a context variable.  Each message has a
  greenlet of its own, with an empty context, so no message sees the span of another.  But what a
  handler spawns has an empty context, too.  So the context of a message is also kept in the
  dictionary that gevent shares with these greenlets, and is used where no span is current.
* **Headers are written by peers.**  Only short texts of printable ASCII reach the propagator, and a
  ``tracestate`` only if it is well-formed, because OpenTelemetry logs a warning for each other one.
* **Names are written by peers.**  They are cut and escaped (`one_line`), and the name of a call
  without a handler is no part of the name of a span, of which backends expect few.

Attributes are named in here rather than taken from the package of OpenTelemetry that lists them,
because the names may change with each release of that package.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gevent

from postage._version import __version__
from postage.around import Around, Handled, OutgoingMessage
from postage.errors import MalformedMessage, SettingsError
from postage.foreign_text import one_line, traceback_text
from postage.message import ERROR, SUCCESS, MessageResult
from postage.received import ReceivedMessage

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Link, Span, TracerProvider

__all__ = ["Tracing"]

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that names of spans and attributes follow."""

_NOT_INSTALLED = "Tracing needs opentelemetry-api: install it, or Postage with its extra `otel`"
_TREE, _CONTEXT = "spawn_tree_locals", "postage.trace-context"
_LONGEST = 255
"""Characters of a name in an attribute; names in AMQP have no more bytes."""
_LONGEST_HEADER = 512
"""Characters of a header that is read.  W3C demands that much of a ``tracestate``."""
_OTHER = "_OTHER"
"""What the conventions call a method that the server does not know."""


class Tracing(Around):
    """Makes a span of OpenTelemetry for each message that is sent or handled, and for each call.

    List one instance in ``around`` of processors and producers, as the first.  *tracer_provider*
    makes the spans; None: the global one, also if it is set later.  *propagator* writes and reads
    the headers; None: that of W3C trace context.

    Raises `SettingsError` if opentelemetry-api (the extra ``otel``) is not installed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        try:
            from opentelemetry import context, trace  # noqa: PLC0415 - an extra
            from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - as above
        except ImportError:
            raise SettingsError(_NOT_INSTALLED) from None
        self._context, self._trace = context, trace
        self._propagator = propagator or tracecontext.TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("postage", __version__, tracer_provider, SCHEMA)

    def handle(self, message: ReceivedMessage) -> Generator[None, Handled, None]:
        """Make a span of the message or call, below that of its sender."""
        trace, around = self._trace, self._context.get_current()
        parent = self._propagator.extract(_headers_of(message), around, _GETTER)
        is_call = message.category == "rpc"
        name, attributes = (_served if is_call else _processed)(message)
        kind = trace.SpanKind.SERVER if is_call else trace.SpanKind.CONSUMER
        links = []
        if parent is not around:
            links = self._links(around) if is_call else self._links(parent) + self._links(around)
        span = self._tracer.start_span(name, parent, kind, attributes, links)
        own = trace.set_span_in_context(span, parent)
        getattr(gevent.getcurrent(), _TREE, {})[_CONTEXT] = own
        token = self._context.attach(own)
        try:
            handled = yield
            self._note_handled(span, message, handled)
        except BaseException as exc:
            self._note_error(span, exc)
            raise
        finally:
            self._context.detach(token)
            span.end()

    def send(self, message: OutgoingMessage) -> Generator[None, MessageResult | None, None]:
        """Make a span of the message or call, and write its context into the headers."""
        trace, around = self._trace, self._current()
        name, attributes = (_called if message.is_call else _published)(message)
        kind = trace.SpanKind.CLIENT if message.is_call else trace.SpanKind.PRODUCER
        given = self._given(message)
        span = self._tracer.start_span(name, around, kind, attributes, given)
        if not given:
            self._propagator.inject(message.headers, trace.set_span_in_context(span, around))
        try:
            result = yield
            if result is not None:
                self._note_result(span, result)
        except BaseException as exc:
            self._note_error(span, exc)
            raise
        finally:
            span.end()

    # --- contexts

    def _current(self) -> Context:
        """Return the context of what is sent: the current one, or that of the message in hand."""
        current = self._context.get_current()
        if current and self._trace.get_current_span(current) is not self._trace.INVALID_SPAN:
            return current
        tree = getattr(gevent.getcurrent(), _TREE, None)
        found: Context = current if tree is None else tree.get(_CONTEXT, current)
        return found

    def _links(self, context: Context) -> list[Link]:
        """Return a link to the span of *context*, if it has one."""
        if not context:  # nearly always: the look at its span would be slow
            return []
        span = self._trace.get_current_span(context).get_span_context()
        return [self._trace.Link(span)] if span.is_valid else []

    def _given(self, message: OutgoingMessage) -> list[Link]:
        """Return a link to the context that the program itself has given a message, if any.

        If there is none, or *message* is a call, leaves no headers of another context.
        """
        headers = message.headers
        if not headers:
            return []
        if not message.is_call:
            empty = self._context.Context()
            links = self._links(self._propagator.extract(headers, empty, _GETTER))
            if links:
                return links
        for name in self._propagator.fields:
            headers.pop(name, None)
        return []

    # --- outcomes

    def _note_handled(self, span: Span, message: ReceivedMessage, handled: Handled) -> None:
        if not handled.handlers and message.category == "rpc":
            span.update_name(_SYSTEM)
            name = one_line(message.name, _LONGEST)
            span.set_attributes({"rpc.method": _OTHER, "rpc.method_original": name})
        for error in handled.failures:
            self._note_error(span, error)
        if handled.result is not None:
            self._note_result(span, handled.result)

    def _note_result(self, span: Span, result: MessageResult) -> None:
        kind = result.kind
        code = kind if kind in {SUCCESS, ERROR} else one_line(result.value, _LONGEST)
        span.set_attribute("rpc.response.status_code", code)
        if not result:
            self._set_failed(span, code)

    def _note_error(self, span: Span, error: BaseException) -> None:
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        kind = one_line(kind, _LONGEST)
        # Not by `record_exception`, whose `str` of the error may raise, and has no limit.
        told = {
            "exception.type": kind,
            "exception.message": one_line(error),
            "exception.stacktrace": traceback_text(error),
        }
        span.add_event("exception", told)
        self._set_failed(span, kind)

    def _set_failed(self, span: Span, kind: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))


# --- names and attributes

_Description = tuple[str, Mapping[str, Any]]
"""The name of a span and its attributes."""
_SYSTEM = "postage"
_KINDS = 1024
"""How many kinds of messages are kept with their descriptions."""


def _published(message: OutgoingMessage) -> _Description:
    name = one_line(message.name, _LONGEST)
    if len(message.targets) == 1:
        exchange, key = message.targets[0]
        return _publish(exchange.name, key, name)
    count = {"messaging.batch.message_count": len(message.targets)}
    return "publish", {**_PUBLISH, "postage.message.name": name, **count}


_PUBLISH = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
}


@lru_cache(maxsize=_KINDS)
def _publish(exchange: str, key: str, name: str) -> _Description:
    attributes = {**_PUBLISH, "postage.message.name": name}
    destination = _add_destination(attributes, exchange, key)
    return f"publish {destination}", MappingProxyType(attributes)


def _called(message: OutgoingMessage) -> _Description:
    exchange, key = message.targets[0]
    return _call(exchange.name, key, one_line(message.name, _LONGEST))


def _served(message: ReceivedMessage) -> _Description:
    return _call(message.exchange, message.routing_key, one_line(message.name, _LONGEST))


@lru_cache(maxsize=_KINDS)
def _call(exchange: str, key: str, name: str) -> _Description:
    exchange, key = one_line(exchange, _LONGEST), one_line(key, _LONGEST)
    method = f"{exchange or key}/{name}"
    attributes = {
        "rpc.system.name": _SYSTEM,
        "rpc.method": method,
        "messaging.system": "rabbitmq",
    }
    _add_destination(attributes, exchange, key)
    return method, MappingProxyType(attributes)


def _processed(message: ReceivedMessage) -> _Description:
    name = one_line(message.name, _LONGEST)
    title, usual = _process(message.exchange, message.routing_key, message.queue, name)
    attributes = {**usual, "postage.message.attempt": message.attempt}
    with suppress(MalformedMessage):
        if message.id is not None:
            attributes["messaging.message.id"] = one_line(message.id, _LONGEST)
    return title, attributes


@lru_cache(maxsize=_KINDS)
def _process(exchange: str, key: str, queue: str, name: str) -> _Description:
    exchange, key, queue = (one_line(each, _LONGEST) for each in (exchange, key, queue))
    attributes: dict[str, Any] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "postage.message.name": name,
    }
    destination = _add_destination(attributes, exchange, key, queue)
    if queue.startswith("amq."):  # the broker has named it, for one process
        attributes["messaging.destination.anonymous"] = True
        destination = _joined(exchange, key)
    return f"process {destination}", MappingProxyType(attributes)


def _add_destination(attributes: dict[str, Any], exchange: str, key: str, queue: str = "") -> str:
    """Add the attributes of a destination; return its name."""
    name = _joined(exchange, key, queue) or "amq.default"
    attributes["messaging.destination.name"] = name
    if key:
        attributes["messaging.rabbitmq.destination.routing_key"] = key
    return name


def _joined(exchange: str, key: str, queue: str = "") -> str:
    """Return the name of a destination, as the conventions for RabbitMQ demand."""
    return ":".join(filter(None, (exchange, key, queue if queue != key else "")))


# --- headers


_KEY = r"[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13}"
_MEMBER = re.compile(rf"(?:{_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
"""A member of ``tracestate``, by the grammar of W3C."""


class _HeaderGetter:
    """Reads headers for a propagator, which expects those of HTTP: texts without surprises."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        """Return a header, as the only one in a list; None if it is missing or damaged."""
        value = carrier.get(key)
        if not isinstance(value, str) or len(value) > _LONGEST_HEADER:
            return None
        if not (value.isascii() and value.isprintable()):
            return None
        if key == "tracestate":
            members = (each.strip(" ") for each in value.split(","))
            if not all(_MEMBER.fullmatch(each) for each in members if each):
                return None
        return [value]

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        """Return the names of all headers."""
        return [*carrier]


_GETTER: Any = _HeaderGetter()


def _headers_of(message: ReceivedMessage) -> Mapping[str, Any]:
    try:
        return message.headers
    except MalformedMessage:  # its handlers get it nevertheless
        return {}
