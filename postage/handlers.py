"""Decorators of handlers, filters and periodic jobs, and the route table of a class.

A decorator marks the method and returns the method itself, which stays callable and picklable.  The
handlers of a class are its marked attributes: those of base classes first, then in the order of
definition.  An attribute that overrides another one replaces its handler.

A method that could never do its work is refused with `HandlerError` where it is defined, because
its messages would be acknowledged and lost: code that a call does not run (``async``, ``yield``), a
decorator without brackets, a name that hides an attribute of processors.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partialmethod
from typing import Any, ClassVar, NamedTuple, TypeVar

from postage.callables import name_of, refuse_lazy
from postage.errors import HandlerError
from postage.message import message_types
from postage.values import Rule
from postage.values import seconds as duration

# fmt: off
__all__ = [
    "MARKS", "ROUTES", "FoundHandlers", "Handler", "HandlerOwner", "HandlerParts", "MessageFilter",
    "MessageHandler", "MessageHandlerFullBody", "MessageHandlerType", "Route", "RouteTable",
    "RpcHandler", "check_name", "every", "is_handler", "is_typed", "jobs_of",
]
# fmt: on

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])
ROUTES = "_postage_routes"
"""The attribute in which a handler has its routes."""
MARKS = "_postage_marks"
"""The attribute in which a typed handler has its marks: see `postage.services.decorators`."""
_SECONDS = "_postage_every"
_check_interval = duration()


class Route(NamedTuple):
    """The messages that a handler takes, and the part of their body that it gets.

    If *name* is None, it takes all names of the type; if *part* is None, it gets the whole body.
    """

    category: str
    type: str
    name: str | None
    part: str | None = "content"


class MessageHandler:
    """Marks a method, or a nested `Handler` class, as the handler of messages of a type and name.

    The method gets the content.  Without *message_name* it handles every name of that type.  A
    method may have several of these decorators.
    """

    category: ClassVar[str] = "message"
    part: ClassVar[str | None] = "content"

    def __init__(self, message_type: str, message_name: str | None = None) -> None:
        decorator = f"@{type(self).__name__}"
        if callable(message_type):  # the decorator was written without brackets
            name = name_of(message_type)
            written = f'{decorator}("command", "{name.rpartition(".")[2]}")'
            raise HandlerError(name, f"needs the type and name of its messages: write {written}")
        given: tuple[Any, ...] = (message_type, "" if message_name is None else message_name)
        for each in given:
            if not isinstance(each, str):
                raise HandlerError(decorator, f"takes the type and the name as text, not {each!r}")
        self.route = Route(self.category, message_type, message_name, self.part)

    def __call__(self, func: T) -> T:
        """Mark *func* and return it; raises `HandlerError` if it can be no handler."""
        wraps_function = isinstance(func, (staticmethod, classmethod, partialmethod))
        is_decorator = isinstance(func, (MessageHandler, MessageFilter))
        if is_decorator or not (callable(func) or wraps_function):
            reason = "is no function and no Handler class, so it cannot be a handler"
            raise HandlerError(name_of(func), reason)
        refuse_lazy(func)
        try:
            # From the object's own namespace: a Handler class must not write into its base's list.
            setattr(func, ROUTES, [*vars(func).get(ROUTES, ()), self.route])
        except (AttributeError, TypeError):  # a bound method, or a function written in C
            reason = "cannot be marked as a handler: write a function that calls it"
            raise HandlerError(name_of(func), reason) from None
        if not isinstance(func, type):
            # Dispatch looks for filters.  To find no attribute costs as much as a short handler.
            vars(func).setdefault("filters", ())
        return func


class MessageHandlerFullBody(MessageHandler):
    """Like `MessageHandler`; the method gets the whole body, with type, name and fingerprint."""

    part = None


class RpcHandler(MessageHandler):
    """Marks a handler for RPCs: it gets the content and a reply function, a `Reply`.

    It answers by calling the reply function once, or by returning a value other than None.
    """

    category = "rpc"


class MessageFilter:
    """Decorates a handler: ``callable(message, *args, **kwds)`` runs first, on a copy of its own.

    The handler gets the return value of the callable.  If the callable raises, the message is
    discarded for this handler only.  Several filters run in turn, the innermost first.  A filter
    may stand above or below the handler's decorator.
    """

    def __init__(self, _callable: Callable[..., Any], *args: Any, **kwds: Any) -> None:
        if is_handler(_callable):
            raise HandlerError(name_of(_callable), "needs a filter: write @MessageFilter(callable)")
        refuse_lazy(_callable)
        if not callable(_callable):
            raise HandlerError("@MessageFilter", f"takes a function, not {_callable!r}")
        self.callable, self.args, self.kwds = _callable, args, kwds

    def __call__(self, func: T) -> T:
        """Add this filter to *func* and return it; raises `HandlerError` if it would be ignored."""
        # Dispatch looks for filters on what the processor's attribute is.
        marked: Any = func.__func__ if isinstance(func, (staticmethod, classmethod)) else func
        try:
            if isinstance(marked, partialmethod):
                raise TypeError  # noqa: TRY301 - the attribute is a new partial each time
            marked.filters = [*vars(marked).get("filters", ()), self]
        except (AttributeError, TypeError):
            reason = "cannot have filters: write a function that calls it"
            raise HandlerError(name_of(func), reason) from None
        return func

    def apply(self, message: Any) -> Any:
        """Return the message that the handler gets instead of *message*."""
        return self.callable(message, *self.args, **self.kwds)


class Handler:
    """Base of handlers that are classes: override `call`; making one handles the message."""

    filters: Sequence[MessageFilter] = ()
    returned: Any = None
    """The value that `call` returned; for an RPC, the reply, unless ``reply_func`` was called."""

    def __init_subclass__(cls, **kwds: Any) -> None:
        super().__init_subclass__(**kwds)
        refuse_lazy(cls)

    def __init__(self, processor: Any, data: Any, reply_func: Any = None) -> None:
        self.processor, self.data, self.reply_func = processor, data, reply_func
        self.returned = self.call()

    def call(self) -> Any:
        """Handle ``self.data``; for an RPC, return the reply or call ``self.reply_func``."""
        raise NotImplementedError(f"{type(self).__qualname__} must define call(self)")


def is_handler(value: Any) -> bool:
    """Tell whether *value* was decorated as a handler."""
    return isinstance(getattr(value, ROUTES, None), list)  # a Mock has every attribute


def is_typed(value: Any) -> bool:
    """Tell whether *value* was decorated as a typed handler."""
    return isinstance(getattr(value, MARKS, None), tuple)


_TOO_LATE = (
    "is a typed handler that is set after its class was made, so no message would reach it: define "
    "it in the class, or set a classic handler, with @RpcHandler or @MessageHandler"
)

# --- periodic jobs


def every(seconds: float) -> Callable[[Method], Method]:
    """Mark a method of a processor, without arguments, as a job that runs every *seconds*.

    The job runs while the processor consumes, for the first time after *seconds*, and counts as one
    of the processor's ``concurrency``.  When the processor stops, a running job gets the same time
    to finish as a handler.  A turn is skipped while the one before it still runs.  An exception is
    logged and counted, and later turns run as usual; but `StopIteration`, `ExitScheduler` and
    `AckAndRestart` have the same effects as in handlers.  An override in a subclass must be
    decorated again.

    Raises `SettingsError` if *seconds* is not a positive, finite number, and `HandlerError` if the
    method can be no job.
    """
    if callable(seconds):
        raise HandlerError(name_of(seconds), "needs an interval: write @every(seconds)")
    _check_interval("the interval of @every", seconds)

    def mark(method: Method) -> Method:
        refuse_lazy(method)
        setattr(method, _SECONDS, float(seconds))
        return method

    return mark


def jobs_of(cls: type) -> Iterator[tuple[str, float]]:
    """Yield the name and the seconds of each periodic job of *cls*."""
    for name in dir(cls):
        value = getattr(cls, name, None)
        if _is_job(value):
            yield name, getattr(value, _SECONDS)


# --- the handlers of a class

LONGEST_NAME = 100
"""Letters of the type and the name of a message that the log shows."""
MOST_REMARKS = 100
"""Names without a handler that the log mentions for each class of processors."""


HandlerParts = tuple[tuple[str, str | None], ...]
"""For each handler its attribute, and the part of the body that it gets (None: all of it)."""


class FoundHandlers(dict[tuple[str, str, str | None], HandlerParts]):
    """The handlers of a message by its category, type and name, in the order of their definition.

    They are found when the first such message arrives, and kept only under names that a handler
    has.  Other names come from the network: they may be long, and each of them may be another.
    """

    def __init__(self, entries: Iterable[tuple[Route, str]]) -> None:
        super().__init__()
        self._entries = tuple(entries)
        self._named = {route[:3] for route, _ in self._entries}

    def __missing__(self, key: tuple[str, str, str | None]) -> HandlerParts:
        category, type_, name = key
        if key not in self._named and name is not None:
            # Only the handlers of all names take it, which are kept under the name None.
            return self[category, type_, None]
        found = tuple(
            (attribute, route.part)
            for route, attribute in self._entries
            if route[:2] == (category, type_) and route.name in (None, name)
        )
        if found:
            self[key] = found
        return found


class RouteTable:
    """The handlers of a processor: for each route the names of the attributes, in order."""

    def __init__(self, entries: Iterable[tuple[Route, str]] = ()) -> None:
        self.entries = tuple(entries)
        self._told: set[tuple[str, ...]] = set()
        self.found = FoundHandlers(self.entries)
        """The handlers by the category, type and name of a message; read for every message."""

    def find(self, category: str, type_: str, name: str) -> HandlerParts:
        """Return the handlers of the messages with this name; see `FoundHandlers`."""
        return self.found[category, type_, name]

    def unknown_types(self) -> dict[str, str]:
        """Return the types that no class of messages has, each with the attribute that takes it.

        Such a handler gets messages from programs that define the type, or it has a mistake.
        """
        known = message_types()
        return {route.type: name for route, name in self.entries if route.type not in known}

    def remarks(self) -> Iterator[str]:
        """Yield what the log should say about these handlers; each remark once."""
        for type_, attribute in self.unknown_types().items():
            if self._is_new("", type_):
                yield (
                    f"{attribute} takes messages of the type {type_!r}, which no message class "
                    f"here has: is it the name?  The decorators take the type (command, status, "
                    f"result) first, and then the name"
                )

    def remark_on(self, category: str, type_: str, name: str) -> str | None:
        """Return what the log should say about a message without a handler; None if it has said so.

        The message comes from the network: its name may be long, and each one may be another.
        """
        type_, name = type_[:LONGEST_NAME], name[:LONGEST_NAME]
        if len(self._told) > MOST_REMARKS or not self._is_new(category, type_, name):
            return None
        if len(self._told) > MOST_REMARKS:
            return f"has no handler for over {MOST_REMARKS} names; further ones are only counted"
        kind, other = ("call", "message") if category == "rpc" else ("message", "rpc")
        text = f"has no handler for the {kind} {name!r} of type {type_!r}"
        for attribute, _ in self.find(other, type_, name):
            way = "message_X and send" if other == "message" else "rpc_X and call"
            return f"{text}: {attribute} takes it only as a {_KINDS[other]}, which {way} make"
        for route, attribute in self.entries:
            if route.category == category and route.name == name:
                return f"{text}: {attribute} takes that name with the type {route.type!r}"
        return f"{text}; further ones are only counted"

    def _is_new(self, *remark: str) -> bool:
        is_new = remark not in self._told
        self._told.add(remark)
        return is_new

    def extended(self, attributes: dict[str, Any]) -> RouteTable:
        """Return this table with the handlers among *attributes*, which replace older ones."""
        added = [
            (route, name)
            for name, value in attributes.items()
            if is_handler(value)
            for route in getattr(value, ROUTES)
        ]
        gone = {name for _, name in added}
        gone.update(name for name, value in attributes.items() if not callable(value))
        return RouteTable((*(entry for entry in self.entries if entry[1] not in gone), *added))


_KINDS = {"message": "message", "rpc": "call"}
_NO_HANDLERS = RouteTable()


class MessageHandlerType(type):
    """Metaclass of processors: keeps the route table of a class up to date."""

    _route_table: RouteTable = _NO_HANDLERS  # each class has its own; read for every message
    _typed: Mapping[str, Any] | None = None
    """The methods that are typed handlers, by name; None for a class that does not serve them."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        _refuse_hidden_marks(cls)
        for attribute in _marked_names(cls):
            check_name(cls, attribute)
            refuse_lazy(inspect.getattr_static(cls, attribute), f"{cls.__qualname__}.{attribute}")
        _rebuild_table(cls)

    def __setattr__(cls, name: str, value: Any) -> None:
        if is_typed(value) and (cls._typed or {}).get(name) is not value:  # mocks are taken back
            raise HandlerError(f"{cls.__qualname__}.{name}", _TOO_LATE)
        is_route = is_handler(value) or is_handler(getattr(cls, name, None))
        if is_route or _is_job(value):
            check_name(cls, name)
            refuse_lazy(value, f"{cls.__qualname__}.{name}")
        super().__setattr__(name, value)
        if is_route:  # other attributes, such as a counter, must not cost a new table each time
            _rebuild_table(cls)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        _rebuild_table(cls)  # the attribute may have hidden a handler of a base class

    @property
    def route_table(cls) -> RouteTable:
        """The handlers of this class and its bases."""
        return cls._route_table


