"""Dispatch: runs the handlers of one message and decides what becomes of the message.  No I/O.

Replies go to a function.  These rules are here and nowhere else: which handler gets a copy, what
each exception means, and what the caller of an RPC hears.
"""

from __future__ import annotations

import copy
import enum
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from postage.errors import AckAndRestart, ExitScheduler, FilterError, RejectMessage
from postage.handlers import Handler, MessageFilter
from postage.message import NO_REPLY, UNKNOWN_COMMAND, MessageResultException

__all__ = [
    "Bound",
    "HandlerKilled",
    "NextAction",
    "Outcome",
    "Reply",
    "Verdict",
    "dispatch",
    "perform",
]

logger = logging.getLogger(__name__)

Bound = tuple[Callable[..., Any], str | None]
"""A bound method, and the part of the body that it gets (None: all of it)."""


class Verdict(enum.Enum):
    """What the broker is told about the message."""

    ACK = enum.auto()
    REJECT = enum.auto()


class NextAction(enum.IntEnum):
    """What the processor does next; if handlers ask for several, the greatest wins."""

    CONTINUE = 0
    STOP = 1
    QUIT = 2
    EXIT = 3
    RESTART = 4


# By these a handler says what the processor does next; the message counts as handled.
_ENDINGS: dict[type[BaseException], NextAction] = {
    StopIteration: NextAction.STOP,
    ExitScheduler: NextAction.EXIT,
    AckAndRestart: NextAction.RESTART,
}


HANDLER_VARIABLE = "handler"
"""The local variable in which functions of this module hold the handler that they call; by it
`green.amqp.blocker` finds the handler that holds up a hub."""


class Outcome:
    """The result of one message: the verdict, and what its handlers raised."""

    # Defaults on the class: hardly any message changes them.
    verdict: Verdict = Verdict.ACK
    next_action: NextAction = NextAction.CONTINUE
    filtered: int = 0
    """How many handlers a filter kept from the message."""

    def __init__(self, name: str, handlers: int) -> None:
        self.name = name
        """The name of the message; empty for a job, which has none."""
        self.handlers = handlers
        """How many handlers were found for the message."""
        self.failures: list[BaseException] = []
        """What handlers raised, `RejectMessage` included."""

    def note(self, exc: BaseException) -> None:
        """Record what a handler raised."""
        ending = next((after for type_, after in _ENDINGS.items() if isinstance(exc, type_)), None)
        if ending is not None:
            self.next_action = max(self.next_action, ending)
            return
        self.verdict = Verdict.REJECT
        self.failures.append(exc)


class Reply:
    """The reply function of one RPC: call it once, with a result message or with any value.

    A handler that returns a value other than None need not call it: that value is the reply then.
    To answer after the handler has returned, call `later`, keep the function, and call it from
    another greenlet.  A second reply is counted, logged and dropped.
    """

    __slots__ = ("_on_second", "_send", "deferred", "sent")

    def __init__(
        self, send: Callable[[Any], None], on_second: Callable[[], None] = lambda: None
    ) -> None:
        self._send, self._on_second = send, on_second
        self.sent = False
        """True once a reply was sent."""
        self.deferred = False
        """True once the handler has promised a reply by `later`."""

    def __call__(self, result: Any) -> None:
        """Send *result*; raises `EncodingError`, and sends nothing, if it cannot be encoded.

        Switches greenlets only while the broker takes no data.
        """
        if self.sent:
            self._on_second()
            logger.warning("A second reply to one RPC was dropped; call the reply function once.")
            return
        self._send(result)
        self.sent = True

    def later(self) -> Reply:
        """Promise a reply after the handler has returned; return the reply function itself.

        Until then the caller waits, at most for its timeout.  What the handler returns is ignored;
        an exception that it raises is still sent to the caller.
        """
        self.deferred = True
        return self

    @property
    def is_due(self) -> bool:
        """True until a reply was sent or promised."""
        return not (self.sent or self.deferred)


class HandlerKilled(BaseException):
    """Raised in a handler that has no time left to finish: no verdict, no reply."""


class _Filtered(Exception):
    """A filter discarded the message for one handler; the cause is what the filter raised."""


