"""Signatures: what is refused when the class is made, and which parameters fit."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import sys
import typing
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pytest

from postage import (
    BadParameters,
    Exchange,
    GenericApplication,
    HandlerError,
    MessageHandler,
    MessageProcessor,
    RpcHandler,
    Service,
    SettingsError,
    command,
    event,
    green,
    rpc,
)
from postage.callables import name_of
from postage.services.conversion import check_hint
from postage.services.signatures import Signature
from tests.support.programs import run_program

if typing.TYPE_CHECKING:
    from nowhere import Unknown

T = TypeVar("T")


@dataclass
class Line:
    item: str
    count: int = 1


class Box(msgspec.Struct, Generic[T]):
    inside: T


class Tree(msgspec.Struct):
    value: int
    below: list[Tree] = []


class Broken(msgspec.Struct):
    value: Missing  # noqa: F821 - as a user forgets it


class Row(msgspec.Struct, array_like=True):
    item: str
    count: int


class Color(enum.Enum):
    RED = "red"


class Point(TypedDict):
    x: int
    y: int


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


# --- refused signatures


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


def reserve(self, item: str, count: int = 1) -> int:
    return count


def made(**attributes: Any) -> type[Service]:
    return type("Stock", (Service,), attributes)


@pytest.mark.parametrize(
    "name", ["queue", "exchange", "counts", "eqk", "_pool", "__init__", "fingerprint", "add_eqk"]
)
def test_names_of_services_themselves_are_refused(name):
    with pytest.raises(HandlerError, match=r"hides|Python itself uses"):
        made(**{name: rpc(reserve)})


class Named:
    item: str


def test_odd_uses_of_the_decorators_are_refused():
    def lazy(self) -> int:
        yield 1

    async def later(self) -> int: ...

    def ordered(self, event: Line) -> None: ...
    def two(self, event: Line, more: int) -> None: ...
    def of_row(self, event: Row) -> None: ...

    for decorate, told in {
        partial(command, lazy): "is a generator",
        lambda: made(on=rpc(lazy)): "yields, so it sends a stream of parts",
        partial(command, later): "is async",
        partial(rpc, staticmethod(reserve)): "is no plain method",
        partial(rpc, 5): "is no plain method",
        partial(rpc, name=5): "takes the name of its messages as text",
        partial(rpc, raises=ValueError): "raises of @rpc must be a tuple of exception classes",
        partial(rpc, raises=(int,)): "raises of @rpc must be a tuple of exception classes",
        partial(rpc, raises=(ValueError, type("ValueError", (KeyError,), {}))): "of one name",
        partial(event, reserve): "takes the class of the event",
        lambda: made(on=event(Row)(ordered)): "must take one argument, annotated with Row",
        lambda: made(on=event(Line)(two)): "must take one argument",
        lambda: made(on=event(Row)(of_row)): "which must be a dataclass",
        lambda: made(on=property(rpc(reserve))): "take @property away",
        lambda: made(on=staticmethod(rpc(reserve))): "take @staticmethod away",
        lambda: made(on=RpcHandler("command", "a")(rpc(fresh()))): "a classic and a typed",
        lambda: made(a=rpc(fresh()), b=rpc(name="a")(fresh())): "both take the call 'a'",
        lambda: made(a=rpc(fresh()), b=RpcHandler("command", "a")(classic)): "both take the call",
        lambda: type("P", (MessageProcessor,), {"a": rpc(fresh())}): "inherit postage.Service",
        lambda: made(exchange=Exchange, queue="q", eqk=[]): "has both eqk and exchange",
    }.items():
        with pytest.raises(SettingsError) as raised:
            decorate()
        assert told in str(raised.value)


def fresh() -> Any:
    """Return a function of its own, as decorators mark the function itself."""

    def reserve(self, item: str, count: int = 1) -> int:
        return count

    return reserve


def classic(self, content, reply): ...


def test_without_msgspec_the_class_says_what_to_install():
    code = (
        "import sys; sys.modules['msgspec'] = None\n"
        "from postage import Service, SettingsError, rpc\n"
        "class Empty(Service): pass\n"
        "try:\n"
        "    class Stock(Service):\n"
        "        @rpc\n"
        "        def reserve(self, item: str) -> int: ...\n"
        "except SettingsError as exc:\n"
        "    print(exc)\n"
    )
    finished = run_program("-c", code)
    assert finished.stdout == (
        "typed handlers need msgspec: install it, or Postage with its extra `typed`\n"
    ), finished.stderr


def test_a_program_without_services_does_not_load_them():
    code = (
        "import sys; from postage import *; import postage.green\n"
        "from postage.messaging import MessageProcessor\n"
        "class P(MessageProcessor): pass\n"
        "print('postage.green.processor' in sys.modules, 'pydantic' in sys.modules)\n"
    )
    assert run_program("-c", code).stdout == "True False\n"
    code = (
        "import sys; import postage.messaging, postage.microthreads, postage.green.processor\n"
        "print([each for each in sys.modules if each.startswith(('postage.services', 'msgspec'))])"
    )
    assert run_program("-c", code).stdout == "[]\n"


# --- readings


def signature(function: Any) -> Signature:
    return Signature.of(Service, function.__name__, function)


def one(self, item: str) -> None: ...
def two(self, item: str, count: int = 1) -> None: ...
def named(self, item: str, *, count: int = 1) -> None: ...
def placed(self, item: str, /, count: int = 1) -> None: ...
def none(self) -> None: ...
def numbers(self, numbers: list[int]) -> None: ...
def names(self, names: list[str], count: int = 1) -> None: ...
def line(self, line: Line) -> None: ...
def row(self, row: Row) -> None: ...
def urgent(self, line: Line, urgent: bool = False) -> None: ...
def anything(self, value: Any) -> None: ...
def anything_more(self, value: Any, count: int = 1) -> None: ...
def table(self, table: dict[str, int]) -> None: ...
def maybe(self, value: int | None) -> None: ...


@pytest.mark.parametrize(
    ("function", "given", "args", "kwds"),
    [
        (one, "bolt", ("bolt",), {}),
        (one, ["bolt"], ("bolt",), {}),
        (one, {"item": "bolt"}, ("bolt",), {}),
        (two, "bolt", ("bolt", 1), {}),
        (two, ["bolt", 3], ("bolt", 3), {}),
        (two, {"count": 3, "item": "bolt"}, ("bolt", 3), {}),
        (two, {"args": ["bolt"], "kwds": {"count": 3}}, ("bolt", 3), {}),
        (named, {"item": "bolt", "count": 3}, ("bolt",), {"count": 3}),
        (named, "bolt", ("bolt",), {"count": 1}),
        (placed, {"item": "bolt", "count": 3}, ("bolt", 3), {}),
        (none, {}, (), {}),
        (none, None, (), {}),
        (none, [], (), {}),
        (numbers, [1, 2], ([1, 2],), {}),
        (numbers, [[1, 2]], ([1, 2],), {}),
        (numbers, [], ([],), {}),
        (numbers, {"numbers": [1]}, ([1],), {}),
        (names, ["a", "b"], (["a", "b"], 1), {}),
        (names, [["a"], 2], (["a"], 2), {}),
        (line, {"item": "bolt"}, (Line("bolt"),), {}),
        (line, {"line": {"item": "bolt", "count": 2}}, (Line("bolt", 2),), {}),
        (line, {"item": "bolt", "later": "unknown"}, (Line("bolt"),), {}),
        (row, ["bolt", 2], (Row("bolt", 2),), {}),
        (urgent, {"item": "bolt"}, (Line("bolt"), False), {}),
        (urgent, {"line": {"item": "bolt"}, "urgent": True}, (Line("bolt"), True), {}),
        (anything, {"a": 1}, ({"a": 1},), {}),
        (anything, {"value": 1}, (1,), {}),
        (anything, [1, 2], ([1, 2],), {}),
        (anything_more, [1, 2], (1, 2), {}),
        (table, {"a": 1}, ({"a": 1},), {}),
        (table, {"table": {"a": 1}}, ({"a": 1},), {}),
        (table, {"table": 1}, ({"table": 1},), {}),
        (maybe, None, (None,), {}),
    ],
)
def test_each_shape_of_parameters_is_understood(function, given, args, kwds):
    assert signature(function).arguments(given) == (args, kwds)


@pytest.mark.parametrize(
    ("function", "given", "path", "reason"),
    [
        (one, 5, "item", "Expected `str`, got `int`"),
        (one, None, "item", "Expected `str`, got `null`"),
        (one, {}, "item", "is missing"),
        (one, [], "item", "is missing"),
        (one, ["a", "b"], "parameters", "there are at most 1 without a name, not 2"),
        (two, {"item": "a", "cuont": 2}, "'cuont'", "is no parameter: it takes item, count"),
        (two, {"item": "a", "\n\x1b[2J" + "x" * 999: 2}, None, "is no parameter"),
        (two, {"item": "a", "count": True}, "count", "Expected `int`, got `bool`"),
        (two, {"item": "a", "count": 1.0}, "count", "Expected `int`, got `float`"),
        (two, {"item": "a", "count": "1"}, "count", "Expected `int`, got `str`"),
        (two, {"args": ["a"], "kwds": {"item": "b"}}, "item", "is given twice"),
        (two, {"args": "a", "kwds": {}}, "parameters", "args must be a list, and kwds an object"),
        (named, ["a", 2], "parameters", "there are at most 1 without a name"),
        (none, 5, "parameters", "there is none without a name"),
        (none, {"a": 1}, "'a'", "is no parameter: it takes none"),
        (names, [["a", 5]], "names[1]", "Expected `str`, got `int`"),
        (line, {"line": {"item": "bolt", "count": None}}, "line.count", "Expected `int`"),
        (line, {"item": 5}, "line.item", "Expected `str`"),
        (line, {"line": 5}, "line", "Expected `object`"),
        (anything_more, {"value": 1, "cuont": 2}, "'cuont'", "is no parameter"),
        (table, {"a": "b"}, None, ""),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(function, given, path, reason):
    with pytest.raises(BadParameters) as raised:
        signature(function).arguments(given)
    error = raised.value
    assert path in (None, error.path)
    assert reason in error.reason
    assert str(error) == f"{error.path}: {error.reason}"
    assert str(error).isprintable()
    assert len(str(error)) < 2500


@pytest.mark.parametrize(
    ("hint", "sent", "expected"),
    [
        (dt.date, "2026-01-02", dt.date(2026, 1, 2)),
        (dt.datetime, "2026-01-02T00:00:00Z", dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)),
        (uuid.UUID, "0" * 32, uuid.UUID(int=0)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (Color, "red", Color.RED),
        (Literal["a", "b"], "b", "b"),
        (bytes, "aGk=", b"hi"),
        (set[int], [1, 1], {1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Point, {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (Tree, {"value": 1, "below": [{"value": 2}]}, Tree(1, [Tree(2)])),
        (Box[int], {"inside": 1}, Box(1)),
        (Annotated[int, msgspec.Meta(gt=0)], 1, 1),
        (float, 1, 1.0),
        (int, 2**80, 2**80),
        (int | str | None, None, None),
    ],
)  # fmt: skip
def test_values_are_converted_by_their_hints(hint, sent, expected):
    def handler(self, value):
        return value

    handler.__annotations__ = {"value": hint, "return": hint}
    found = signature(handler)
    args, _ = found.arguments({"value": sent})
    assert args == (expected,)
    assert type(args[0]) is type(expected)
    back = found.result(expected).value
    assert found.received(back) == expected


def nameless(self, item: str, count: int = 1, /, more: int = 2) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwds", "sent"),
    [
        (two, ("bolt",), {}, {"item": "bolt"}),
        (two, ("bolt",), {"count": 2}, {"item": "bolt", "count": 2}),
        (none, (), {}, {}),
        (nameless, ("bolt",), {}, "bolt"),
        (nameless, ("bolt", 3), {}, ["bolt", 3]),
        (nameless, ("bolt",), {"more": 3}, {"args": ["bolt"], "kwds": {"more": 3}}),
        (line, (Line("bolt"),), {}, {"line": {"item": "bolt", "count": 1}}),
    ],
)
def test_arguments_of_clients_are_sent_so_that_handlers_get_them(function, args, kwds, sent):
    found = signature(function)
    assert found.sent(args, kwds) == sent
    got, _ = found.arguments(sent)
    assert got[: len(args)] == args


def test_an_event_is_the_content_itself():
    def on(self, event: Line) -> None: ...

    assert signature(on).only({"item": "bolt"}) == ((Line("bolt"),), {})
    with pytest.raises(BadParameters, match=r"^event.count: Expected `int`, got `str`$"):
        signature(on).only({"item": "bolt", "count": "2"})


def test_models_of_pydantic_check_themselves():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is in the extra `dev`")
    namespace: dict[str, Any] = {"__annotations__": {"item": str, "count": int}}
    model = type("Model", (pydantic.BaseModel,), namespace)

    def handler(self, order):
        return order

    handler.__annotations__ = {"order": model, "return": model}
    found = signature(handler)
    for given in ({"item": "bolt", "count": 2}, {"order": {"item": "bolt", "count": 2}}):
        (order,), _ = found.arguments(given)
        assert order == model(item="bolt", count=2)
    assert found.result(order).value == {"item": "bolt", "count": 2}
    assert found.received({"item": "bolt", "count": 2}) == order
    with pytest.raises(BadParameters) as raised:
        found.arguments({"order": {"item": "bolt", "count": "two"}})
    assert (raised.value.path, raised.value.reason.split(":")[0]) == ("order", "count")


@dataclass(frozen=True)
class Frozen:
    line: Line
    lines: list[Line | None] | None = None
    note: str = ""


@dataclass(slots=True)
class Slotted:
    item: str
    count: int = 1


@dataclass
class Packed(Generic[T]):
    inside: T
    label: str = "none"


class Kept(msgspec.Struct):
    frozen: Frozen
    by_name: dict[str, tuple[Slotted, Line]]


def test_defaults_of_dataclasses_are_sent_on():
    """msgspec does not set them in the instance, and sends only what is set."""

    def handler(self, kept: Kept) -> Kept:
        return kept

    found = signature(handler)
    line = {"item": "a"}
    given = {"frozen": {"line": line, "lines": [line, None]}, "by_name": {"k": [line, line]}}
    (kept,), _ = found.arguments({"kept": given})
    whole = {"item": "a", "count": 1}
    assert found.result(kept).value == {
        "frozen": {"line": whole, "lines": [whole, None], "note": ""},
        "by_name": {"k": (whole, whole)},
    }
    assert found.received(given) == kept
    (kept,), _ = found.arguments({"kept": {"frozen": {"line": line}, "by_name": {}}})
    assert vars(kept.frozen) == {"line": Line("a"), "lines": None, "note": ""}

    def generic(self, packed: Packed[Line]) -> Packed[Line]:
        return packed

    found = signature(generic)
    (packed,), _ = found.arguments({"packed": {"inside": line}})
    assert found.result(packed).value == {"inside": whole, "label": "none"}


def test_limits_that_only_pydantic_knows_are_refused():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is in the extra `dev`")
    limited: Any = Annotated[int, pydantic.Field(gt=3)]
    namespace = {"__annotations__": {"count": limited}}
    record = dataclass(type("Record", (), dict(namespace)))
    table = TypedDict("Table", {"count": limited})  # type: ignore[misc]  # noqa: UP013 - as above
    of_pydantic = pydantic.dataclasses.dataclass(type("OfPydantic", (), dict(namespace)))
    positive = typing.NewType("positive", limited)  # type: ignore[valid-newtype]
    for hint in (limited, list[limited], record, table, dict[str, table], positive, of_pydantic):
        with pytest.raises(SettingsError, match=r"would not (be checked|run): use"):
            check_hint(hint)
    model: Any = type("Model", (pydantic.BaseModel,), dict(namespace))
    for hint in (
        model,
        list[model],
        Annotated[int, "a remark"],
        Annotated[int, msgspec.Meta(gt=3)],
    ):
        check_hint(hint)


def test_a_result_that_its_hint_does_not_allow_is_an_error():
    with pytest.raises(HandlerError, match=r"Service.two has returned what its hint does not al"):
        signature(two).result(5)


def test_values_that_nest_too_deep_do_not_fit():
    def handler(self, tree: Tree) -> Tree:
        return tree

    given: dict[str, Any] = {"value": 1}
    for _ in range(10_000):
        given = {"value": 1, "below": [given]}
    with pytest.raises(BadParameters, match="nest too deep"):
        signature(handler).arguments(given)
    loop = Tree(1, [])
    loop.below.append(loop)
    with pytest.raises(RecursionError):
        signature(handler).result(loop)


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

    shared = rpc(fresh())
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