_MAY_BE_HIDDEN = frozenset({"start", "stop", "join", "pause", "resume"})
"""Methods of processors that the runtime calls by their class, or not at all, so that a handler may
hide them: in 1.2.1 processors could have handlers of these names."""


def check_name(cls: type, name: str) -> None:
    """Raise `HandlerError` if a handler or job *name* of *cls* hides an attribute of Postage.

    A handler may replace one of ours, such as ``msg_quit``.
    """
    where = f"{cls.__qualname__}.{name}"
    way_out = (
        f"give the method another name, such as on_{name.strip('_')}.  The name in its decorator "
        f"can stay."
    )
    if name.startswith("__") and name.endswith("__"):
        raise HandlerError(where, f"has a name that Python itself uses: {way_out}")
    if name in _MAY_BE_HIDDEN:
        return
    for base in cls.__mro__:
        if str(base.__module__).partition(".")[0] != "postage":
            continue
        is_ours = name in inspect.get_annotations(base)  # an attribute of instances
        if is_ours or (name in vars(base) and not is_handler(vars(base)[name])):
            what = f"hides {base.__qualname__}.{name}, without which a processor does not work"
            raise HandlerError(where, f"{what}: {way_out}")


def _refuse_hidden_marks(cls: MessageHandlerType) -> None:
    """Raise `HandlerError` if a decorator above that of a handler hides it: it would be dead."""
    for name, value in vars(cls).items():
        if cls._typed is None and is_typed(value):
            reason = "is a typed handler, which only a Service has: inherit postage.Service"
            raise HandlerError(f"{cls.__qualname__}.{name}", reason)
        if isinstance(value, (staticmethod, classmethod)):
            inner: Any = value.__func__
        elif isinstance(value, (property, cached_property)):
            inner = value.fget if isinstance(value, property) else value.func
        else:
            continue
        if is_handler(inner) or _is_job(inner):
            reason = f"is no handler: its decorator must stand above @{type(value).__name__}"
            if isinstance(value, (property, cached_property)):
                reason = f"is no handler: @{type(value).__name__} calls it without a message"
            if not is_handler(value) and not _is_job(value):
                raise HandlerError(f"{cls.__qualname__}.{name}", reason)


