"""No handler runs on parameters that its hints refuse; a validator of our own decides.

The validator knows nothing of msgspec: it compares what the handler has got, and what was sent,
with the hints.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import types
import typing
import uuid
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, TypedDict, Union

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postage import JsonEncoder, RpcCommand, Service, rpc
from postage.dispatch import Reply, dispatch
from postage.message import MessageResultException, check_body
from tests.support.bound import bound

BODIES = 100
"""For each of the 20 signatures."""


@dataclass
class Line:
    item: str
    count: int = 1


class Order(msgspec.Struct):
    lines: list[Line]
    note: str | None = None


class Point(TypedDict):
    x: int
    y: float


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


ran: list[dict[str, Any]] = []
"""The arguments of the handler, if it has run."""


class Fuzzed(Service):
    """Twenty signatures; each handler records its arguments."""

    @rpc
    def s00(self) -> None:
        ran.append({})

    @rpc
    def s01(self, a: int) -> None:
        ran.append({"a": a})

    @rpc
    def s02(self, a: str, b: int = 1) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s03(self, a: bool, *, b: float = 0.5) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s04(self, a: list[int]) -> None:
        ran.append({"a": a})

    @rpc
    def s05(self, a: dict[str, int]) -> None:
        ran.append({"a": a})

    @rpc
    def s06(self, a: int | None, b: str | int = "") -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s07(self, a: Line) -> None:
        ran.append({"a": a})

    @rpc
    def s08(self, a: Order, b: bool = False) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s09(self, a: Point) -> None:
        ran.append({"a": a})

    @rpc
    def s10(self, a: Color, b: Size = Size.SMALL) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s11(self, a: dt.date) -> None:
        ran.append({"a": a})

    @rpc
    def s12(self, a: uuid.UUID, b: decimal.Decimal) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s13(self, a: Literal["x", "y"], b: Literal[1, 2] = 1) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s14(self, a: tuple[int, str]) -> None:
        ran.append({"a": a})

    @rpc
    def s15(self, a: set[str]) -> None:
        ran.append({"a": a})

    @rpc
    def s16(self, a: Any) -> None:
        ran.append({"a": a})

    @rpc
    def s17(self, a: list[list[Line]], b: int = 0) -> None:
        ran.append({"a": a, "b": b})

    @rpc
    def s18(self, a: dict[str, Line | None] | None = None) -> None:
        ran.append({"a": a})

    @rpc
    def s19(self, a: list[int], b: dict[str, str], c: float) -> None:
        ran.append({"a": a, "b": b, "c": c})


NAMES = [f"s{number:02}" for number in range(20)]


# --- the validator

UNIONS = (Union, types.UnionType)
DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
HEX = re.compile(r"[0-9a-fA-F]{8}(-?)([0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}\Z")


def field_hints(hint: Any) -> tuple[dict[str, Any], set[str]]:
    """Return the fields of a class, and the names of those that a value must have."""
    hints = typing.get_type_hints(hint)
    if is_dataclass(hint):
        return hints, {each.name for each in fields(hint) if each.default is MISSING}
    if issubclass(hint, msgspec.Struct):
        return hints, {"lines"}
    return hints, set(hints)


def allows(hint: Any, sent: Any) -> bool:  # noqa: C901, PLR0911, PLR0912 - one branch for each kind
    """Tell whether *sent*, a value of JSON, may stand for a value of *hint*."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return sent is None
    if origin in UNIONS:
        return any(allows(each, sent) for each in args)
    if origin is Literal:
        return any(type(sent) is type(each) and sent == each for each in args)
    if hint is float:
        return type(sent) in {int, float}
    if hint in {int, str, bool}:
        return type(sent) is hint
    if hint is dt.date:
        return type(sent) is str and bool(DATE.match(sent))
    if hint is uuid.UUID:
        return type(sent) is str and bool(HEX.match(sent))
    if hint is decimal.Decimal:
        return type(sent) in {int, float} or (type(sent) is str and is_number(sent))
    if origin in {list, set}:
        return type(sent) is list and all(allows(args[0], each) for each in sent)
    if origin is tuple:
        return type(sent) is list and len(sent) == len(args) and all(map(allows, args, sent))
    if origin is dict:
        return type(sent) is dict and all(
            allows(args[0], key) and allows(args[1], each) for key, each in sent.items()
        )
    if issubclass(hint, enum.Enum):
        return any(type(sent) is type(each.value) and sent == each.value for each in hint)
    hints, required = field_hints(hint)
    return (
        type(sent) is dict
        and required <= sent.keys()
        and all(allows(each, sent[name]) for name, each in hints.items() if name in sent)
    )


def is_number(text: str) -> bool:
    try:
        decimal.Decimal(text)
    except decimal.InvalidOperation:
        return False
    return True


