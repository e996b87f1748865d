"""The decorators of typed handlers, which mark a method and return the method itself.

What a mark means is decided when the class is made: see `service`.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from postage.callables import name_of, refuse_lazy
from postage.errors import HandlerError, SettingsError
from postage.handlers import MARKS

__all__ = ["Kind", "Mark", "PlainFunction", "command", "event", "marks_of", "rpc"]

Method = TypeVar("Method", bound=Callable[..., Any])
Owner = TypeVar("Owner")
Event = TypeVar("Event")


class Kind(enum.Enum):
    """What a typed handler takes."""

    RPC = "rpc"
    COMMAND = "command"
    EVENT = "event"


class Mark(NamedTuple):
    """One decorator of a typed handler."""

    kind: Kind
    name: str | None = None
    """The name of the messages; None: that of the method."""
    event: Any = None
    """The type of an event."""
    raises: tuple[type[Exception], ...] = ()
    """The exceptions that belong to the interface of a call."""


class PlainFunction(staticmethod):  # type: ignore[type-arg]  # no [...] on Python 3.10
    """A function without ``self``, as a handler of a service: see `functions`.

    This object has the marks; the function itself has none.
    """

    def marked_as(self, other: PlainFunction | None) -> PlainFunction:
        """Take the marks of *other*, if there is one, and return itself."""
        setattr(self, MARKS, marks_of(other))
        return self


@overload
def rpc(method: Method, /) -> Method: ...


@overload
def rpc(
    *, name: str | None = None, raises: tuple[type[Exception], ...] = ()
) -> Callable[[Method], Method]: ...


def rpc(
    method: Any = None, /, *, name: str | None = None, raises: tuple[type[Exception], ...] = ()
) -> Any:
    """Mark a method of a `Service` as the handler of a call; its return value is the reply.

    A generator with the hint ``Iterator[Part]`` replies with a stream of the parts that it yields.

    *name*: the name of the call, by default that of the method.  *raises*: exception classes that
    belong to the interface.  Such an exception reaches the caller with its text, whatever
    ``expose_exceptions`` says, and does not count as a failure of the handler.

    Returns the method itself, or, with arguments, a decorator that does.  Raises `HandlerError` if
    the method is no plain method or the *name* no text, and `SettingsError` if *raises* is no tuple
    of exception classes, or has two of one name.  Never switches.
    """
    given: Any = raises
    if not isinstance(given, tuple) or not all(map(_is_exception, given)):
        raise SettingsError(f"raises of @rpc must be a tuple of exception classes, not {given!r}")
    names = [each.__name__ for each in raises]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"raises of @rpc has two classes of one name, and callers see names: {', '.join(names)}"
        )
    return _marking("@rpc", method, Mark(Kind.RPC, name, raises=raises))


@overload
def command(method: Method, /) -> Method: ...


@overload
def command(*, name: str | None = None) -> Callable[[Method], Method]: ...


def command(method: Any = None, /, *, name: str | None = None) -> Any:
    """Mark a method of a `Service` as the handler of a command, which is not answered.

    *name*: the name of the command, by default that of the method.  Returns the method itself, or,
    with arguments, a decorator that does.  Raises `HandlerError` if the method is no plain method
    or the *name* no text.  Never switches.
    """
    return _marking("@command", method, Mark(Kind.COMMAND, name))


def event(
    type_: type[Event], /, *, name: str | None = None
) -> Callable[[Callable[[Owner, Event], None]], Callable[[Owner, Event], None]]:
    """Mark a method of a `Service` as a handler of the events of *type_*, its only argument.

    An event is a status message whose content is the event itself.  *type_* is a dataclass, a
    ``msgspec.Struct``, a TypedDict or a pydantic model.  *name*: the name of the message, by
    default that of the class.

    Returns a decorator that returns the method itself.  Raises `HandlerError` if *type_* is no
    class, the method no plain method, or the *name* no text.  Never switches.
    """
    if not isinstance(type_, type):
        raise HandlerError("@event", f"takes the class of the event, not {name_of(type_)}")
    mark: Any = _marking("@event", None, Mark(Kind.EVENT, name or type_.__name__, event=type_))
    marking: Callable[[Callable[[Owner, Event], None]], Callable[[Owner, Event], None]] = mark
    return marking


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _marking(decorator: str, method: Any, mark: Mark) -> Any:
    """Return *method* with the mark added; without a method, the function that adds it."""
    name: Any = mark.name
    if name is not None and not (isinstance(name, str) and name):
        raise HandlerError(decorator, f"takes the name of its messages as text, not {name!r}")

    def add(function: Any) -> Any:
        if not isinstance(function, (types.FunctionType, PlainFunction)):
            reason = f"is no plain method: write {decorator} above a def with self"
            raise HandlerError(name_of(function), reason)
        inner = getattr(function, "__func__", function)
        if mark.kind is not Kind.RPC or not inspect.isgeneratorfunction(inner):
            refuse_lazy(function)  # a generator sends a stream, if its hint says so
        setattr(function, MARKS, (*marks_of(function), mark))
        return function

    return add if method is None else add(method)


def marks_of(function: Any) -> tuple[Mark, ...]:
    """Return the marks of *function*; empty if it is no typed handler."""
    marks = getattr(function, MARKS, ())
    return marks if isinstance(marks, tuple) else ()  # a Mock has every attribute
