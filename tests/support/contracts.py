"""Services with every sort of hint and handler, for the tests of contracts."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec

from postage import Exchange, MessageHandler, MessageProcessor, RpcHandler, Service, command, rpc
from postage import event as event_

T = TypeVar("T")
SCHEMAS = "#/components/schemas/"


class Sinks(Exchange):
    name = "contracts"
    exchange_type = "topic"


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Line:
    """One line of an order, with <b>markup</b>."""

    item: str
    count: int = 1
    tags: list[str] = field(default_factory=list)


class Order(msgspec.Struct):
    lines: list[Line]
    note: str | None = None
    color: Color = Color.RED


class Cat(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    lives: Annotated[int, msgspec.Meta(ge=1, le=9)] = 9


class Dog(msgspec.Struct, tag=True, rename="camel"):
    loud_bark: bool


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class Row(msgspec.Struct, array_like=True):
    name: str
    value: float = 0.5


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Point(TypedDict, total=False):
    x: int
    y: float


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)


class Gone(Exception):
    """It is not here any longer."""


class Sink(Service):
    """Takes everything that a hint can say."""

    exchange, queue = Sinks, "sink"
    publishes = (Line,)

    @rpc(raises=(Gone,))
    def numbers(
        self, i: int, f: float = 0.5, d: Decimal | None = None, *, b: bool = False
    ) -> Decimal:
        """Add numbers.

        All of them.
        """

    @rpc
    def texts(self, s: str, u: uuid.UUID, raw: bytes, color: Color = Color.RED) -> bytes: ...

    @rpc
    def times(
        self, at: dt.datetime, on: dt.date, by: dt.time, span: dt.timedelta
    ) -> dt.datetime: ...

    @rpc
    def total(self, numbers: list[int]) -> int: ...

    @rpc
    def anything(self, value: Any) -> Any: ...

    @rpc
    def nothing(self) -> None: ...

    @rpc
    def placed(self, a: int, b: str = "b", /, *, c: Literal["x", 1] = 1) -> tuple[int, str]: ...

    @rpc
    def order(self, order: Order) -> Page[Line]: ...

    @rpc
    def pets(self, pet: Cat | Dog, again: list[Cat | Dog] | None = None) -> Cat | Dog: ...

    @rpc
    def rows(self, row: Row, pair: Pair, point: Point) -> Row: ...

    @rpc
    def tree(self, node: Node) -> Node: ...

    @rpc
    def maps(self, by_name: dict[str, int], by_number: dict[int, str]) -> dict[Color, Size]: ...

    @rpc
    def bags(self, bag: set[int], ids: frozenset[str], few: tuple[int, ...] = ()) -> set[Size]: ...

    @rpc
    def limits(
        self,
        age: Annotated[int, msgspec.Meta(ge=0, lt=150)],
        code: Annotated[str, msgspec.Meta(min_length=2, max_length=4)] = "abc",
        many: Annotated[list[int], msgspec.Meta(max_length=2)] | None = None,
    ) -> Size: ...

    @command
    def restock(self, item: str, count: int) -> None:
        """Put them on the shelf."""

    @event_(Order)
    def on_order(self, event: Order) -> None: ...

    @RpcHandler("command", "classic")
    def classic(self, content, reply):
        """Answer as in 2015."""

    @MessageHandler("status")
    def any_status(self, content): ...


class Classic(MessageProcessor):
    """A processor without types."""

    eqk = [(Sinks, [("classic", "classic.#")])]  # noqa: RUF012 - the classic form

    @RpcHandler("command", "sum")
    def sum(self, content, reply):
        """Add."""

    @MessageHandler("command", "log")
    def log(self, content): ...


def resolved(document: dict[str, Any], ref: str) -> Any:
    """Return what *ref* names in *document*; raises KeyError."""
    target: Any = document
    for each in ref.removeprefix("#/").split("/"):
        target = target[each.replace("~1", "/").replace("~0", "~")]
    return target


def as_json(value: Any) -> Any:
    """Return *value* as a receiver of its JSON gets it."""
    return json.loads(json.dumps(value))
