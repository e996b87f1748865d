"""Handling one message in a test, without a broker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postage.around import Handled
    from postage.green import MessageProcessor
    from postage.green.amqp.properties import Properties

__all__ = ["handle"]


def handle(  # noqa: PLR0913 - a message has so many parts
    processor: MessageProcessor | Callable[[], MessageProcessor],
    body: Any,
    *,
    properties: Mapping[str, Any] | Properties | None = None,
    headers: Mapping[str, Any] | None = None,
    queue: str = "",
    exchange: str = "",
    routing_key: str = "",
    redelivered: bool = False,
    within: float = 5.0,
) -> Handled:
    """Let the handlers of *processor* handle one message here and now; return what came of it.

    *processor* is a class, or a function without arguments, that makes one; or an instance.  *body*
    is what a peer would send: ``bytes`` and ``bytearray`` as they are, a `Message` or anything else
    by the processor's encoder.  *properties* are those of AMQP by name (``message_id``,
    ``reply_to``, ...), *headers* one of them.  All of it is what `green.message` then shows.

    The handlers run once, in this greenlet, with their filters and the hooks of ``around``.  An
    exception of a handler is raised as it is; that of the first one if several have failed, but
    `GiveUp` and `RejectMessage` before others.  Raises `MalformedMessage` for a body that is no
    message.  Nothing is acknowledged, tried again or parked.

    Returns a `Handled`: ``handlers``, how many the message had (0: nothing takes it), and
    ``result``, the reply to a call.  For a promised reply (`Reply.later`) it waits *within*
    seconds, and then raises AssertionError.  Switches if the handlers do.

    A processor that this function makes, and all that its constructor and its handlers make, is
    connected to a broker inside this process, which ends with the call: no other broker is needed,
    and what handlers send goes nowhere.  An instance keeps the broker with which it was made.
    """
    __tracebackhide__ = True
    # Only here: importing this package loads no gevent, so that a test can patch before it does.
    from postage.green import MessageProcessor  # noqa: PLC0415
    from postage.green.handling.without_broker import (  # noqa: PLC0415
        handle_without_broker,
        made_delivery,
    )

    given = _properties(properties, headers)
    with contextlib.ExitStack() as stack:
        made = processor
        if not isinstance(made, MessageProcessor):
            from postage.testing.sandbox import sandbox  # noqa: PLC0415 - as above

            stack.enter_context(sandbox())
            made = _made(processor)
        delivery = made_delivery(
            _encoded(made, body),
            given,
            queue=queue,
            exchange=exchange,
            routing_key=routing_key,
            redelivered=redelivered,
        )
        return handle_without_broker(made, delivery, within)


def _made(source: Any) -> MessageProcessor:
    from postage.green import MessageProcessor  # noqa: PLC0415 - as above

    made = source() if callable(source) else source
    if not isinstance(made, MessageProcessor):
        raise TypeError(f"{source!r:.200} is no processor, and makes none")
    return made


def _properties(
    properties: Mapping[str, Any] | Properties | None, headers: Mapping[str, Any] | None
) -> Properties:
    from postage.green.amqp.properties import Properties  # noqa: PLC0415 - as above

    if isinstance(properties, Properties):
        if headers is None:
            return properties  # which may be such that nobody can decode them
        properties = properties.as_dict()
    values = dict(properties or {})
    if headers is not None:
        values["headers"] = dict(headers)
    return Properties(**values)


def _encoded(processor: MessageProcessor, body: Any) -> bytes:
    from postage.encoding import body_of  # noqa: PLC0415 - as above
    from postage.message import Message  # noqa: PLC0415 - as above

    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    data = body.body if isinstance(body, Message) else body
    return body_of(processor.consumer.encoder, data)
