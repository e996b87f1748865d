"""Hooks of users around one message: runs for components with ``around`` only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from postage.addressing import Eks
from postage.around import Handled, OutgoingMessage, Watch, hooks_of
from postage.dispatch import Bound, HandlerKilled, Outcome, dispatch
from postage.encoding import Forwarded
from postage.errors import SettingsError
from postage.green.amqp.delivery import Delivery
from postage.green.handling.current import message
from postage.green.rpc.pending import CallRequest
from postage.green.rpc.serving import serve
from postage.log_records import counted, logger_of
from postage.message import Message, MessageResult
from postage.send_options import SendOptions, options_from

# fmt: off
__all__ = [
    "handled_of", "outgoing_message", "watched", "watched_call", "watched_handling",
    "watched_sending",
]
# fmt: on

logger = logger_of(__name__)

T = TypeVar("T")


def watched_handling(
    processor: Any,
    delivery: Delivery,
    body: dict[str, Any],
    found: Sequence[Bound],
    *,
    again: bool = False,
) -> Outcome | None:
    """Let the hooks of *processor* watch how *delivery* is handled; return the outcome.

    *again*: its handlers have run before.  None: it was a call whose caller has given up.  Switches
    if hooks or handlers do.
    """

    def handle() -> Outcome | None:
        if body["category"] == "rpc":
            return serve(processor, delivery, body, found)
        return dispatch(body, found, arrived=None if again else delivery)

    return watched(processor, body, handle)


def watched(
    processor: Any, body: dict[str, Any], handle: Callable[[], Outcome | None]
) -> Outcome | None:
    """Let the hooks of *processor* watch how *handle* handles the message in hand.

    *body* is that of the message, before any handler has got it.  Returns what *handle* returns.
    """
    view = message()
    view.note_body(body)
    hooks = [partial(hook.handle, view) for hook in hooks_of(processor.around, "handle")]
    return Watch(HandlerKilled).run(hooks, handle, handled_of)


def handled_of(outcome: Outcome | None) -> Handled:
    """Return what hooks get of a message with this *outcome*; None: the message was dropped."""
    if outcome is None:
        return Handled(0, ())
    reply = outcome.reply
    result = None
    if reply is not None and reply.sent:
        sent = reply.result
        result = sent if isinstance(sent, MessageResult) else MessageResult(sent)
    return Handled(outcome.handlers, tuple(outcome.failures), result)


def watched_sending(
    producer: Any,
    outgoing: OutgoingMessage,
    options: SendOptions | None,
    send: Callable[[SendOptions | None], T],
) -> T:
    """Let the hooks of *producer* watch how *outgoing* is sent; return what *send* returns.

    *send* gets the options of the message, with the headers that hooks have added.
    """
    given = {} if options is None else options.headers or {}
    if given:
        outgoing.headers.update(deepcopy(given))

    def send_now() -> T:
        if outgoing.headers == given:
            return send(options)
        return send(_with_headers(options, outgoing.headers, type(producer).__name__))

    def told(result: object) -> MessageResult | None:
        return result if isinstance(result, MessageResult) else None

    hooks = [partial(hook.send, outgoing) for hook in hooks_of(producer.around, "send")]
    return Watch().run(hooks, send_now, told)


def watched_call(producer: Any, request: CallRequest, make: Callable[[], T]) -> T:
    """Let the hooks of *producer* watch the call *request*; return what *make* returns."""

    def send(options: SendOptions | None) -> T:
        request.options = options
        return make()

    request.is_watched = True
    targets = ((request.exchange, request.key),)
    outgoing = outgoing_message(producer, request.message, request.body, targets, is_call=True)
    return watched_sending(producer, outgoing, request.options, send)


def outgoing_message(
    producer: Any,
    message: Message | Forwarded | None,
    encoded: bytes,
    targets: Eks,
    *,
    is_call: bool = False,
) -> OutgoingMessage:
    """Return what the hooks of *producer* get of *message*, which it has *encoded*."""
    body = None if message is None else message.body
    name = str(body.get("name", "")) if isinstance(body, dict) else ""
    return OutgoingMessage(name, tuple(targets), partial(_decoded, producer, encoded), is_call)


def _decoded(producer: Any, encoded: bytes) -> Any:
    try:
        return producer.encoder.decode(encoded)
    except Exception:
        return None


def _with_headers(
    options: SendOptions | None, headers: dict[str, Any], sender: str
) -> SendOptions | None:
    """Return *options* with the *headers* of a hook, or as they are if those cannot be sent."""
    try:
        checked = options_from({"_headers": headers})
    except SettingsError as exc:
        text = "%s: the headers of a hook cannot be sent, and are left out: %s"
        logger.error(text, sender, exc, extra=counted(sender))  # noqa: TRY400 - the place is known
        return options
    assert checked is not None
    return checked if options is None else replace(options, headers=checked.headers)
