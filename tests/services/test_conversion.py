"""Values: converted by their hints when they arrive, and made fit to be sent."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import typing
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypedDict

import msgspec
import pytest

from postage import BadParameters, HandlerError, SettingsError
from postage.services.conversion import check_hint
from tests.services.samples import Box, Line, T, Tree, signature


class Color(enum.Enum):
    RED = "red"


class Point(TypedDict):
    x: int
    y: int


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


def test_a_result_that_its_hint_does_not_allow_is_an_error():
    def handler(self) -> None: ...

    with pytest.raises(HandlerError, match=r"handler has returned what its hint does not allow"):
        signature(handler).result(5)


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


# --- pydantic


def test_models_of_pydantic_check_themselves():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is in the dependency group `dev`")
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


def test_limits_that_only_pydantic_knows_are_refused():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is in the dependency group `dev`")
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
