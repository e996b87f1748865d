"""Runs the handlers of one message and decides what happens to the message.  No I/O.

Only this module knows which handler gets a copy of the message, the effect of each exception, and
which reply the caller of an RPC gets.
"""

from __future__ import annotations

import copy
import enum
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from postage.callables import close_unrun, name_of
from postage.errors import (
    AckAndRestart,
    BadParameters,
    EncodingError,
    ExitScheduler,
    FilterError,
    GiveUp,
    HandlerError,
    MalformedMessage,
    RejectMessage,
    RetryLater,
)
from postage.flight_recorder import EventKind, flight_recorder
from postage.handler_statistics import Arrived, HandlerTally, clock
from postage.handlers import Handler, MessageFilter
from postage.log_records import counted, logger_of, place_of
from postage.message import (
    NO_REPLY,
    SERVER_ERROR,
    UNKNOWN_COMMAND,
    MessageResult,
    MessageResultError,
    MessageResultException,
)

# fmt: off
__all__ = [
    "EXPOSURES", "Bound", "HandlerKilled", "NextAction", "Outcome", "Reply", "Verdict", "disclosed",
    "dispatch", "perform",
]
# fmt: on

logger = logger_of(__name__)

Bound = tuple[Callable[..., Any], str | None, HandlerTally]
"""A bound method, the part of the body that it gets (None: all of it), and what counts its runs."""


class Verdict(enum.Enum):
    """Whether the message is acknowledged or rejected."""

    ACK = enum.auto()
    REJECT = enum.auto()


ACK, REJECT = Verdict
"""Each message is compared with them: to look them up on the enum would take twice as long."""


class NextAction(enum.IntEnum):
    """The next action of the processor; if handlers ask for several, the greatest wins."""

    CONTINUE = 0
    STOP = 1
    QUIT = 2
    EXIT = 3
    RESTART = 4


# By these exceptions a handler ends the processor; the message counts as handled.
_ENDINGS: dict[type[BaseException], NextAction] = {
    StopIteration: NextAction.STOP,
    ExitScheduler: NextAction.EXIT,
    AckAndRestart: NextAction.RESTART,
}


# With these exceptions a handler says what shall become of the message: they need no traceback.
_SAID: dict[type[BaseException], str] = {
    RejectMessage: "rejected",
    GiveUp: "gave up",
    RetryLater: "put off",
    BadParameters: "refused",
}


SLOW = 1.0
"""Seconds from which on the flight record has a run of a handler."""
HANDLER_VARIABLE = "handler"
"""The local variable in which functions of this module hold the handler that they call.
`green.amqp.blocker` looks for it to find the handler that blocks a hub."""


class Outcome:
    """The result of one message: the verdict, and the exceptions of its handlers."""

    # Defaults on the class, because few messages change them.
    verdict: Verdict = ACK
    next_action: NextAction = NextAction.CONTINUE
    filtered: int = 0
    """For how many handlers a filter discarded the message."""
    reply: Reply | None = None
    """The reply function of a call."""
    tries: int = 1
    """How often the handlers have run for this delivery."""
    found: Sequence[Bound] = ()
    """The handlers that may run again, because one of them has failed."""
    failed_handlers: tuple[Any, ...] = ()
    """The handlers that have raised `failures`, in the same order."""
    tallies: tuple[HandlerTally, ...] = ()
    """What counts the runs of `failed_handlers`, in the same order."""
    body: Mapping[str, Any] = MappingProxyType({})
    """The message, if a handler has failed."""

    def __init__(self, name: str, handlers: int) -> None:
        self.name = name
        """The name of the message; empty for a job, which has none."""
        self.handlers = handlers
        """How many handlers were found for the message."""
        self.failures: list[BaseException] = []
        """The exceptions of handlers, `RejectMessage` included."""

    def record(
        self, exc: BaseException, handler: Any, tally: HandlerTally | None = None, id_: str = ""
    ) -> None:
        """Record and log an exception of *handler*; raise it again if the handler was killed.

        *tally* counts the runs of the handler; None: it is a job.  *id_* is all that the caller of
        an RPC gets to know of the exception, if not empty.
        """
        if isinstance(exc, HandlerKilled):
            raise exc
        for ending, next_action in _ENDINGS.items():
            if isinstance(exc, ending):
                self.next_action = max(self.next_action, next_action)
                return
        self.verdict = REJECT
        self.failures.append(exc)
        self.failed_handlers += (handler,)
        if tally is not None:
            self.tallies += (tally,)
            tally.note_error(exc)
        subject = f"the message {self.name!r}" if self.name else "one of its turns"
        said = next((verb for kind, verb in _SAID.items() if isinstance(exc, kind)), "")
        if said:
            told = name_of(handler), said, subject, _text_of(exc)
            logger.info("%s %s %s: %s", *told, extra=counted(name_of(handler), said))
        else:
            known_as = f" (error id {id_})" if id_ else ""
            name, sort = name_of(handler), counted(name_of(handler), *place_of(exc))
            logger.error("%s failed on %s%s.", name, subject, known_as, exc_info=exc, extra=sort)


