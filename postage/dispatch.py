"""Dispatch: a message in, its handlers run, a verdict out.  No I/O: replies go to a function.

The rules (who gets a copy, which exception means what) are here and nowhere else.
"""

from __future__ import annotations

import copy
import enum
import functools
import logging
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from postage.errors import AckAndRestart, ExitScheduler, FilterError, RejectMessage
from postage.handlers import MessageFilter
from postage.message import NO_REPLY, UNKNOWN_COMMAND, MessageResultException
from postage.reply import Reply

__all__ = ["Bound", "HandlerKilled", "NextAction", "Outcome", "Verdict", "dispatch", "perform"]

logger = logging.getLogger(__name__)

Bound = tuple[Callable[..., Any], str | None]
"""A handler ready to be called, and the part of the body that it gets (None: all of it)."""


class Verdict(enum.Enum):
    """What the broker is told about the message."""

    ACK = enum.auto()
    REJECT = enum.auto()


class NextAction(enum.IntEnum):
    """What becomes of the processor afterwards; of several wishes the greatest wins."""

    CONTINUE = 0
    STOP = 1
    QUIT = 2
    EXIT = 3
    RESTART = 4


# A handler's way to say what becomes of the processor; the message counts as handled.
_ENDINGS: dict[type[BaseException], NextAction] = {
    StopIteration: NextAction.STOP,
    ExitScheduler: NextAction.EXIT,
    AckAndRestart: NextAction.RESTART,
}


HANDLER_VARIABLE = "handler"
"""The local variable in which functions of this module hold the handler that they call; by it
`green.amqp.blocker` finds the handler that holds up a hub."""


class Outcome:
    """What came of one message; there are few that anything was raised for."""

    verdict: Verdict = Verdict.ACK
    next_action: NextAction = NextAction.CONTINUE
    filtered: int = 0
    """How many handlers did not get it because of a filter."""

    def __init__(self, name: str, handlers: int) -> None:
        self.name = name
        """The name of the message; empty for a job, which has none."""
        self.handlers = handlers
        """How many handlers were found for it."""
        self.failures: list[BaseException] = []
        """What handlers raised, `RejectMessage` included."""

    def note(self, exc: BaseException) -> None:
        """Take in what a handler raised."""
        ending = next((after for kind, after in _ENDINGS.items() if isinstance(exc, kind)), None)
        if ending is not None:
            self.next_action = max(self.next_action, ending)
            return
        self.verdict = Verdict.REJECT
        self.failures.append(exc)


class HandlerKilled(BaseException):
    """Thrown into a handler that its processor can wait for no longer: no verdict, no reply."""


class _Filtered(Exception):
    """A filter discarded the message for one handler; the cause is what it raised."""


def dispatch(
    body: dict[str, Any],
    found: Sequence[Bound],
    *,
    reply: Reply | None = None,
    answer_unknown: bool = True,
) -> Outcome:
    """Run the handlers *found* for a checked *body*; *reply* is given for RPCs, and only then.

    Returns what came of it; raises nothing that a handler raised, but for `HandlerKilled`.
    """
    outcome = Outcome(body["name"], len(found))
    if reply is not None:
        _dispatch_rpc(body, found, reply, answer_unknown, outcome)
        return outcome
    for place, bound in enumerate(found, 1):
        _hand(bound, body, outcome, shared=place < len(found))
    return outcome


def perform(handler: Callable[[], object]) -> Outcome:
    """Run a periodic job by the same rules; of its exceptions only `HandlerKilled` passes."""
    outcome = Outcome("", 1)
    try:
        handler()
    except BaseException as exc:  # as a handler, a job may raise anything
        _judge(exc, handler, outcome)
    return outcome


def _hand(bound: Bound, body: dict[str, Any], outcome: Outcome, *, shared: bool) -> None:
    handler, part = bound
    try:
        _run(handler, _own(body, part, shared=shared))
    except _Filtered:
        outcome.filtered += 1
    except BaseException as exc:  # a handler may raise anything
        _judge(exc, handler, outcome)


def _dispatch_rpc(
    body: dict[str, Any],
    found: Sequence[Bound],
    reply: Reply,
    answer_unknown: bool,  # noqa: FBT001 - private, and handed through
    outcome: Outcome,
) -> None:
    """The last handler defined answers; whatever happens, the caller hears of it."""
    if not found:
        if answer_unknown:
            reply(MessageResultException(UNKNOWN_COMMAND, f"nobody here handles {outcome.name!r}"))
        return
    handler, part = found[-1]
    try:
        _run(handler, _own(body, part, shared=False), reply)
    except _Filtered as exc:
        outcome.filtered += 1
        _answer(reply, exc.__cause__ or exc)
    except BaseException as exc:
        _judge(exc, handler, outcome)
        _answer(reply, exc)
    if reply.is_due:
        reply(MessageResultException(NO_REPLY, f"the handler of {outcome.name!r} did not reply"))


def _answer(reply: Reply, exc: BaseException) -> None:
    """Tell the caller of *exc*, unless the handler had answered before it raised."""
    if not reply.sent:
        reply(MessageResultException(type(exc).__name__, _text_of(exc)))


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as second:  # an exception of the user's own may not even say what it is
        if isinstance(second, HandlerKilled):
            raise
        return f"(its text cannot be had: {type(second).__name__})"


def _own(body: dict[str, Any], part: str | None, *, shared: bool) -> Any:
    """Return what a handler gets: its own copy; the last one can have the original."""
    message = body if part is None else body[part]
    return copy.deepcopy(message) if shared else message


def _run(handler: Callable[..., Any], message: Any, *more: Any) -> None:
    filters = getattr(_target(handler), "filters", None)
    handler(message if filters is None else _filtered(handler, filters, message), *more)


def _filtered(handler: Any, filters: Iterable[MessageFilter], message: Any) -> Any:
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
    if isinstance(exc, HandlerKilled):
        raise exc
    outcome.note(exc)
    if not outcome.failures or outcome.failures[-1] is not exc:
        return
    what = f"the message {outcome.name!r}" if outcome.name else "one of its turns"
    if isinstance(exc, RejectMessage):
        logger.info("%s rejected %s: %s", name_of(handler), what, _text_of(exc))
    else:
        logger.error("%s failed on %s.", name_of(handler), what, exc_info=exc)


def name_of(handler: Any) -> str:
    """Return the qualified name of *handler*, for the log."""
    return getattr(_target(handler), "__qualname__", repr(handler))


def _target(handler: Any) -> Any:
    """Return what was decorated: a `Handler` class comes as a partial with its processor."""
    if isinstance(handler, types.MethodType):
        return handler.__func__
    return handler.func if isinstance(handler, functools.partial) else handler