def _marked_names(cls: type) -> set[str]:
    """Return the names of the handlers and jobs of *cls* and its bases."""
    namespaces = [vars(base) for base in cls.__mro__]
    return {
        name
        for namespace in namespaces
        for name, value in namespace.items()
        if is_handler(value) or _is_job(value)
    }


def _is_job(value: Any) -> bool:
    return isinstance(getattr(value, _SECONDS, None), float)


def _rebuild_table(cls: MessageHandlerType) -> None:
    """Store the route table of *cls* in it, and those of its subclasses in them."""
    table = _NO_HANDLERS
    for base in reversed(cls.__mro__):
        table = table.extended(dict(vars(base)))
    cls._route_table = table
    subclasses: Any = cls.__subclasses__()  # mypy takes those of a metaclass for Never
    for each in subclasses:
        _rebuild_table(each)


class HandlerOwner(metaclass=MessageHandlerType):
    """Base of processors: an object that has the handlers of its class, and may have its own."""

    _rules: Mapping[str, Rule] = {}
    """The rules that the values of attributes must follow."""
    _own_handlers: dict[str, Any] | None = None
    _own_routes: tuple[RouteTable, RouteTable] | None = None
    _bound_handlers: Any = None
    """The handlers, bound to this object; made again when one of them has been replaced."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a decorated function or class becomes a handler of this instance.

        A plain function whose first parameter is ``self`` is bound, as a method of a class is.
        Raises `HandlerError` if the name of a handler is that of another attribute, and
        `SettingsError` for a value that an attribute cannot have.
        """
        if not is_handler(value):
            where = f"{type(self).__name__}.{name}"
            if name in self._rules:
                self._rules[name](where, value)
            elif not callable(value):
                current = getattr(type(self), name, None)
                if is_handler(current) or is_typed(current):
                    text = f"is a handler, and cannot be set to {value!r}: rename one of the two"
                    raise HandlerError(where, text)
            elif isinstance(value, types.FunctionType) and is_typed(value):
                raise HandlerError(where, _TOO_LATE)
            if callable(value):  # it may replace a handler
                super().__setattr__("_bound_handlers", None)
            super().__setattr__(name, value)
            return
        check_name(type(self), name)
        is_function = isinstance(value, types.FunctionType)
        if is_function and value.__code__.co_varnames[:1] == ("self",):
            value = types.MethodType(value, self)
        super().__setattr__(name, value)
        super().__setattr__("_own_handlers", {**(self._own_handlers or {}), name: value})
        super().__setattr__("_own_routes", None)

    def __delattr__(self, name: str) -> None:
        super().__setattr__("_bound_handlers", None)
        super().__delattr__(name)

    def add_handler(self, handler: Callable[..., Any]) -> None:
        """Add a decorated function or `Handler` class to this instance; see `__setattr__`."""
        if is_typed(handler):
            raise HandlerError(name_of(handler), _TOO_LATE)
        if not is_handler(handler):
            raise TypeError(f"{handler!r} must be decorated with MessageHandler or its kin")
        setattr(self, handler.__name__, handler)

    @property
    def _routes(self) -> RouteTable:
        """The handlers of this processor: those of its class, and its own."""
        of_class = type(self)._route_table  # noqa: SLF001 - the metaclass above keeps it
        if self._own_handlers is None:
            return of_class
        if self._own_routes is None or self._own_routes[0] is not of_class:
            super().__setattr__("_own_routes", (of_class, of_class.extended(self._own_handlers)))
        return self._own_routes[1]  # type: ignore[index]  # set just now