def is_a(hint: Any, value: Any) -> bool:  # noqa: PLR0911 - one branch for each kind
    """Tell whether *value*, which a handler has got, is what *hint* says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None:
        return value is None
    if origin in UNIONS:
        return any(is_a(each, value) for each in args)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in args)
    if origin in {list, set}:
        return type(value) is origin and all(is_a(args[0], each) for each in value)
    if origin is tuple:
        return type(value) is tuple and len(value) == len(args) and all(map(is_a, args, value))
    if origin is dict:
        return type(value) is dict and all(
            is_a(args[0], key) and is_a(args[1], each) for key, each in value.items()
        )
    if typing.is_typeddict(hint):
        hints, _ = field_hints(hint)
        return type(value) is dict and all(is_a(each, value[n]) for n, each in hints.items())
    if hint in {Line, Order}:
        hints, _ = field_hints(hint)
        return type(value) is hint and all(is_a(t, getattr(value, n)) for n, t in hints.items())
    return type(value) is hint


def bindings(hints: dict[str, Any], by_place: list[str], given: Any) -> list[dict[str, Any]]:
    """Return the arguments that *given* may mean, by whatever reading."""
    found = []
    if isinstance(given, dict):
        found.append(given)
        args, kwds = given.get("args"), given.get("kwds")
        is_both = given.keys() == {"args", "kwds"} and type(args) is list and type(kwds) is dict
        if is_both and len(args) <= len(by_place) and not {*by_place[: len(args)]} & kwds.keys():
            found.append(dict(zip(by_place, args, strict=False)) | kwds)
    if isinstance(given, list) and len(given) <= len(by_place):
        found.append(dict(zip(by_place, given, strict=False)))
    if by_place:
        found.append({by_place[0]: given})
    elif given is None:
        found.append({})
    return [each for each in found if each.keys() <= hints.keys()]


def may_run(name: str, given: Any) -> bool:
    """Tell whether any reading of *given* fits the handler *name*."""
    function = getattr(Fuzzed, name)
    hints = typing.get_type_hints(function)
    del hints["return"]
    code = function.__code__
    by_place = list(code.co_varnames[1 : code.co_argcount])
    defaults = by_place[len(by_place) - len(function.__defaults__ or ()) :]
    required = hints.keys() - set(defaults) - set(function.__kwdefaults__ or ())
    return any(
        required <= each.keys() and all(allows(hints[key], value) for key, value in each.items())
        for each in bindings(hints, by_place, given)
    )


# --- bodies

keys = st.sampled_from(["a", "b", "c", "args", "kwds", "item", "count", "lines", "x", "y"])
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**63 - 2, 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(
        ["x", "red", "2026-01-02", "2026-13-40", "1.5", "NaN", "0" * 32, str(uuid.UUID(int=1)), 1]
    ),
)
anything = st.recursive(
    odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
line = st.fixed_dictionaries({"item": st.text(max_size=3)}, optional={"count": st.integers()})
good = st.one_of(
    odd,
    line,
    st.lists(st.integers(), max_size=3),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.lists(line, max_size=2), max_size=2),
    st.tuples(st.integers(), st.text(max_size=2)).map(list),
    st.fixed_dictionaries({"x": st.integers(), "y": st.floats(-5, 5)}),
    st.fixed_dictionaries({"lines": st.lists(line, max_size=2)}, optional={"note": st.text()}),
    st.dictionaries(st.sampled_from(["k", "a"]), st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)
arguments = st.fixed_dictionaries({"a": good}, optional={"b": good, "c": good})
parameters = st.one_of(
    good,
    anything,
    arguments,
    st.lists(good, max_size=4),
    st.dictionaries(keys, good, max_size=3),
    st.fixed_dictionaries({"args": st.lists(good, max_size=2), "kwds": arguments | st.just({})}),
)


class Answer:
    """The reply function of a call, which keeps the reply."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.reply = Reply(self.replies.append)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=BODIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=parameters)
def test_no_handler_runs_on_what_its_hints_refuse(name, sent):
    service = object.__new__(Fuzzed)  # no broker is needed
    body = check_body(JsonEncoder.decode(JsonEncoder.encode(RpcCommand(name, sent).body)))
    answer = Answer()
    ran.clear()
    dispatch(body, [bound(getattr(service, f"{name} (rpc)"))], reply=answer.reply)
    (result,) = answer.replies
    if ran:
        (got,) = ran
        hints = typing.get_type_hints(getattr(Fuzzed, name))
        assert may_run(name, sent), sent
        assert all(is_a(hints[key], value) for key, value in got.items()), got
        assert result.value is None
        assert result.kind == "success"
    else:
        assert isinstance(result, MessageResultException)
        assert result.value == "BadParameters"


FITS: list[tuple[str, Any]] = [
    ("s00", {}), ("s01", 5), ("s02", ["a", 2]), ("s03", {"a": True, "b": 1}), ("s04", [1, 2]),
    ("s05", {"k": 1}), ("s06", None), ("s07", {"item": "x"}), ("s08", {"lines": [{"item": "x"}]}),
    ("s09", {"x": 1, "y": 2}), ("s10", ["red", 2]), ("s11", "2026-01-02"),
    ("s12", ["0" * 32, "1.5"]), ("s13", "x"), ("s14", [1, "a"]), ("s15", ["a", "a"]),
    ("s16", [{}]), ("s17", {"a": [[{"item": "x"}]]}), ("s18", {"a": {"k": None}}),
    ("s19", [[1], {"k": "v"}, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sent"), FITS, ids=NAMES)
def test_each_handler_runs_on_what_fits(name, sent):
    """Else the test above could not fail."""
    service, answer = object.__new__(Fuzzed), Answer()
    ran.clear()
    body = RpcCommand(name, sent).body
    dispatch(body, [bound(getattr(service, f"{name} (rpc)"))], reply=answer.reply)
    assert len(ran) == 1
    assert may_run(name, sent)


@pytest.mark.parametrize(
    ("name", "sent"),
    [("s01", True), ("s04", ["1"]), ("s07", {"count": 1}), ("s10", "green"), ("s14", [1])],
)
def test_the_validator_refuses_what_does_not_fit(name, sent):
    assert not may_run(name, sent)
