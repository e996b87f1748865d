"""Hooks of users around one message: runs for components with ``around`` only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from postage.around import Handled, OutgoingMessage, Watch, hooks_of
from postage.dispatch import Bound, HandlerKilled, Outcome, dispatch
from postage.errors import SettingsError
from postage.green.amqp.delivery import Delivery
from postage.green.handling.current import message
from postage.green.rpc.pending import CallRequest
from postage.green.rpc.serving import serve
from postage.log_records import counted, logger_of
from postage.message import MessageResult
from postage.send_options import SendOptions, options_from

__all__ = ["handled_of", "watched", "watched_call", "watched_handling", "watched_sending"]

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
    if options is not None and options.headers is not None:
        outgoing.headers.update(options.headers)
    before = dict(outgoing.headers)

    def send_now() -> T:
        final = options or SendOptions()
        if outgoing.headers != before:
            final = _with_headers(final, outgoing.headers, type(producer).__name__)
        return send(replace(final, is_watched=True))

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
    target = request.exchange, request.key
    outgoing = OutgoingMessage(_decoded(producer, request.body), (target,), is_call=True)
    return watched_sending(producer, outgoing, request.options, send)


def _decoded(producer: Any, body: bytes) -> Any:
    try:
        return producer.encoder.decode(body)
    except Exception:
        return None


def _with_headers(options: SendOptions, headers: dict[str, Any], sender: str) -> SendOptions:
    """Return *options* with the *headers* of a hook, or as they are if those cannot be sent."""
    try:
        checked = options_from({"_headers": headers})
    except SettingsError as exc:
        text = "%s: the headers of a hook cannot be sent, and are left out: %s"
        logger.error(text, sender, exc, extra=counted(sender))  # noqa: TRY400 - the place is known
        return options
    assert checked is not None
    return replace(options, headers=checked.headers)