class Reply:
    """The reply function of one RPC: call it once, with a result message or with any value.

    If a handler does not call it, the value that the handler returns is the reply, unless it is
    None.  To answer after the handler has returned, call `later`, keep the function, and call it
    from another greenlet.  A second reply is counted, logged and dropped.
    """

    __slots__ = ("_on_second", "_send", "deferred", "exposure", "result", "sent")

    def __init__(
        self,
        send: Callable[[Any], None],
        on_second: Callable[[], None] = lambda: None,
        exposure: str = "text",
    ) -> None:
        self._send, self._on_second = send, on_second
        self.exposure = exposure
        """What the caller learns of an exception: one of `EXPOSURES`."""
        self.sent = False
        """True once a reply was sent."""
        self.result: Any = None
        """What was sent last."""
        self.deferred = False
        """True once the handler has promised a reply by `later`."""

    def __call__(self, result: Any) -> None:
        """Send *result*; raises `EncodingError`, and sends nothing, if it cannot be encoded.

        Code that catches that may send another result.  After `later` the caller otherwise gets the
        error, a tenth of a second later.  Switches greenlets only while the broker takes no data.
        """
        if self.sent:
            self._count_second()
            text = "A second reply to one RPC was dropped; call the reply function once."
            logger.warning(text, extra=counted())
            return
        self.result = result
        self._deliver(result)
        self.sent = True

    def _deliver(self, result: Any) -> None:
        self._send(result)

    def _count_second(self) -> None:
        self._on_second()

    def later(self) -> Reply:
        """Promise a reply after the handler has returned; return the reply function itself.

        Until the reply arrives, the caller waits, at most for its timeout.  The value that the
        handler returns is ignored; an exception that it raises is still sent to the caller.
        """
        self.deferred = True
        return self

    @property
    def is_due(self) -> bool:
        """True until a reply was sent or promised."""
        return not (self.sent or self.deferred)


class HandlerKilled(BaseException):
    """Raised in a handler that has no time left to finish: there is no verdict and no reply."""


class _Filtered(Exception):
    """A filter discarded the message for one handler; the cause is the exception of the filter."""


def dispatch(
    body: dict[str, Any],
    found: Sequence[Bound],
    *,
    arrived: Arrived | None = None,
    reply: Reply | None = None,
    answer_unknown: bool = True,
) -> Outcome:
    """Run the handlers *found* for *body*, a checked message; return the outcome.

    *arrived* is how the message came; None: its handlers have run before, or there is no broker.
    *reply* is given for RPCs only.  Then only the handler that was defined last runs, and the
    caller always gets a reply, unless there is no handler and *answer_unknown* is False.
    Exceptions of handlers are recorded in the outcome; only `HandlerKilled` is raised.
    """
    outcome = Outcome(body["name"], len(found))
    if reply is not None:
        outcome.reply = reply
        _serve(body, found, arrived, outcome, answer_unknown=answer_unknown)
        return outcome
    left = len(found)
    for handler, part, tally in found:
        left -= 1
        began = tally.begin(body, arrived)
        try:
            message = body if part is None else body[part]
            if left:  # the last handler can have the original
                message = copy.deepcopy(message)
            filters = getattr(handler, "filters", None)
            returned = handler(_filtered(handler, filters, message) if filters else message)
            if returned is not None:
                _refuse_unrun(handler, returned)
        except _Filtered:
            outcome.filtered += 1
        except BaseException as exc:  # a handler may raise anything
            outcome.record(exc, handler, tally)
            outcome.found, outcome.body = found, body
        finally:
            _end_run(handler, tally, began)
    return outcome


def _end_run(handler: Any, tally: HandlerTally, began: float) -> None:
    """Note how long the run of *handler* that *began* then took; in the flight record, if long."""
    seconds = clock() - began
    tally.took(seconds)
    if seconds <= SLOW:
        return
    fingerprint = getattr(getattr(handler, "__self__", None), "fingerprint", None) or {}
    text = f"handler {name_of(handler)} of {fingerprint.get('name')!r}"
    flight_recorder.note(EventKind.SLOW, text, seconds)


