"""The signature of a typed handler, and how messages become its arguments.  No I/O.

How it works
------------
A signature is examined once, when its class is made: `Signature.of` raises `HandlerError` for what
no message could fit, and makes a record type with a field for each parameter.  For each message,
the parameters are *read* as a dictionary of arguments by name, and converted to this record type,
which checks all of them before the handler runs.

A classic producer sends the arguments of a call as one value, a list, keywords, or both in
``{"args": [...], "kwds": {...}}``; see `message.command_from`.  So the same parameters may have
several readings, such as a list: many arguments, or one that is a list.  The signature says which
readings there are, and in which order; the first one that fits counts.  If none does, the caller
is told what is wrong with the first.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import attrgetter
from types import FunctionType, NoneType
from typing import Any

from postage.callables import close_unrun
from postage.errors import BadParameters, HandlerError, SettingsError
from postage.foreign_text import brief
from postage.message import MessageResult
from postage.services.conversion import (
    as_builtins,
    check_hint,
    converter,
    dumper,
    library,
    record_type,
    takes_array,
    takes_object,
)
from postage.services.decorators import PlainFunction

__all__ = ["Arguments", "Parameter", "Signature"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""The positional arguments and the keywords of a handler."""
Reading = Callable[[Any], dict[str, Any]]
"""Returns the arguments by name, as parameters give them; raises `BadParameters`."""

_EMPTY = inspect.Parameter.empty
_PLACE_ONLY = inspect.Parameter.POSITIONAL_ONLY
_PLACE_OR_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD
_CLASSIC_NAMES = frozenset({"args", "kwds", "parameters"})
"""Names to which classic producers give another meaning."""
_PLAIN = frozenset({bool, int, str, NoneType})
"""Types of results that can be sent as they are."""
_MOST_NAMES = 10
"""How many unknown keywords an error names."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a typed handler."""

    name: str
    hint: Any
    default: Any = _EMPTY
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    """How the handler takes the parameter: one of the kinds of `inspect.Parameter`."""

    @property
    def is_keyword(self) -> bool:
        """Whether the handler takes the parameter by its name only."""
        return self.kind is inspect.Parameter.KEYWORD_ONLY

    @property
    def is_required(self) -> bool:
        """Whether each message must have a value for the parameter."""
        return self.default is _EMPTY

    @property
    def field(self) -> tuple[Any, ...]:
        """The field that a record type has for the parameter."""
        return (self.name, self.hint, *(() if self.is_required else (self.default,)))


