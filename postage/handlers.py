"""Handlers and filters: decorators that only mark, and the route table of a class.

A decorator leaves its mark on the method and returns the method itself, so that it stays callable
and picklable.  Which handlers a class has follows from its attributes, base classes first, in the
order of definition; an attribute that overrides another one replaces its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

__all__ = [
    "Handler",
    "MessageFilter",
    "MessageHandler",
    "MessageHandlerFullBody",
    "MessageHandlerType",
    "Route",
    "RouteTable",
    "RpcHandler",
    "is_handler",
]

T = TypeVar("T")
_MARK = "_postage_routes"


class Route(NamedTuple):
    """Which messages a handler takes (*name* None: all), and what part of the body it gets."""

    category: str
    type: str
    name: str | None
    part: str | None = "content"


class MessageHandler:
    """Marks a method, or a nested `Handler` class, as taking messages of a type and name.

    The method gets the content.  Without *message_name* it takes every name of that type.  A method
    may carry several of these.
    """

    category: ClassVar[str] = "message"
    part: ClassVar[str | None] = "content"

    def __init__(self, message_type: str, message_name: str | None = None) -> None:
        self.route = Route(self.category, message_type, message_name, self.part)

    def __call__(self, func: T) -> T:
        """Mark *func* and return it."""
        # From the object's own namespace: a Handler class must not write into its base's list.
        setattr(func, _MARK, [*vars(func).get(_MARK, ()), self.route])
        return func


class MessageHandlerFullBody(MessageHandler):
    """Like `MessageHandler`; the method gets the whole body, with type, name and fingerprint."""

    part = None


class RpcHandler(MessageHandler):
    """Marks a handler for RPCs: it gets the content and a reply function, to be called once."""

    category = "rpc"


class MessageFilter:
    """Puts ``callable(message, *args, **kwds)`` before a handler; its result goes to the handler.

    It gets its own copy of what the handler would get.  Any exception discards the message for this
    handler only.  Several run in turn, the innermost first; it may stand above or below the
    handler's decorator.
    """

    def __init__(self, _callable: Callable[..., Any], *args: Any, **kwds: Any) -> None:
        self.callable, self.args, self.kwds = _callable, args, kwds

    def __call__(self, func: T) -> T:
        """Add this filter to *func* and return it."""
        func.filters = [*vars(func).get("filters", ()), self]  # type: ignore[attr-defined]
        return func

    def apply(self, message: Any) -> Any:
        """Return what the filter makes of *message*."""
        return self.callable(message, *self.args, **self.kwds)


class Handler:
    """Base of handlers that are classes: override `call`; making one handles the message."""

    def __init__(self, processor: Any, data: Any, reply_func: Any = None) -> None:
        self.processor, self.data, self.reply_func = processor, data, reply_func
        self.call()

    def call(self) -> None:
        """Handle ``self.data``; for an RPC, answer with ``self.reply_func``."""
        raise NotImplementedError(f"{type(self).__qualname__} must define call(self)")


def is_handler(value: Any) -> bool:
    """Tell whether *value* carries the mark of a handler decorator."""
    return bool(getattr(value, _MARK, None))


class RouteTable:
    """The handlers of a processor: for each route the names of the attributes, in order."""

    def __init__(self, entries: Iterable[tuple[Route, str]] = ()) -> None:
        self.entries = tuple(entries)
        self.find = lru_cache(maxsize=256)(self._find)
        """Returns (attribute, part of the body) for the category, type and name of a message, in
        the order of definition."""

    def _find(self, category: str, type_: str, name: str) -> tuple[tuple[str, str | None], ...]:
        kind = category, type_
        return tuple(
            (attribute, route.part)
            for route, attribute in self.entries
            if (route.category, route.type) == kind and route.name in (None, name)
        )

    def extended(self, attributes: dict[str, Any]) -> RouteTable:
        """Return this table with the handlers among *attributes*, which replace older ones."""
        added = [(route, name) for name, value in attributes.items() for route in _routes_of(value)]
        gone = {name for _, name in added}
        gone.update(name for name, value in attributes.items() if not callable(value))
        return RouteTable((*(entry for entry in self.entries if entry[1] not in gone), *added))


_NO_HANDLERS = RouteTable()


def _routes_of(value: Any) -> list[Route]:
    routes: list[Route] = getattr(value, _MARK, [])
    return routes


class MessageHandlerType(type):
    """Metaclass of processors: knows the route table of the class, also after it was changed."""

    _generation: ClassVar[int] = 0
    _cached: tuple[int, RouteTable]

    def __setattr__(cls, name: str, value: Any) -> None:
        # Others, as what a class counts in an attribute, must not cost a new table each time.
        if is_handler(value) or is_handler(getattr(cls, name, None)):
            MessageHandlerType._generation += 1
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        MessageHandlerType._generation += 1  # what it has hidden in a base may come to light
        super().__delattr__(name)

    @property
    def route_table(cls) -> RouteTable:
        """The handlers of this class and its bases; follows handlers set on any of them later."""
        generation, known = vars(cls).get("_cached", (-1, _NO_HANDLERS))
        if generation != MessageHandlerType._generation:
            known = _NO_HANDLERS
            for base in reversed(cls.__mro__):
                known = known.extended(dict(vars(base)))
            cls._cached = MessageHandlerType._generation, known
        table: RouteTable = known
        return table