def _serve(
    body: dict[str, Any],
    found: Sequence[Bound],
    arrived: Arrived | None,
    outcome: Outcome,
    *,
    answer_unknown: bool,
) -> None:
    """Run the handler that was defined last; reply with its result or its exception."""
    reply = outcome.reply
    assert reply is not None
    if not found:
        if answer_unknown:
            reply(MessageResultException(UNKNOWN_COMMAND, f"nobody here handles {outcome.name!r}"))
        return
    handler, part, tally = found[-1]
    began = tally.begin(body, arrived)
    try:
        message = body if part is None else body[part]
        filters = getattr(handler, "filters", None)
        returned = handler(_filtered(handler, filters, message) if filters else message, reply)
        if returned is not None and type(returned) not in _PLAIN:
            returned = _refuse_unrun(handler, returned)
        if reply.sent or reply.deferred:
            return
        if returned is None:
            text = f"the handler of {outcome.name!r} did not reply"
            returned = MessageResultException(NO_REPLY, text)
        reply(returned)
    except _Filtered as exc:
        outcome.filtered += 1
        cause = exc.__cause__ or exc
        result, id_ = disclosed(cause, reply.exposure)
        if id_:
            text = "A caller of %r was told the error id %s."
            sort = counted(name_of(handler), *place_of(cause))
            logger.warning(text, outcome.name, id_, exc_info=cause, extra=sort)
        _send_exception(reply, result)
    except BaseException as exc:
        result, id_ = disclosed(exc, reply.exposure)
        outcome.record(exc, handler, tally, id_)
        outcome.body = body
        _send_exception(reply, result)
    finally:
        _end_run(handler, tally, began)


def _send_exception(reply: Reply, result: MessageResultException) -> None:
    """Send *result* to the caller, unless the handler replied before it raised."""
    if not reply.sent:
        reply(result)


EXPOSURES = ("text", "name", "id")
"""What a caller gets: the name and the text of an exception; its name; the id of its log entry."""

# Raised to tell others something: the names say nothing of how the server works.
_SIGNALS = (RejectMessage, FilterError, MalformedMessage, EncodingError, *_ENDINGS)
_HIDDEN = "the log of the server says more"
_KEY = secrets.token_bytes(16)  # without it, an id would say where in which file an error occurs


def disclosed(exc: BaseException, exposure: str) -> tuple[MessageResultException, str]:
    """Return what a caller gets instead of a result, and the id of the exception.

    *exposure* is one of `EXPOSURES`.  If the id is not empty, the caller gets nothing else, and the
    id must be in the log beside the traceback.  Exceptions of a kind from the same place have the
    same id in this process, because the log has only the first of them.
    """
    # What is said of parameters is about the caller's own values, unless the handler has called.
    if exposure == "text" or (isinstance(exc, BadParameters) and not exc.call):
        return MessageResultException(type(exc).__name__, _text_of(exc)), ""
    if exposure == "name":
        return MessageResultException(type(exc).__name__, _HIDDEN), ""
    for signal in _SIGNALS:
        if isinstance(exc, signal):  # users may derive classes with other names
            return MessageResultException(signal.__name__, _HIDDEN), ""
    place = repr(place_of(exc)).encode("utf-8", "backslashreplace")
    id_ = hashlib.blake2b(place, key=_KEY, digest_size=8).hexdigest()
    return MessageResultException(SERVER_ERROR, f"{_HIDDEN}: error id {id_}"), id_


def perform(handler: Callable[[], object]) -> Outcome:
    """Run one turn of a periodic job; return the outcome, by the same rules as `dispatch`."""
    outcome = Outcome("", 1)
    try:
        _refuse_unrun(handler, handler())
    except BaseException as exc:  # as a handler, a job may raise anything
        outcome.record(exc, handler)
    return outcome


_PLAIN = frozenset(
    {bool, int, float, str, list, dict, MessageResult, MessageResultError, MessageResultException}
)
"""Types of values that are no code; to look here costs less than to ask for each kind of code."""


def _refuse_unrun(function: Any, returned: Any) -> Any:
    """Return what *function* has returned; raise `HandlerError` if that is code that was not run.

    Otherwise the message would be acknowledged although it was not handled.
    """
    if isinstance(returned, Handler):  # the handler is a class: making one handles the message
        returned = returned.returned
    if not close_unrun(returned):
        return returned
    reason = (
        f"returned code that has not run ({type(returned).__name__}): run it in the handler, and "
        f"return its result.  For asyncio see docs/processors.md."
    )
    raise HandlerError(name_of(function), reason)


def _filtered(handler: Any, filters: Iterable[MessageFilter], message: Any) -> Any:
    """Return *message* as the filters return it; raise `_Filtered` if one of them raises."""
    for each in filters:
        try:
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
                extra=counted(name_of(handler), *place_of(exc)),
            )
            raise _Filtered from exc
        if type(message) not in _PLAIN:
            _refuse_unrun(each.callable, message)
    return message


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as second:  # the __str__ of a user's exception may raise
        if isinstance(second, HandlerKilled):
            raise
        return f"(its __str__ raised {type(second).__name__})"