class Signature:
    """The parameters and the result of one typed handler."""

    def __init__(
        self, where: str, parameters: tuple[Parameter, ...], returns: Any, *, streams: bool = False
    ) -> None:
        self.where, self.parameters, self.returns = where, parameters, returns
        self.streams = streams
        """Whether the handler sends a stream of parts; then `returns` is the type of each part."""
        self.names = tuple(each.name for each in parameters)
        self._known = frozenset(self.names)
        self._required = frozenset(each.name for each in parameters if each.is_required)
        self._in_order = tuple(each.name for each in parameters if not each.is_keyword)
        record = record_type("Parameters", (each.field for each in parameters))
        result = record_type("Result", [("value", returns)])
        self._record_of, self._dumped = converter(record), dumper(record)
        self._result_of, self._dumped_result = converter(result), dumper(result)
        self._plain = next((each for each in _PLAIN if each is returns), None)
        self._nameless = [each.name for each in parameters if each.kind is _PLACE_ONLY]
        self._keywords = tuple(each.name for each in parameters if each.is_keyword)
        self._values = _getter(self._in_order) if self._keywords else library().structs.astuple
        self._of_object, self._of_array = self._readings()

    def __str__(self) -> str:
        """Return the parameters and the result as a reader of the contract knows them."""
        parts = []
        for each in self.parameters:
            default = "" if each.is_required else f" = {each.default!r}"
            parts.append(f"{each.name}: {inspect.formatannotation(each.hint)}{default}")
        returns = inspect.formatannotation(self.returns)
        return f"({', '.join(parts)}) -> {f'stream of {returns}' if self.streams else returns}"

    @classmethod
    def of(cls, owner: type, name: str, function: Any) -> Signature:
        """Return the signature of *function*, the method *name* of *owner*.

        Raises `HandlerError` for a function that can be no typed handler, and `SettingsError` if
        msgspec is not installed.
        """
        where = f"{owner.__qualname__}.{name}"
        is_plain = isinstance(function, PlainFunction)
        function = function.__func__ if is_plain else function
        if not isinstance(function, FunctionType):
            raise HandlerError(where, "is no plain method, so it can be no typed handler")
        library()  # else it would be missed in some check, and the user's hint blamed
        known = {} if is_plain else {**vars(owner), owner.__name__: owner}
        hints = _hints_of(known, where, function)
        given = list(inspect.signature(function).parameters.values())
        if not is_plain:
            if not given or given[0].kind not in {_PLACE_ONLY, _PLACE_OR_NAME}:
                raise HandlerError(where, "needs self as its first parameter")
            del given[0]
        parameters = tuple(_parameter(where, each, hints) for each in given)
        if "return" not in hints:
            raise HandlerError(where, "needs the type of its result: write -> None if it has none")
        part = _part_of(where, function, hints["return"])
        returns = hints["return"] if part is None else part
        returns = NoneType if returns is None else returns
        _check(where, "its result" if part is None else "its parts", returns)
        return cls(where, parameters, returns, streams=part is not None)

    # --- from a message to arguments

    def arguments(self, given: Any) -> Arguments:
        """Return the arguments for the handler in *given*, the parameters of a command or call.

        Raises `BadParameters` if no reading of them fits, and what code of the user raises: see
        `conversion.converter`.
        """
        if type(given) is dict:  # as in nearly all messages, at less cost than by the readings
            try:
                record = self._record_of(given)
            except BadParameters:
                pass
            else:
                return self._values(record), self._by_keyword(record) if self._keywords else {}
        if isinstance(given, dict):
            readings = self._of_object
            if given.keys() == {"args", "kwds"}:
                readings = (self._both, *readings)
            elif given and self._known.isdisjoint(given):
                readings = readings[1:] or readings  # it names no parameter, so it is one value
        elif isinstance(given, list):
            readings = self._of_array
        else:
            readings = (self._one_value,)
        return self._first(readings, given)

    def only(self, value: Any) -> Arguments:
        """Return the arguments for a handler of events, which has one parameter.

        Raises what `arguments` does.
        """
        return self._first((self._one_value,), value)

    def _first(self, readings: tuple[Reading, ...], given: Any) -> Arguments:
        error = None
        for read in readings:
            try:
                record = self._converted(read(given))
            except BadParameters as exc:  # noqa: PERF203 - each reading has to be tried
                error = error or exc
            else:
                return self._values(record), self._by_keyword(record)
        assert error is not None  # as there is at least one reading
        raise error

    def _by_keyword(self, record: Any) -> dict[str, Any]:
        return {each: getattr(record, each) for each in self._keywords}

    def _converted(self, named: dict[str, Any]) -> Any:
        try:
            return self._record_of(named)
        except BadParameters as exc:
            if exc.path:
                raise
        # The record as a whole does not fit: msgspec says so without a place.
        for name in self.names:
            if name in self._required and name not in named:
                raise BadParameters(name, "is missing")
        unknown = [each for each in named if each not in self._known]
        takes = f"it takes {', '.join(self.names)}" if self.names else "it takes none"
        raise BadParameters(brief(unknown[:_MOST_NAMES])[1:-1], f"is no parameter: {takes}")

    def _readings(self) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
        """Return the readings of an object and of a list, in their order."""
        keywords: Reading = self._by_name
        positional: Reading = self._by_place
        one: Reading = self._one_value
        first = self.parameters[0] if self._in_order else None
        if first is None or self._required - {first.name}:
            return (keywords,), (positional,)
        is_sole = len(self.parameters) == 1
        # What takes anything takes a whole object or list only if there is no other parameter:
        # with several, a misspelt keyword would be a part of its value.
        fits = (takes_object(first.hint), takes_array(first.hint))
        is_object, is_array = (is_sole if each is None else each for each in fits)
        of_object = (keywords, one) if is_object else (keywords,)
        if not is_array:
            return of_object, (positional,)
        return of_object, ((one, positional) if is_sole else (positional, one))

    def _by_name(self, given: dict[str, Any]) -> dict[str, Any]:
        return given

    def _by_place(self, given: list[Any]) -> dict[str, Any]:
        if len(given) > len(self._in_order):
            most = len(self._in_order)
            raise BadParameters(
                "parameters", f"there are at most {most} without a name, not {len(given)}"
            )
        return dict(zip(self._in_order, given, strict=False))

    def _one_value(self, given: Any) -> dict[str, Any]:
        if self._in_order:
            return {self._in_order[0]: given}
        if given is None:
            return {}
        raise BadParameters("parameters", "there is none without a name")

    def _both(self, given: dict[str, Any]) -> dict[str, Any]:
        args, kwds = given["args"], given["kwds"]
        if not (isinstance(args, list) and isinstance(kwds, dict)):
            raise BadParameters("parameters", "args must be a list, and kwds an object")
        named = self._by_place(args)
        for name in named:
            if name in kwds:
                raise BadParameters(name, "is given twice")
        return named | kwds

    def sent(self, args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
        """Return the arguments of a client, checked, as the parameters that are sent.

        They are sent by name, except those before a ``/`` in the signature.  Raises
        `BadParameters`; TypeError for a value that has no form that can be sent.
        """
        named = kwds
        if args:
            named = dict(zip(self._in_order, args, strict=False))
            named.update(kwds)
            if len(named) < len(args) + len(kwds):  # too many, or one of them twice
                named = self._both({"args": list(args), "kwds": kwds})
        sent: dict[str, Any] = self._dumped(named)
        try:
            self._record_of(sent)
        except BadParameters:
            self._converted(sent)  # which says more
        return self._without_names(sent) if self._nameless else sent

    def _without_names(self, sent: dict[str, Any]) -> Any:
        """Return the parameters as a classic producer makes them of positional arguments."""
        given = list(takewhile(sent.__contains__, self._nameless))
        args = [sent.pop(each) for each in given]
        if sent:
            return {"args": args, "kwds": sent} if args else sent
        return args[0] if len(args) == 1 else args or {}

    # --- from a result to a message, and back

    def result(self, value: Any) -> MessageResult:
        """Return the result message for *value*; a result message stays as it is.

        Raises `HandlerError` for a value that the hint of the handler does not allow.
        """
        if type(value) is self._plain:
            return MessageResult(value)
        if isinstance(value, MessageResult) and not self.streams:
            return value
        try:
            sent = self._dumped_result(value)
            self._result_of({"value": sent})
        except (BadParameters, TypeError) as exc:
            close_unrun(value)
            raise HandlerError(
                self.where, f"has {self._gave} what its hint does not allow: {exc}"
            ) from None
        return MessageResult(sent)

    @property
    def _gave(self) -> str:
        return "yielded" if self.streams else "returned"

    def received(self, value: Any) -> Any:
        """Return the *value* of a result as the hint says; raise `BadParameters` if it is unfit."""
        if type(value) is self._plain:
            return value
        return self._result_of({"value": value}).value


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns the attributes *names* of an object."""
    if len(names) > 1:
        return attrgetter(*names)
    return partial(_few, names)


def _few(names: tuple[str, ...], record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, each) for each in names)


# --- examining a function


def _hints_of(known: Mapping[str, Any], where: str, function: FunctionType) -> Mapping[str, Any]:
    """Return the hints of *function*, which may use the names in *known*: those of its class."""
    if sys.version_info < (3, 11) and function.__defaults__:
        # Python would take `count: int = None` for `int | None`.
        bare = FunctionType(function.__code__, function.__globals__)
        vars(bare).update(vars(function))
        bare.__annotations__ = function.__annotations__
        function = bare
    try:
        return typing.get_type_hints(function, localns=dict(known), include_extras=True)
    except Exception as exc:
        reason = (
            f"has a hint that cannot be resolved ({exc}): import or define the type at the top of "
            f"its module, before the class and not under TYPE_CHECKING"
        )
        raise HandlerError(where, reason) from exc


def _part_of(where: str, function: FunctionType, hint: Any) -> Any:
    """Return the type of the parts that *function* yields; None if it returns one result."""
    origin, given = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Iterator or origin is Generator:
        # A generator that takes or returns values cannot be served: nothing of that is sent.
        if not given or any(each not in (None, NoneType) for each in given[1:]):
            raise HandlerError(where, "needs the type of its parts: write -> Iterator[Part]")
        return NoneType if given[0] is None else given[0]
    if inspect.isgeneratorfunction(function):
        reason = "yields, so it sends a stream of parts: write -> Iterator[Part] as its result"
        raise HandlerError(where, reason)
    return None


def _parameter(where: str, given: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    name = given.name
    if given.kind in {given.VAR_POSITIONAL, given.VAR_KEYWORD}:
        reason = "takes any arguments, which cannot be checked: name each parameter and its type"
        raise HandlerError(where, reason)
    if name.startswith("_") or name in _CLASSIC_NAMES:
        reason = (
            f"has a parameter {name!r}, a name that producers use themselves: choose one that "
            f"begins with a letter and is none of {', '.join(sorted(_CLASSIC_NAMES))}"
        )
        raise HandlerError(where, reason)
    if name not in hints:
        reason = f"needs the type of its parameter {name!r}: typing.Any takes everything"
        raise HandlerError(where, reason)
    _check(where, f"its parameter {name!r}", hints[name])
    parameter = Parameter(name, hints[name], given.default, given.kind)
    if not parameter.is_required:
        _check_default(where, parameter)
    return parameter


def _check(where: str, what: str, hint: Any) -> None:
    try:
        check_hint(hint)
    except SettingsError as exc:
        raise HandlerError(where, f"cannot be served: the hint of {what} {exc}") from exc


def _check_default(where: str, parameter: Parameter) -> None:
    """Raise `HandlerError` for a default that can change, or that the hint does not allow."""
    what = f"has a default of {parameter.name!r}"
    try:
        hash(parameter.default)
    except TypeError:
        reason = f"{what} that can be changed, and would be shared by all calls: use None or ()"
        raise HandlerError(where, reason) from None
    kind = record_type("Default", [("value", parameter.hint)])
    try:
        converter(kind)({"value": as_builtins(parameter.default)})
    except (BadParameters, TypeError) as exc:
        reason = f"{what} that its hint does not allow: {exc}"
        raise HandlerError(where, reason) from None
