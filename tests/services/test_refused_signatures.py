"""Signatures that cannot be served, and odd uses of the decorators: making the class fails."""

from __future__ import annotations

import datetime as dt
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pytest

from postage import (
    Exchange,
    HandlerError,
    MessageProcessor,
    RpcHandler,
    Service,
    SettingsError,
    command,
    event,
    rpc,
)
from postage.callables import name_of
from tests.services.samples import Box, Line, Row, T, made, new_method

if typing.TYPE_CHECKING:
    from nowhere import Unknown


class Broken(msgspec.Struct):
    value: Missing  # noqa: F821 - as a user forgets it


class Plain:
    """Nothing is known of its values."""


@dataclass
class OwnInit:
    count: int

    def __init__(self, count: int) -> None:
        self.count = abs(count)


@dataclass(frozen=True)
class Holder:
    held: Any = None


def any_arguments(self, *args: int) -> None: ...
def any_keywords(self, **kwds: int) -> None: ...
def no_self() -> None: ...
def no_type(self, item) -> None: ...
def no_result(self, item: str): ...
def list_default(self, item: list[str] = []) -> None: ...  # noqa: B006 - the point
def wrong_default(self, count: int = None) -> None: ...  # noqa: RUF013 - as users write it
def odd_default(self, held: Any = Plain()) -> None: ...  # noqa: B008 - the point
def deep_default(self, held: Holder = Holder(Plain())) -> None: ...  # noqa: B008 - the point
def unknown_type(self, item: Unknown) -> None: ...
def unknown_result(self) -> Unknown: ...
def type_variable(self, item: T) -> None: ...
def deep_variable(self, items: list[T]) -> None: ...
def open_generic(self, item: Box) -> None: ...
def plain_class(self, item: Plain) -> None: ...
def deep_class(self, items: dict[str, list[Plain]]) -> None: ...
def class_in_box(self, item: Box[Plain]) -> None: ...
def callback(self, item: Callable[[], int]) -> None: ...
def iterator(self, items: Iterator[int]) -> None: ...
def an_object(self, item: object) -> None: ...
def two_lists(self, items: list[int] | tuple[str, ...]) -> None: ...
def two_texts(self, item: str | dt.date) -> None: ...
def broken_struct(self, item: Broken) -> None: ...
def private(self, _timeout: int) -> None: ...
def classic_name(self, parameters: int) -> None: ...
def odd_result(self) -> Plain: ...
def own_init(self, items: list[OwnInit]) -> None: ...


REFUSED = {
    any_arguments: "takes any arguments, which cannot be checked: name each parameter",
    any_keywords: "takes any arguments, which cannot be checked: name each parameter",
    no_self: "needs self",
    no_type: "needs the type of its parameter 'item'",
    no_result: "needs the type of its result: write -> None",
    list_default: "has a default of 'item' that can be changed",
    wrong_default: "has a default of 'count' that its hint does not allow: value: Expected `int`",
    odd_default: "has a default of 'held' that its hint does not allow",
    deep_default: "has a default of 'held' that its hint does not allow",
    unknown_type: "has a hint that cannot be resolved (name 'Unknown' is not defined)",
    unknown_result: "has a hint that cannot be resolved",
    type_variable: "the hint of its parameter 'item' has a type variable",
    deep_variable: "the hint of its parameter 'items' has a type variable",
    open_generic: "the hint of its parameter 'item' has a type variable",
    plain_class: "has Plain, which cannot be checked: use builtins",
    deep_class: "has Plain, which cannot be checked",
    class_in_box: "has Plain, which cannot be checked",
    callback: "has Callable, which cannot be checked",
    iterator: "has Iterator, which cannot be checked",
    an_object: "has object, which cannot be checked",
    two_lists: "cannot be checked by msgspec: Type unions may not contain more than one array",
    two_texts: "cannot be checked by msgspec: Type unions may not contain more than one str-like",
    broken_struct: "cannot be checked by msgspec: name 'Missing' is not defined",
    private: "has a parameter '_timeout', a name that producers use themselves",
    classic_name: "has a parameter 'parameters', a name that producers use themselves",
    odd_result: "the hint of its result has Plain",
    own_init: "has OwnInit, whose own __init__ would not run: use __post_init__ instead",
}


@pytest.mark.parametrize("function", REFUSED, ids=name_of)
@pytest.mark.parametrize("decorator", [rpc, command], ids=["rpc", "command"])
def test_a_signature_that_cannot_be_served_is_refused(decorator, function):
    with pytest.raises(SettingsError) as raised:
        type("Stock", (Service,), {"handler": decorator(function)})
    assert str(raised.value).startswith("Stock.handler ")
    assert REFUSED[function] in str(raised.value)


@pytest.mark.parametrize(
    "name", ["queue", "exchange", "counts", "eqk", "_pool", "__init__", "fingerprint", "add_eqk"]
)
def test_names_of_services_themselves_are_refused(name):
    with pytest.raises(HandlerError, match=r"hides|Python itself uses"):
        made(**{name: rpc(new_method())})


def test_odd_uses_of_the_decorators_are_refused():
    def lazy(self) -> int:
        yield 1

    async def later(self) -> int: ...

    def ordered(self, event: Line) -> None: ...
    def two(self, event: Line, more: int) -> None: ...
    def of_row(self, event: Row) -> None: ...
    def classic(self, content, reply): ...

    for decorate, told in {
        partial(command, lazy): "is a generator",
        lambda: made(on=rpc(lazy)): "yields, so it sends a stream of parts",
        partial(command, later): "is async",
        partial(rpc, staticmethod(new_method())): "is no plain method",
        partial(rpc, 5): "is no plain method",
        partial(rpc, name=5): "takes the name of its messages as text",
        partial(rpc, raises=ValueError): "raises of @rpc must be a tuple of exception classes",
        partial(rpc, raises=(int,)): "raises of @rpc must be a tuple of exception classes",
        partial(rpc, raises=(ValueError, type("ValueError", (KeyError,), {}))): "of one name",
        partial(event, new_method()): "takes the class of the event",
        lambda: made(on=event(Row)(ordered)): "must take one argument, annotated with Row",
        lambda: made(on=event(Line)(two)): "must take one argument",
        lambda: made(on=event(Row)(of_row)): "which must be a dataclass",
        lambda: made(on=property(rpc(new_method()))): "take @property away",
        lambda: made(on=staticmethod(rpc(new_method()))): "take @staticmethod away",
        lambda: made(on=RpcHandler("command", "a")(rpc(new_method()))): "a classic and a typed",
        lambda: made(a=rpc(new_method()), b=rpc(name="a")(new_method())): "both take the call 'a'",
        lambda: made(
            a=rpc(new_method()), b=RpcHandler("command", "a")(classic)
        ): "both take the call",
        lambda: type("P", (MessageProcessor,), {"a": rpc(new_method())}): "inherit postage.Service",
        lambda: made(exchange=Exchange, queue="q", eqk=[]): "has both eqk and exchange",
    }.items():
        with pytest.raises(SettingsError) as raised:
            decorate()
        assert told in str(raised.value)
