"""Values that peers send to do harm, and classes of users whose own checks go wrong.  No broker."""

from __future__ import annotations

import enum
import functools
import time
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType

import msgspec
import pytest

from postage import BadParameters, JsonEncoder, RpcCommand, Service, command, rpc
from postage.dispatch import Reply, dispatch
from postage.errors import MalformedMessage
from postage.message import MessageResultException, check_body
from postage.services.signatures import Signature
from tests.support.bound import bound

LONG = 1_000_000
Number = NewType("Number", int)


@dataclass
class Node:
    value: int = 0
    next: Node | None = None


class Pair(NamedTuple):
    first: int
    second: int = 1


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 2


class Checked(msgspec.Struct):
    value: str

    def __post_init__(self) -> None:
        raise ValueError(self.value)


class Found(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if value == "A":
            return cls.A
        raise KeyError(value)


class Loose(enum.Enum):
    """Its search finds what is no member."""

    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return {"A": cls.A, "other enum": Color.RED, "number": 0, "none": None}.get(value, value)


class LooseSize(enum.IntEnum):
    LARGE = 2

    @staticmethod
    def _missing_(value: object) -> Any:
        return value


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Painted:
    color: Loose


def signature(hint: Any) -> Signature:
    def handler(self, value): ...

    handler.__annotations__ = {"value": hint, "return": None}
    return Signature.of(Service, "handler", handler)


REFUSED: dict[str, tuple[Any, Any]] = {
    "too large for a float": (float, 10**400),
    "not a number, with a limit": (Annotated[float, msgspec.Meta(ge=1)], float("nan")),
    "large, with a limit": (Annotated[int, msgspec.Meta(le=10)], 10**30),
    "small, with a limit": (Annotated[int, msgspec.Meta(ge=1)], -(10**30)),
    "no multiple": (Annotated[int, msgspec.Meta(multiple_of=2)], 10**30 + 1),
    "a large number for a literal": (Literal[1, 2], 10**30),
    "true for a literal": (Literal[1, 2], True),
    "a large number for an enum": (Size, 10**30),
    "an object for an enum": (Color, {}),
    "a long text for a literal": (Literal["a"], "\x1b[2J\n" * LONG),
    "a long text for an enum": (Color, "x" * LONG),
    "a forged place": (Color, " - at `$.forged`" * 1000),
    "a long key": (dict[Color, int], {"q" * LONG: 1}),
    "a text for an enum, whose search fails": (Found, "b"),
    "a text for an enum, whose search returns it": (Loose, "b"),
    "a text for an enum, whose search finds another": (Loose, "other enum"),
    "a text for an enum, whose search finds 0": (Loose, "number"),
    "a text for an enum, whose search finds None": (Loose, "none"),
    "a number for an enum, whose search returns it": (LooseSize, 3),
    "a text for one or none, whose search returns it": (Loose | None, "b"),
    "an enum in a dataclass, whose search returns it": (Painted, {"color": "b"}),
    "an enum as a key, whose search returns it": (dict[str, dict[Loose, int]], {"k": {"b": 1}}),
    "no flag": (Access, 8),
    "a long complaint": (Checked, {"value": "\x1b[2J" * LONG}),
    "the last of 10,000": (list[int], [1] * 9_999 + ["x"]),
    "10,000 for a pair": (tuple[int, int], [1] * 10_000),
    "10,000 for a named tuple": (Pair, [1] * 10_000),
    "a list in a set": (set[Any], [[1]]),
    "an object in a set": (frozenset[Node], [{"value": 1}]),  # its class has no hash
    "half a character": (Node, "\ud800"),
    "half a character in a key": (dict[int, int], {"\ud800": 1}),
    "a new type": (Number, "5"),
    "a long duration": (timedelta, "P99999999999999999D"),
    "deep nesting": (Node, functools.reduce(lambda n, _: {"next": n}, range(50_000), {})),
}


@pytest.mark.parametrize(("hint", "value"), REFUSED.values(), ids=REFUSED)
def test_hostile_values_are_told_in_bounded_text_and_time(hint, value):
    found = signature(hint)
    began = time.process_time()
    with pytest.raises(BadParameters) as raised:
        found.arguments({"value": value})
    assert time.process_time() - began < 5  # for up to 5 MB; quadratic work takes hours
    error = raised.value
    assert error.path.partition("[")[0].partition(".")[0] in {"value", "parameters"}
    assert error.reason
    assert str(error).isprintable()
    assert len(str(error)) < 2500


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 10**4000, 10**4000),
        (Decimal, 10**30, Decimal(10**30)),
        (Found, "A", Found.A),
        (list[Loose], ["A", "a"], [Loose.A, Loose.A]),
        (Access, 3, Access.READ | Access.WRITE),
        (Number, 2**70, 2**70),
        (Pair, [5], Pair(5)),
        (list[int], [1] * 10_000, [1] * 10_000),
        (Annotated[int, msgspec.Meta(ge=1)], 2**70, 2**70),
        (Node, {f"k{number}": number for number in range(10_000)}, Node()),
        (str, "x" * LONG, "x" * LONG),
    ],
    ids=[
        "int",
        "Decimal",
        "enum",
        "enums",
        "flags",
        "NewType",
        "tuple",
        "list",
        "Annotated",
        "object",
        "str",
    ],
)
def test_large_values_that_fit_arrive_whole(hint, value, expected):
    assert signature(hint).arguments({"value": value}) == ((expected,), {})