def dispatch(
    body: dict[str, Any],
    found: Sequence[Bound],
    *,
    reply: Reply | None = None,
    answer_unknown: bool = True,
) -> Outcome:
    """Run the handlers *found* for *body*, a checked message; return the outcome.

    *reply* is given for RPCs only: then only the last handler defined runs, and the caller always
    gets a reply, except from a processor that does not `answer_unknown` messages.  Raises nothing
    that a handler raised, except `HandlerKilled`.
    """
    outcome = Outcome(body["name"], len(found))
    if reply is not None:
        _serve(body, found, reply, outcome, answer_unknown=answer_unknown)
        return outcome
    last = len(found)
    for place, (handler, part) in enumerate(found, 1):
        try:
            message = body if part is None else body[part]
            if place < last:  # the last handler can have the original
                message = copy.deepcopy(message)
            filters = _filters_of(handler)
            handler(message if filters is None else _filtered(handler, filters, message))
        except _Filtered:  # noqa: PERF203 - each handler fails on its own
            outcome.filtered += 1
        except BaseException as exc:  # a handler may raise anything
            _judge(exc, handler, outcome)
    return outcome


def _serve(
    body: dict[str, Any],
    found: Sequence[Bound],
    reply: Reply,
    outcome: Outcome,
    *,
    answer_unknown: bool,
) -> None:
    """Run the last handler defined; send what it returns, or an exception result."""
    if not found:
        if answer_unknown:
            reply(MessageResultException(UNKNOWN_COMMAND, f"nobody here handles {outcome.name!r}"))
        return
    handler, part = found[-1]
    try:
        message = body if part is None else body[part]
        filters = _filters_of(handler)
        returned = handler(
            message if filters is None else _filtered(handler, filters, message), reply
        )
        if reply.is_due:
            reply(_result(returned, outcome.name))
    except _Filtered as exc:
        outcome.filtered += 1
        _send_exception(reply, exc.__cause__ or exc)
    except BaseException as exc:
        _judge(exc, handler, outcome)
        _send_exception(reply, exc)


def _result(returned: Any, name: str) -> Any:
    """Return the reply of a handler that has not called its reply function."""
    if isinstance(returned, Handler):  # the handler is a class, and making one handles the message
        returned = returned.returned
    if returned is None:
        return MessageResultException(NO_REPLY, f"the handler of {name!r} did not reply")
    return returned


def _send_exception(reply: Reply, exc: BaseException) -> None:
    """Tell the caller about *exc*, unless the handler replied before it raised."""
    if not reply.sent:
        reply(MessageResultException(type(exc).__name__, _text_of(exc)))


def perform(handler: Callable[[], object]) -> Outcome:
    """Run one turn of a periodic job; return the outcome, by the same rules as `dispatch`."""
    outcome = Outcome("", 1)
    try:
        handler()
    except BaseException as exc:  # as a handler, a job may raise anything
        _judge(exc, handler, outcome)
    return outcome


def _filters_of(handler: Any) -> list[MessageFilter] | None:
    # Not from a bound method itself: it would raise and format an error, ten times as long.
    return getattr(getattr(handler, "__func__", handler), "filters", None)


def _filtered(handler: Any, filters: Iterable[MessageFilter], message: Any) -> Any:
    """Return what the filters make of *message*; raise `_Filtered` if one of them raises."""
    try:
        for each in filters:
            message = each.apply(message)
    except HandlerKilled:
        raise
    except BaseException as exc:  # a filter may raise anything, as a handler may
        expected = isinstance(exc, FilterError)
        logger.log(
            logging.DEBUG if expected else logging.WARNING,
            "A filter of %s discarded a message: %s: %s",
            name_of(handler),
            type(exc).__name__,
            _text_of(exc),
            exc_info=not expected,
        )
        raise _Filtered from exc
    return message


def _judge(exc: BaseException, handler: Any, outcome: Outcome) -> None:
    """Record and log what *handler* raised; raise it again if the processor killed the handler."""
    if isinstance(exc, HandlerKilled):
        raise exc
    outcome.note(exc)
    if not outcome.failures or outcome.failures[-1] is not exc:
        return
    subject = f"the message {outcome.name!r}" if outcome.name else "one of its turns"
    if isinstance(exc, RejectMessage):
        logger.info("%s rejected %s: %s", name_of(handler), subject, _text_of(exc))
    else:
        logger.error("%s failed on %s.", name_of(handler), subject, exc_info=exc)


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as second:  # an exception of the user's may raise in its own __str__
        if isinstance(second, HandlerKilled):
            raise
        return f"(its __str__ raised {type(second).__name__})"


def name_of(handler: Any) -> str:
    """Return the qualified name of *handler*, for the log."""
    function = handler.func if isinstance(handler, functools.partial) else handler
    # A bound `Handler` class has no name of its own, but the class has.
    function = getattr(function, "__func__", function)
    return getattr(function, "__qualname__", repr(handler))
