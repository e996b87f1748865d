"""Hooks around the handling and the sending of messages: for traces, audits and measures.  No I/O.

How it works
------------
A hook is a generator with one ``yield``.  Its code before the ``yield`` runs before the message is
handled or sent, and its code after it runs afterwards, with what came of it.  Such a hook can
neither forget the message nor handle it twice, and a ``with`` or ``try`` statement around the
``yield`` does what it looks like.

Hooks watch, and decide nothing: an error of a hook is logged, and the message goes its way.
Otherwise an exporter of traces that cannot reach its server would make all messages fail.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from postage.callables import name_of
from postage.dispatch import HandlerKilled
from postage.errors import SettingsError
from postage.exchange import Exchange
from postage.log_records import counted, logger_of, place_of
from postage.message import MessageResult
from postage.received import ReceivedMessage
from postage.values import value_error

__all__ = ["Around", "Handled", "OutgoingMessage", "Watch", "check_around", "hooks_of"]

logger = logger_of(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Handled:
    """What came of a message."""

    handlers: int
    """How many handlers it had; 0: none, or its caller had stopped waiting."""
    failures: tuple[BaseException, ...]
    """The exceptions of its handlers, `RejectMessage` included."""
    result: MessageResult | None = None
    """The reply to a call: a success, an error or an exception; None for a message, and if the
    handler has promised a later reply."""

    @property
    def ok(self) -> bool:
        """Whether no handler failed, and the reply, if there is one, is a success."""
        return not self.failures and (self.result is None or bool(self.result))


@dataclass(slots=True)
class OutgoingMessage:
    """A message or call that is about to be sent."""

    name: str
    """The name of the message, such as that of the command; empty if the body has none."""
    targets: tuple[tuple[type[Exchange], str], ...]
    """The exchanges and keys; a call has one."""
    decode: Callable[[], Any] = field(repr=False, compare=False)
    """Returns a new `body`."""
    is_call: bool = False
    headers: dict[str, Any] = field(default_factory=dict)
    """The headers with which it is sent.  A hook may add some."""
    _body: Any = field(default=None, init=False, repr=False, compare=False)

    @property
    def body(self) -> Any:
        """What is sent: usually the dictionary with seven keys.  Changes of it have no effect.

        It is decoded when a hook first reads it, because most hooks need the name only.  None if
        the encoder of the producer cannot decode what it has encoded.
        """
        if self._body is None:
            self._body = self.decode()
        return self._body


class Around:
    """Base of hooks: override one or both methods, and list instances in ``around`` of a class.

    Each method is a generator with one ``yield``, at which the message is handled or sent.  The
    first hook of a list is the outermost.  A hook that returns before its ``yield`` does not see
    what comes of this message.  An instance is used for all messages, many at a time, so what
    belongs to one message must be in local variables.
    """

    def handle(self, message: ReceivedMessage) -> Generator[None, Handled, None]:
        """Override, for ``around`` of processors: ``handled = yield``.

        Runs in the greenlet of the handlers, and may wait as they may.  The handlers' exceptions
        are in ``handled.failures``.  The ``yield`` raises `HandlerKilled` if the processor stops
        before the handlers have ended, and `MalformedMessage` for a request that is not allowed.
        """
        del message
        yield

    def send(self, message: OutgoingMessage) -> Generator[None, MessageResult | None, None]:
        """Override, for ``around`` of producers: ``result = yield``.

        Runs in the greenlet that sends, once the message is encoded: what cannot be encoded is
        refused before.  The result of a call is its result message; it is None for a message, and
        for a call with ``_queue_only``.  The ``yield`` raises what sending raises.
        """
        del message
        yield


def hooks_of(around: Sequence[Around], method: str) -> list[Around]:
    """Return those of *around* that override *method*."""
    own = getattr(Around, method)
    return [hook for hook in around if getattr(type(hook), method) is not own]


def check_around(name: str, around: Any) -> None:
    """Raise `SettingsError` if *around* is no list of hooks whose methods are generators."""
    if not isinstance(around, (list, tuple)):
        raise value_error(name, "a list of hooks, such as [Audit()]", around)
    for hook in around:
        if not isinstance(hook, Around):
            expected = "a list of instances of classes that inherit from Around, such as [Audit()]"
            raise value_error(name, expected, around)
        for method in ("handle", "send"):
            function = inspect.unwrap(getattr(type(hook), method))
            if not inspect.isgeneratorfunction(function):
                text = "must be a generator with one yield, at which the message goes its way"
                raise SettingsError(f"{name}: {name_of(function)} {text}")


class Watch:
    """The hooks around one message."""

    def __init__(self, passing: type[BaseException] | None = None) -> None:
        """Let *passing* out of hooks; None: everything that is no `Exception`."""
        self._passing = passing
        self._begun: list[Generator[None, Any, None]] = []

    def run(
        self,
        hooks: Iterable[Callable[[], Generator[None, Any, None]]],
        carry_out: Callable[[], T],
        told: Callable[[T], object],
    ) -> T:
        """Begin *hooks*, call *carry_out*, and end the hooks with what *told* makes of its result.

        Returns the result, and raises what *carry_out* raises.
        """
        try:
            for begin in hooks:
                self._begin(begin)
            result = carry_out()
        except BaseException as exc:
            while self._begun:
                self._throw(self._begun.pop(), exc)
            raise
        try:
            said = told(result)
            while self._begun:
                self._send(self._begun.pop(), said)
        except HandlerKilled:  # the message is done: it must not be handled again
            logger.warning("A hook was killed after the handler had ended.", extra=counted())
        return result

    def _begin(self, begin: Callable[[], Generator[None, Any, None]]) -> None:
        hook = None
        try:
            hook = begin()
            next(hook)
        except StopIteration:
            return
        except BaseException as exc:  # a hook may raise anything, as a handler may
            self._log(hook or begin, exc)
            return
        self._begun.append(hook)

    def _send(self, hook: Generator[None, Any, None], said: object) -> None:
        try:
            hook.send(said)
        except StopIteration:
            return
        except BaseException as exc:  # as above
            self._log(hook, exc)
            return
        self._end(hook)

    def _throw(self, hook: Generator[None, Any, None], error: BaseException) -> None:
        try:
            hook.throw(error)
        except StopIteration:
            return
        except BaseException as exc:  # as above
            if exc is not error:
                self._log(hook, exc, passes=False)
            return
        self._end(hook)

    def _end(self, hook: Generator[None, Any, None]) -> None:
        """End a hook that yields a second time."""
        logger.error("%s has a second yield, which is ignored.", name_of(hook), extra=counted())
        try:
            hook.close()
        except BaseException as exc:  # as above
            self._log(hook, exc)

    def _log(self, hook: object, error: BaseException, *, passes: bool = True) -> None:
        """Log *error*, or raise it again if it must leave the hook."""
        passing = self._passing
        leaves = not isinstance(error, Exception) if passing is None else isinstance(error, passing)
        if passes and leaves:
            raise error
        name = name_of(hook)
        text, extra = "%s failed; the message goes its way.", counted(name, *place_of(error))
        logger.error(text, name, exc_info=error, extra=extra)
