"""Breaking changes are named, and harmless ones are not."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest

from postage import (
    Exchange,
    MessageProcessor,
    RpcHandler,
    Service,
    SettingsError,
    command,
    event,
    rpc,
)
from postage.services.contract.changes import breaking_changes
from postage.services.contract.document import Served, document_of
from postage.services.contract.model import Contract
from tests.support.contracts import Classic, Sink, as_json
from tests.support.endpoints import exchange

Shop = exchange("changes")


class OutOfStock(Exception):
    pass


class Sold(Exception):
    pass


class Color(enum.Enum):
    RED = "red"


class MoreColor(enum.Enum):
    RED = "red"
    BLUE = "blue"


MoreColor.__name__ = MoreColor.__qualname__ = "Color"


def contract_of(*kinds: type) -> Contract:
    """Return the contract of services, as it is read from a file."""
    return Contract.of(as_json(document_of(map(Served.of, kinds), title="x")))


def record(*fields: Any, name: str = "Record") -> Any:
    return make_dataclass(name, fields)


def handler(result: Any = None, /, **parameters: Any) -> Any:
    """Return a method; of each parameter the hint, or the hint and the default."""
    hints = {
        each: value[0] if isinstance(value, tuple) else value for each, value in parameters.items()
    }
    names = [
        f"{each}=_{each}" if isinstance(value, tuple) else each
        for each, value in parameters.items()
    ]
    defaults = {f"_{each}": v[1] for each, v in parameters.items() if isinstance(v, tuple)}
    namespace: dict[str, Any] = dict(defaults)
    # All after the first one without a default may be given by name only, if need be.
    exec(f"def f(self, {', '.join(names)}): ...", namespace)  # noqa: S102 - our own text
    namespace["f"].__annotations__ = {**hints, "return": result}
    return namespace["f"]


def service(
    *, publishes: tuple[Any, ...] = (), name: str = "Stock", **attributes: Any
) -> type[Service]:
    body = {"exchange": Shop, "queue": "stock", "publishes": publishes, **attributes}
    return type(name, (Service,), body)


def reserve(result: Any = int, /, **parameters: Any) -> type[Service]:
    return service(reserve=rpc(handler(result, **parameters)))


def changes(old: type, new: type) -> list[str]:
    found = breaking_changes(contract_of(old), contract_of(new))
    return [f"{each.where}: {each.text}" for each in found]


ITEM = ("item", str)
REQUIRED = record(ITEM, ("count", int))
OPTIONAL = record(ITEM, ("count", int, 1))
SMALL = record(ITEM)
ORDERED = record(ITEM, name="Ordered")
ORDERED_MORE = record(ITEM, ("count", int), name="Ordered")
OTHER = record(ITEM, name="Bought")


def taking(kind: Any) -> Any:
    return event(kind)(handler(event=kind))


def keyword_only() -> type[Service]:
    def f(self, *, item: str) -> int: ...

    return service(reserve=rpc(f))


BREAKING: dict[str, tuple[type, type, str]] = {
    "removed handler": (reserve(), service(), "Stock.reserve: is taken no longer (rpc)"),
    "call becomes a command": (
        reserve(None),
        service(reserve=command(handler())),
        "Stock.reserve: was of the kind rpc, and is of the kind command",
    ),
    "renamed message": (
        reserve(),
        service(reserve=rpc(name="book")(handler(int))),
        "Stock.reserve: is taken no longer (rpc)",
    ),
    "new required parameter": (
        reserve(item=str),
        reserve(item=str, count=int),
        "Stock.reserve: needs a new parameter 'count'",
    ),
    "default taken away": (
        reserve(count=(int, 1)),
        reserve(count=int),
        "Stock.reserve: needs the parameter 'count', which had a default",
    ),
    "removed parameter": (
        reserve(item=str, count=(int, 1)),
        reserve(item=str),
        "Stock.reserve: takes no parameter 'count' any longer",
    ),
    "other order of parameters": (
        reserve(a=int, b=int),
        reserve(b=int, a=int),
        "Stock.reserve: has another order of parameters: b, a",
    ),
    "parameter by name only": (
        reserve(item=str),
        keyword_only(),
        "Stock.reserve: takes the parameter 'item' by its name only",
    ),
    "value of anything beside another parameter": (
        reserve(value=Any),
        reserve(value=Any, more=(int, 1)),
        "Stock.reserve: takes a list for several arguments, and an object for keywords, that were the value of 'value'",  # noqa: E501 - one text
    ),
    "narrowed type": (
        reserve(count=float),
        reserve(count=int),
        "Stock.reserve: the parameter 'count' took number, and takes only integer",
    ),
    "narrowed union": (
        reserve(count=Optional[int]),  # noqa: UP045 - as written before Python 3.10
        reserve(count=int),
        "Stock.reserve: the parameter 'count' took None, and takes only integer",
    ),
    "narrowed limit": (
        reserve(count=Annotated[int, msgspec.Meta(ge=0)]),
        reserve(count=Annotated[int, msgspec.Meta(ge=1)]),
        "Stock.reserve: the parameter 'count' has a new limit: from 1 (before: from 0)",
    ),
    "narrowed enum": (
        reserve(color=MoreColor),
        reserve(color=Color),
        "Stock.reserve: the parameter 'color' took 'blue', and takes only Color",
    ),
    "field that is required": (
        reserve(at=list[OPTIONAL]),  # type: ignore[valid-type]
        reserve(at=list[REQUIRED]),  # type: ignore[valid-type]
        "Stock.reserve: the parameter 'at' at [...].count is required now",
    ),
    "zone of a time": (
        reserve(at=dt.datetime),
        reserve(at=Annotated[dt.datetime, msgspec.Meta(tz=True)]),
        "Stock.reserve: the parameter 'at' took datetime, and takes only datetime with a zone",
    ),
    "keys of a dictionary": (
        reserve(by=dict[str, int]),
        reserve(by=dict[int, int]),
        "Stock.reserve: the parameter 'by' at the keys took string, and takes only int",
    ),
    "widened result": (
        reserve(int),
        reserve(int | str),
        "Stock.reserve: the result was integer, and may be string now",
    ),
    "new member of a result": (
        reserve(Color),
        reserve(MoreColor),
        "Stock.reserve: the result was Color, and may be 'blue' now",
    ),
    "removed field of a result": (
        reserve(REQUIRED),
        reserve(SMALL),
        "Stock.reserve: the result at count may be missing now",
    ),
    "lost limit of a result": (
        reserve(Annotated[str, msgspec.Meta(max_length=3)]),
        reserve(str),
        "Stock.reserve: the result has lost a limit: at most 3 of them (now: no limit)",
    ),
    "removed error": (
        service(reserve=rpc(raises=(OutOfStock, Sold))(handler())),
        service(reserve=rpc(raises=(Sold,))(handler())),
        "Stock.reserve: raises OutOfStock no longer, for which callers wait",
    ),
    "removed event": (
        service(on=taking(ORDERED)),
        service(),
        "Stock.Ordered: is taken no longer (event)",
    ),
    "narrowed event": (
        service(on=taking(ORDERED)),
        service(on=taking(ORDERED_MORE)),
        "Stock.Ordered: the event at count is required now",
    ),
    "removed published event": (
        service(publishes=(ORDERED,)),
        service(publishes=(OTHER,)),
        "Stock.Ordered: is published no longer",
    ),
    "widened published event": (
        service(publishes=(ORDERED_MORE,)),
        service(publishes=(ORDERED,)),
        "Stock.Ordered: the event at count may be missing now",
    ),
    "other queue": (
        reserve(),
        service(reserve=rpc(handler(int)), queue="shelves"),
        "Stock: listens no longer to the key 'stock' of the exchange 'changes'",
    ),
    "other exchange": (
        reserve(),
        service(reserve=rpc(handler(int)), exchange=Exchange),
        "Stock: listens no longer at the exchange 'changes'",
    ),
    "other type of exchange": (
        reserve(),
        service(reserve=rpc(handler(int)), exchange=exchange("changes", "topic")),
        "Stock: declares the exchange 'changes' in another way, as topic, durable",
    ),
    "removed service": (reserve(), service(name="Shelf"), "Stock: is gone"),
}

HARMLESS: dict[str, tuple[type, type]] = {
    "nothing": (Sink, Sink),
    "nothing classic": (Classic, Classic),
    "new handler": (service(), reserve()),
    "new optional parameter": (reserve(item=str), reserve(item=str, count=(int, 1))),
    "new default": (reserve(item=str, count=int), reserve(item=str, count=(int, 1))),
    "other default": (reserve(count=(int, 1)), reserve(count=(int, 2))),
    "name may be used, too": (keyword_only(), reserve(item=str)),
    "widened type": (reserve(count=int), reserve(count=float)),
    "widened union": (reserve(count=int), reserve(count=int | None)),
    "number for money": (reserve(count=float), reserve(count=Decimal)),
    "wider limit": (
        reserve(count=Annotated[int, msgspec.Meta(gt=0, lt=10)]),
        reserve(count=Annotated[int, msgspec.Meta(ge=1)]),
    ),
    "limit taken away": (reserve(a=Annotated[str, msgspec.Meta(max_length=3)]), reserve(a=str)),
    "new member that is taken": (reserve(color=Color), reserve(color=MoreColor)),
    "literal becomes text": (reserve(a=Literal["x", "y"]), reserve(a=str)),
    "identifier becomes text": (reserve(a=uuid.UUID), reserve(a=str)),
    "list becomes set": (reserve(a=list[int]), reserve(a=set[int])),
    "field with a default": (reserve(at=SMALL), reserve(at=OPTIONAL)),
    "field needed no longer": (reserve(at=REQUIRED), reserve(at=OPTIONAL)),
    "field dropped": (reserve(at=REQUIRED), reserve(at=SMALL)),
    "renamed type": (reserve(at=SMALL), reserve(at=record(ITEM, name="Renamed"))),
    "narrowed result": (reserve(int | str | None), reserve(int)),
    "result with another field": (reserve(SMALL), reserve(REQUIRED)),
    "result from a class to a dictionary of one type": (reserve(dict[str, Any]), reserve(SMALL)),
    "new error": (
        service(reserve=rpc(handler())),
        service(reserve=rpc(raises=(Sold,))(handler())),
    ),
    "wider event": (service(on=taking(ORDERED_MORE)), service(on=taking(ORDERED))),
    "new published event": (service(), service(publishes=(ORDERED,))),
    "more in a published event": (
        service(publishes=(ORDERED,)),
        service(publishes=(ORDERED_MORE,)),
    ),
    "another key": (reserve(), service(reserve=rpc(handler(int)), keys=("more",))),
    "renamed method": (reserve(), service(book=rpc(name="reserve")(handler(int)))),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_named(name: str):
    old, new, text = BREAKING[name]

    assert text in changes(old, new)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_is_not_named(name: str):
    old, new = HARMLESS[name]

    assert changes(old, new) == []


def classic(*names: str | None) -> type[MessageProcessor]:
    def handle(self, content, reply): ...

    made = {f"h{n}": RpcHandler("command", each)(handle) for n, each in enumerate(names[:1])}
    return type("Stock", (MessageProcessor,), {"eqk": [(Shop, [("stock", "stock")])], **made})


def test_a_classic_handler_may_get_types_but_not_lose_them():
    typed = reserve(int, item=str)

    assert changes(classic("reserve"), typed) == []
    assert changes(typed, classic("reserve")) == [
        "Stock.reserve: the result has no type any longer"
    ]
    assert changes(classic("reserve"), classic("book")) == [
        "Stock.reserve: is taken no longer (rpc)"
    ]
    assert changes(classic("reserve"), classic(None)) == []


# --- documents that others have written


def document() -> dict[str, Any]:
    return as_json(document_of([Served.of(Sink)], title="x"))


def changed(*path: str, to: Any) -> dict[str, Any]:
    """Return a document with another value at *path*."""
    made = document()
    target: Any = made
    for each in path[:-1]:
        target = target[each]
    target[path[-1]] = to
    return made


NUMBERS = ("operations", "Sink.numbers")
SCHEMAS = ("components", "schemas")
ODD: dict[str, tuple[Any, str]] = {
    "a list": ([], "is no AsyncAPI document"),
    "an OpenAPI document": ({"openapi": "3.1.0"}, "is no AsyncAPI document"),
    "AsyncAPI 2": (changed("asyncapi", to="2.6.0"), "is AsyncAPI 2.6.0, and a contract is 3.0"),
    "made by others": (changed("x-postage", to=None), "has no x-postage"),
    "newer": (
        changed("x-postage", to={"format": 99, "version": "7\x1b[31m"}),
        "was written by a newer Postage (7\\x1b[31m; format 99, and this one reads 1)",
    ),
    "an odd format": (changed("x-postage", "format", to="1"), "x-postage: format: Expected `int`"),
    "an odd binding": (
        changed("x-postage", "services", "Sink", "bindings", to=[{"queue": 1}]),
        "has an odd part: x-postage: services[...].bindings[0]",
    ),
    "an operation without ours": (
        changed(*NUMBERS, to={"action": "send"}),
        "has an odd part: operations.Sink.numbers.x-postage",
    ),
    "an operation of an odd kind": (
        changed(*NUMBERS, "x-postage", "kind", to="maybe"),
        "is of the kind 'maybe'",
    ),
    "an operation that is none": (changed(*NUMBERS, to=3), "operations.Sink.numbers is no object"),
    "operations that are none": (changed("operations", to=[]), "operations is no object"),
    "parameters without schemas": (
        changed(*NUMBERS, "x-postage", "schema", to="gone"),
        "has no schema of 'i', 'f', 'd', 'b'",
    ),
    "a schema that is none": (changed(*SCHEMAS, "Line", to=3), "schemas.Line is no schema"),
    "a reference to nothing": (
        changed(*SCHEMAS, "Line", to={"$ref": "#/gone"}),
        "components.schemas.Line.$ref leads nowhere",
    ),
    "an odd keyword": (
        changed(*SCHEMAS, "Line", "properties", to=[1]),
        "components.schemas.Line.properties has an odd value",
    ),
    "an odd limit": (
        changed(*SCHEMAS, "Line", to={"type": "integer", "minimum": "1"}),
        "components.schemas.Line.minimum has an odd value",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_document_is_refused(name: str):
    given, text = ODD[name]

    with pytest.raises(SettingsError) as caught:
        Contract.of(given)

    assert text in str(caught.value)


def test_a_schema_that_nests_too_deep_is_refused():
    schema: Any = {"type": "string"}
    for _ in range(150):
        schema = {"anyOf": [schema]}

    with pytest.raises(SettingsError, match="nests too deep"):
        Contract.of(changed(*SCHEMAS, "Line", to=schema))


def test_a_schema_of_nothing_but_itself_is_refused():
    odd = Contract.of(changed(*SCHEMAS, "Line", to={"$ref": "#/components/schemas/Line"}))

    with pytest.raises(SettingsError, match="refers to nothing but itself"):
        breaking_changes(odd, odd)


# Which limit is met first by many types depends on the version of Python.
@pytest.mark.parametrize(("count", "text"), [(8, "large"), (60, "deep|large")], ids=str)
def test_types_that_explode_are_given_up(count: int, text: str):
    """Unions of types that all name each other, in which every member must be tried."""
    old, new = (
        {
            f"T{n}": {
                "type": "object",
                "properties": {
                    "n": {"const": n + first},
                    "x": {"anyOf": [{"$ref": f"#/components/schemas/T{m}"} for m in range(count)]},
                },
            }
            for n in range(count)
        }
        for first in (0, 1000)
    )
    event = {"$ref": "#/components/schemas/T0"}
    told = {"service": "S", "kind": "event", "name": "E", "event": event}
    before, after = (
        Contract.of(
            {
                "asyncapi": "3.0.0",
                "x-postage": {"format": 1},
                "components": {"schemas": schemas},
                "operations": {"S.E": {"x-postage": told}},
            }
        )
        for schemas in (old, new)
    )

    with pytest.raises(SettingsError, match=f"too ({text})"):
        breaking_changes(before, after)
