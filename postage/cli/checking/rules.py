"""The rules of ``postage check``: faults that the classes of components show.  Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from postage.addressing import Binding
from postage.broker.core.topic_patterns import TopicPatterns
from postage.callables import name_of
from postage.exchange import Exchange
from postage.handlers import Handler, MessageFilter, Route, RouteTable


@dataclass(frozen=True)
class Finding:
    """A remark about a component; a *fault* must be repaired, any other may be intended."""

    where: str
    text: str
    fault: bool = True


# --- handlers and filters of one processor class


def faults_of_handlers(processor: type, table: RouteTable) -> Iterator[Finding]:
    """Yield the faults in the handlers of the class *processor*, whose routes are *table*."""
    for name, value in vars(processor).items():
        if isinstance(value, MessageFilter):
            text = "is no handler: write @MessageFilter(...)"
            yield Finding(f"{processor.__qualname__}.{name}", text)
    unmade: Any = object.__new__(processor)  # binds methods without calling the constructor
    for route, name in table.entries:
        for text in _faults_of_handler(getattr(unmade, name), route):
            yield Finding(f"{processor.__qualname__}.{name}", text)
    for type_, name in table.unknown_types().items():
        text = f"takes the type {type_!r}, which no message class here has: is it the name?"
        yield Finding(f"{processor.__qualname__}.{name}", text, fault=False)
    yield from _shadowed_calls(processor, table)


def _faults_of_handler(handler: Any, route: Route) -> Iterator[str]:
    arguments = ["content" if route.part else "body"]
    if route.category == "rpc":
        arguments.append("reply_func")
    if isinstance(handler, type):
        if getattr(handler, "call", Handler.call) is Handler.call:
            yield "a handler that is a class inherits Handler and defines call(self)"
    elif not _takes(handler, len(arguments)):
        yield f"is called with (self, {', '.join(arguments)}), and takes {_signature(handler)}"
    for each in getattr(handler, "filters", ()):
        if not _takes(each.callable, 1 + len(each.args), each.kwds):
            signature = _signature(each.callable)
            name = name_of(each.callable)
            yield f"its filter {name} cannot be called with a message: it takes {signature}"


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


def _shadowed_calls(processor: type, table: RouteTable) -> Iterator[Finding]:
    """Yield the RPC handlers that never answer: of several for one call, the last one does."""
    calls = [(route, name) for route, name in table.entries if route.category == "rpc"]
    for index, (route, name) in enumerate(calls):
        for later, other in calls[index + 1 :]:
            if other != name and later.type == route.type and later.name in (None, route.name):
                call = f"{route.type} {route.name or '(any)'}"
                text = f"never answers: {other}, defined later, answers the call {call!r}, too"
                yield Finding(f"{processor.__qualname__}.{name}", text)


# --- exchanges and keys


def exchanges_differ(exchanges: Iterable[type[Exchange]]) -> Iterator[Finding]:
    """Yield the exchanges that are declared in two ways; passive ones are not declared."""
    known: dict[str, type[Exchange]] = {}
    for each in exchanges:
        if each.passive:
            continue
        first = known.setdefault(each.name, each)
        if first.parameters != each.parameters:
            text = (
                f"declares exchange {each.name!r} with other parameters than {first.__qualname__}"
            )
            yield Finding(each.__qualname__, text)


def keys_lead_nowhere(
    producer: str, eks: Iterable[tuple[type[Exchange], str]], bindings: Iterable[Binding]
) -> Iterator[Finding]:
    """Yield the keys of a *producer* to which none of the *bindings* leads.

    If no queue here is bound to the exchange at all, other programs may listen: that is no fault.
    """
    bindings = list(bindings)
    for exchange, key in eks:
        here = [each for each in bindings if each.exchange.name == exchange.name]
        if not here:
            text = f"no queue here is bound to exchange {exchange.name!r}"
            yield Finding(producer, text, fault=False)
        elif not any(_matches(each, key) for each in here):
            text = f"no queue is bound to key {key!r} of exchange {exchange.name!r}"
            yield Finding(producer, text)


def _matches(binding: Binding, key: str) -> bool:
    exchange_type = binding.exchange.exchange_type
    if exchange_type == "topic":
        patterns = TopicPatterns()
        patterns.add(binding.routing_key)
        return bool(patterns.matching(key))
    return exchange_type != "direct" or binding.routing_key == key
