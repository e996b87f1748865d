"""Decorators of handlers, filters and periodic jobs, and the route table of a class.

A decorator marks the method and returns the method itself, which stays callable and picklable.  The
handlers of a class are its marked attributes: those of base classes first, then in the order of
definition.  An attribute that overrides another one replaces its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from postage.errors import SettingsError

# fmt: off
__all__ = [
    "ROUTES", "Handler", "MessageFilter", "MessageHandler", "MessageHandlerFullBody",
    "MessageHandlerType", "Route", "RouteTable", "RpcHandler", "every", "is_handler", "jobs_of",
]
# fmt: on

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])
ROUTES = "_postage_routes"
"""The attribute in which a handler has its routes."""
_SECONDS = "_postage_every"


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
        self.route = Route(self.category, message_type, message_name, self.part)

    def __call__(self, func: T) -> T:
        """Mark *func* and return it."""
        # From the object's own namespace: a Handler class must not write into its base's list.
        setattr(func, ROUTES, [*vars(func).get(ROUTES, ()), self.route])
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
        self.callable, self.args, self.kwds = _callable, args, kwds

    def __call__(self, func: T) -> T:
        """Add this filter to *func* and return it."""
        func.filters = [*vars(func).get("filters", ()), self]  # type: ignore[attr-defined]
        return func

    def apply(self, message: Any) -> Any:
        """Return the message that the handler gets instead of *message*."""
        return self.callable(message, *self.args, **self.kwds)


class Handler:
    """Base of handlers that are classes: override `call`; making one handles the message."""

    filters: Sequence[MessageFilter] = ()
    returned: Any = None
    """The value that `call` returned; for an RPC, the reply, unless ``reply_func`` was called."""

    def __init__(self, processor: Any, data: Any, reply_func: Any = None) -> None:
        self.processor, self.data, self.reply_func = processor, data, reply_func
        self.returned = self.call()

    def call(self) -> Any:
        """Handle ``self.data``; for an RPC, return the reply or call ``self.reply_func``."""
        raise NotImplementedError(f"{type(self).__qualname__} must define call(self)")


def is_handler(value: Any) -> bool:
    """Tell whether *value* was decorated as a handler."""
    return bool(getattr(value, ROUTES, None))


def every(seconds: float) -> Callable[[Method], Method]:
    """Mark a method of a processor, without arguments, as a job that runs every *seconds*.

    The job runs while the processor consumes, for the first time after *seconds*, and counts as one
    of the processor's ``concurrency``.  When the processor stops, a running job gets the same time
    to finish as a handler.  A turn is skipped while the one before it still runs.  An exception is
    logged and counted, and later turns run as usual; but `StopIteration`, `ExitScheduler` and
    `AckAndRestart` have the same effects as in handlers.  An override in a subclass must be
    decorated again.

    Raises `SettingsError` if *seconds* is not a positive, finite number.
    """
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"every({seconds!r}): it takes seconds, more than 0")

    def mark(method: Method) -> Method:
        setattr(method, _SECONDS, float(seconds))
        return method

    return mark


def jobs_of(cls: type) -> Iterator[tuple[str, float]]:
    """Yield the name and the seconds of each periodic job of *cls*."""
    for name in dir(cls):
        seconds = getattr(getattr(cls, name, None), _SECONDS, None)
        if isinstance(seconds, float):
            yield name, seconds


class RouteTable:
    """The handlers of a processor: for each route the names of the attributes, in order."""

    def __init__(self, entries: Iterable[tuple[Route, str]] = ()) -> None:
        self.entries = tuple(entries)
        self.find = lru_cache(maxsize=256)(self._find)
        """A function of the category, type and name of a message: returns for each handler its
        attribute and the part of the body that it gets, in the order of definition."""

    def _find(self, category: str, type_: str, name: str) -> tuple[tuple[str, str | None], ...]:
        return tuple(
            (attribute, route.part)
            for route, attribute in self.entries
            if route[:2] == (category, type_) and route.name in (None, name)
        )

    def extended(self, attributes: dict[str, Any]) -> RouteTable:
        """Return this table with the handlers among *attributes*, which replace older ones."""
        added = [
            (route, name)
            for name, value in attributes.items()
            for route in getattr(value, ROUTES, ())
        ]
        gone = {name for _, name in added}
        gone.update(name for name, value in attributes.items() if not callable(value))
        return RouteTable((*(entry for entry in self.entries if entry[1] not in gone), *added))


_NO_HANDLERS = RouteTable()


class MessageHandlerType(type):
    """Metaclass of processors: keeps the route table of a class up to date."""

    _route_table: RouteTable = _NO_HANDLERS  # each class has its own; read for every message

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        _rebuild_table(cls)

    def __setattr__(cls, name: str, value: Any) -> None:
        is_route = is_handler(value) or is_handler(getattr(cls, name, None))
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


def _rebuild_table(cls: MessageHandlerType) -> None:
    """Store the route table of *cls* in it, and those of its subclasses in them."""
    table = _NO_HANDLERS
    for base in reversed(cls.__mro__):
        table = table.extended(dict(vars(base)))
    cls._route_table = table
    subclasses: Any = cls.__subclasses__()  # mypy takes those of a metaclass for Never
    for each in subclasses:
        _rebuild_table(each)
