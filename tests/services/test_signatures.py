"""The signatures of a class: which handlers have one, and what their hints name."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import msgspec
import pytest

from postage import (
    BadParameters,
    GenericApplication,
    HandlerError,
    MessageHandler,
    Service,
    command,
    green,
    rpc,
)
from tests.services.samples import made, new_method


def test_mixins_and_applications_may_have_typed_handlers():
    class Mixin:
        @rpc
        def mixed(self, number: int) -> int:
            return number

    class App(Mixin, Service, GenericApplication):
        @rpc
        @green.time_limit(1)
        def below(self, number: int) -> int:
            return number

        @green.time_limit(1)
        @rpc
        def above(self, number: int) -> int:
            return number

    routes = {
        route.name: name for route, name in App.route_table.entries if route.category == "rpc"
    }
    assert {"mixed", "below", "above", "describe", "ping"} == routes.keys()
    assert all(App.signatures[name].names == ("number",) for name in ("mixed", "below", "above"))


def test_a_method_may_take_several_names():
    class Stock(Service):
        @rpc(name="one")
        @rpc(name="two")
        @command(name="three")
        @command
        def work(self) -> None: ...

    assert {"one", "two", "three", "work"} <= {route.name for route, _ in Stock.route_table.entries}


def test_hints_may_name_the_class_and_what_is_in_it():
    class Stock(Service):
        class Item(msgspec.Struct):
            name: str

        @rpc
        def reserve(self, item: Item) -> Item:
            return item

    (item,), _ = Stock.signatures["reserve"].arguments({"name": "bolt"})
    assert item == Stock.Item("bolt")


GENERIC = """
@dataclass
class Packed[T]:
    inside: T

class Held[T](msgspec.Struct):
    inside: T

type Number = int | None
type Many[T] = list[T]

class Stock(Service):
    @rpc
    def packed(self, value: Packed[int]) -> Packed[int]: ...
    @rpc
    def held(self, value: Held[int]) -> Held[int]: ...
    @rpc
    def number(self, value: Number) -> Number: ...
    @rpc
    def many(self, value: Many[int]) -> Many[int]: ...
"""

OPEN = """
class Stock(Service):
    @rpc
    def handler[T](self, value: T) -> T: ...
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this syntax is new in Python 3.12")
def test_type_parameters_and_aliases_are_resolved():
    namespace = {"dataclass": dataclass, "msgspec": msgspec, "Service": Service, "rpc": rpc}
    exec(GENERIC, namespace)  # noqa: S102 - older versions of Python cannot read it
    found = namespace["Stock"].signatures
    for name, good, bad in [
        ("packed", {"inside": 1}, {"inside": "x"}),
        ("held", {"inside": 1}, {"inside": "x"}),
        ("number", None, "x"),
        ("many", [1], ["x"]),
    ]:
        found[name].arguments({"value": good})
        with pytest.raises(BadParameters):
            found[name].arguments({"value": bad})
    with pytest.raises(HandlerError, match="has a type variable"):
        exec(OPEN, namespace)  # noqa: S102 - as above


def test_services_may_share_names_of_methods_and_functions():
    def nothing(self) -> None: ...

    shared = rpc(new_method())
    one, other = made(reserve=shared), made(reserve=shared, again=shared)
    assert one.signatures.keys() == {"reserve"}
    assert {"reserve", "again"} == other.signatures.keys()
    third = made(reserve=rpc(nothing))
    assert third.signatures["reserve"].returns is type(None)
    assert one.signatures["reserve"].returns is int


def test_a_subclass_replaces_a_typed_handler():
    class Stock(Service):
        @rpc
        def reserve(self, item: str) -> str:
            return item

        @command
        def restock(self, item: str) -> None: ...

        @MessageHandler("status", "known")
        def known(self, content): ...

    class Other(Stock):
        def reserve(self, item: str, count: int = 1) -> str:
            return item

        restock = None  # type: ignore[assignment]

    def names(cls: type[Service]) -> set[str | None]:
        ours = {route.name for route, _ in Service.route_table.entries}
        return {route.name for route, _ in cls.route_table.entries} - ours

    assert names(Stock) == {"reserve", "restock", "known"}
    assert names(Other) == {"reserve", "known"}
    assert Other.signatures["reserve"].names == ("item", "count")
    assert Stock.signatures["reserve"].names == ("item",)