def test_an_enum_stays_as_it_is_for_its_own_program():
    for _ in range(2):  # services that share an enum
        signature(Loose)
    assert Loose("A") is Loose.A
    with pytest.raises(TypeError, match="no member"):
        Loose("b")
    with pytest.raises(ValueError, match="'none' is not a valid Loose"):
        Loose("none")


def test_of_two_keys_of_one_name_the_last_counts_as_in_all_json():
    body = b'{"value": "no", "value": 5}'
    given = JsonEncoder.decode(body)
    assert signature(int).arguments(given) == ((5,), {})


@pytest.mark.parametrize(
    "given",
    [
        {f"k{number}": number for number in range(10_000)},
        {"value": 1, "\x1b[2J" * LONG: 1},
        {"args": [1] * 10_000, "kwds": {}},
        {"args": [], "kwds": {5: 1}},
        {None: 1},
        [1] * 10_000,
    ],
    ids=["many keywords", "long keyword", "many arguments", "number", "none", "list"],
)
def test_hostile_keywords_are_told_in_bounded_text(given):
    with pytest.raises(BadParameters) as raised:
        signature(int).arguments(given)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2500


# --- checks of users that fail


class Declared(Exception):
    """The interface names it."""


ERRORS = {each.__name__: each for each in (KeyError, TimeoutError, Declared, ValueError, TypeError)}


@dataclass
class Failing:
    name: str
    ran: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.name:
            raise ERRORS[self.name]("from the check")


class Server(Service):
    def __init__(self) -> None:  # no broker is needed
        self.ran: list[Any] = []

    @rpc(raises=(Declared,))
    def one(self, value: Failing, more: int = 1) -> None:
        self.ran.append(value)

    @rpc
    def several(self, values: list[Failing]) -> None:
        self.ran.append(values)

    @rpc
    def returned(self) -> Failing:
        value = Failing("")
        value.name = "KeyError"
        return value

    @rpc(raises=(Exception,))
    def everything(self, value: int) -> None:
        self.ran.append(value)

    @command
    def ordered(self, value: Failing) -> None:
        self.ran.append(value)


def answer(server: Server, name: str, parameters: Any) -> Any:
    replies: list[Any] = []
    body = check_body(JsonEncoder.decode(JsonEncoder.encode(RpcCommand(name, parameters).body)))
    handlers = [bound(getattr(server, f"{name} (rpc)"))]
    dispatch(body, handlers, reply=Reply(replies.append))
    (result,) = replies
    assert isinstance(result, MessageResultException)
    return result


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("KeyError", ("KeyError", "'from the check'")),
        ("Declared", ("Declared", "from the check")),
        ("TimeoutError", ("RemoteError", "the call ended with TimeoutError: from the check")),
        ("ValueError", ("BadParameters", "value: from the check")),
        ("TypeError", ("BadParameters", "value: from the check")),
    ],
)
@pytest.mark.parametrize("shape", ["value", "keywords"])
def test_what_a_check_raises_is_told_as_of_the_handler(raised, told, shape):
    server, value = Server(), {"name": raised}
    result = answer(server, "one", {"value": value} if shape == "keywords" else [value, 2])
    assert (result.value, result.message) == told
    assert not server.ran


def test_a_check_that_fails_within_a_list_stops_the_call():
    server = Server()
    result = answer(server, "several", [{"name": ""}, {"name": "KeyError"}])
    assert result.value == "KeyError"
    assert not server.ran


def test_a_result_whose_check_fails_is_no_result():
    assert answer(Server(), "returned", {}).value == "KeyError"


def test_bad_parameters_are_told_with_any_declared_exceptions():
    server = Server()
    assert answer(server, "everything", "x").value == "BadParameters"
    assert not server.ran


def test_a_command_whose_check_fails_has_failed():
    """Thus it is tried again; one that does not fit is parked at once."""
    server = Server()
    obey: Any = getattr(server, "ordered (command)")
    with pytest.raises(KeyError):
        obey({"parameters": {"value": {"name": "KeyError"}}})
    with pytest.raises(MalformedMessage):
        obey({"parameters": {"value": {"name": "ValueError"}}})
    assert not server.ran


def test_a_model_of_pydantic_may_fail_otherwise():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is in the dependency group `dev`")

    def check(value: Any) -> Any:
        raise ERRORS[value]("from the check")

    hint = Annotated[str, pydantic.AfterValidator(check)]
    model = type("Model", (pydantic.BaseModel,), {"__annotations__": {"name": hint}})
    found = signature(model)
    with pytest.raises(KeyError):
        found.arguments({"value": {"name": "KeyError"}})
    with pytest.raises(BadParameters, match="name: Value error, from the check"):
        found.arguments({"value": {"name": "ValueError"}})
