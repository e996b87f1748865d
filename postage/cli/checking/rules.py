"""The examination of components: what is wrong with them, as far as their classes tell.  Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from postage.addressing import Binding
from postage.broker.core.routing import topic_matches
from postage.dispatch import name_of
from postage.exchange import Exchange
from postage.handlers import Handler, MessageFilter, MessageHandler, Route, RouteTable

__all__ = ["Finding", "exchanges_differ", "keys_lead_nowhere", "wrong_with_handlers"]


@dataclass(frozen=True)
class Finding:
    """Something to tell about a component; a *fault* is wrong, the rest may be as it should."""

    where: str
    text: str
    fault: bool = True


# --- handlers and filters of one processor class


def wrong_with_handlers(kind: type, table: RouteTable) -> Iterator[Finding]:
    """Yield what is wrong with the handlers of the processor class *kind*, whose *table* it is."""
    for name, value in vars(kind).items():
        if isinstance(value, (MessageHandler, MessageFilter)):
            what = type(value).__name__
            yield Finding(f"{kind.__qualname__}.{name}", f"is no handler: write @{what}(...)")
    bare: Any = object.__new__(kind)  # binds methods, without having been made
    for route, name in table.entries:
        for text in _wrong_with(getattr(bare, name), route):
            yield Finding(f"{kind.__qualname__}.{name}", text)
    yield from _hidden(kind, table)


def _wrong_with(handler: Any, route: Route) -> Iterator[str]:
    given = [
        "content" if route.part else "body",
        *(["reply_func"] if route.category == "rpc" else []),
    ]
    if isinstance(handler, type):
        if getattr(handler, "call", Handler.call) is Handler.call:
            yield "a handler that is a class inherits Handler and defines call(self)"
    elif inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        yield "nothing of it runs: a handler is a plain function, without async or yield"
    elif not _takes(handler, len(given)):
        yield f"is called with (self, {', '.join(given)}), and takes {_signature(handler)}"
    for each in getattr(handler, "filters", ()):
        if not callable(each.callable):
            yield f"its filter {each.callable!r} cannot be called"
        elif not _takes(each.callable, 1 + len(each.args), each.kwds):
            yield (
                f"its filter {name_of(each.callable)} cannot be called with a message: it takes "
                + (_signature(each.callable))
            )


def _takes(func: Callable[..., Any], count: int, kwds: dict[str, Any] | None = None) -> bool:
    try:
        inspect.signature(func).bind(*[None] * count, **(kwds or {}))
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature
    return True


def _signature(func: Callable[..., Any]) -> str:
    plain = getattr(func, "__func__", func)
    return str(inspect.signature(plain))


def _hidden(kind: type, table: RouteTable) -> Iterator[Finding]:
    """Yield the RPC handlers that never answer: of several the last one defined does."""
    calls = [(route, name) for route, name in table.entries if route.category == "rpc"]
    for place, (route, name) in enumerate(calls):
        for later, other in calls[place + 1 :]:
            if other != name and later.type == route.type and later.name in (None, route.name):
                what = f"{route.type} {route.name or '(any)'}"
                text = f"never answers: {other}, defined later, answers the call {what!r}, too"
                yield Finding(f"{kind.__qualname__}.{name}", text)


# --- what components say of the broker


def exchanges_differ(exchanges: Iterable[type[Exchange]]) -> Iterator[Finding]:
    """Yield the exchanges that are declared in two ways; passive ones are not declared."""
    known: dict[str, type[Exchange]] = {}
    for each in exchanges:
        if each.passive:
            continue
        first = known.setdefault(each.name, each)
        if first.parameters != each.parameters:
            text = f"declares exchange {each.name!r} otherwise than {first.__qualname__} does"
            yield Finding(each.__qualname__, text)


def keys_lead_nowhere(
    producer: str, eks: Iterable[tuple[type[Exchange], str]], bindings: Iterable[Binding]
) -> Iterator[Finding]:
    """Yield the keys of a *producer* to which none of the *bindings* leads.

    Where nobody here listens to the exchange at all, others may, and it is no fault.
    """
    bindings = list(bindings)
    for exchange, key in eks:
        here = [each for each in bindings if each.exchange.name == exchange.name]
        if not here:
            text = f"nobody here listens to exchange {exchange.name!r}"
            yield Finding(producer, text, fault=False)
        elif not any(_leads(each, key) for each in here):
            text = f"no queue is bound to key {key!r} of exchange {exchange.name!r}"
            yield Finding(producer, text)


def _leads(binding: Binding, key: str) -> bool:
    kind = binding.exchange.exchange_type
    if kind == "topic":
        return topic_matches(binding.key, key)
    return kind != "direct" or binding.key == key
