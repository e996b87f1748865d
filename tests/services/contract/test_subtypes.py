"""What the check calls compatible is compatible: on all pairs of 150 random types.

The types are drawn once, with a fixed seed, and msgspec decides which values they accept.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from random import Random
from typing import Annotated, Any, Literal, NamedTuple, Union

import msgspec
import pytest

from postage.errors import BadParameters
from postage.services.contract.schemas import JsonSchemas
from postage.services.contract.subtypes import Comparison
from postage.services.conversion import converter, record_type
from tests.support.contracts import as_json

COUNT, VALUES = 150, 12
NAMES = ("a", "b", "c")


class Few(enum.Enum):
    RED = "red"


class Many(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Drawn(NamedTuple):
    """A type, the sorts of JSON that it takes, and a function that draws what it accepts."""

    hint: Any
    sorts: frozenset[str]
    value: Callable[[Random], Any]


def meta(hint: Any, **limits: Any) -> Any:
    return Annotated[hint, msgspec.Meta(**limits)]


def text(rng: Random, low: int = 0, high: int = 4) -> str:
    return "".join(rng.choice("ab") for _ in range(rng.randint(low, high)))


def leaf(hint: Any, sorts: str, *values: Any, draw: Callable[[Random], Any] | None = None) -> Drawn:
    return Drawn(hint, frozenset(sorts.split()), draw or (lambda rng: rng.choice(values)))


LEAVES = [
    leaf(int, "number", 0, -1, 1, 5, 1 << 70, -(1 << 70)),
    leaf(float, "number", 0.5, -3.5, 1e300, 2, -1),
    leaf(bool, "boolean", True, False),
    leaf(str, "text", draw=text),
    leaf(meta(int, ge=0), "number", 0, 3, 1 << 70),
    leaf(meta(int, gt=-1, lt=5), "number", 0, 4),
    leaf(meta(int, multiple_of=2), "number", 0, -2, 6),
    leaf(meta(int, multiple_of=4), "number", 0, -4, 8),
    leaf(meta(float, gt=0), "number", 0.1, 2, 9.5),
    leaf(meta(float, ge=0), "number", 0, 0.0, 9.5),
    leaf(meta(str, min_length=1), "text", draw=partial(text, low=1)),
    leaf(meta(str, max_length=2), "text", draw=partial(text, high=2)),
    leaf(meta(str, pattern="^a"), "text", "a", "ab", "aaaaa"),
    leaf(meta(str, pattern="^a", max_length=2), "text", "a", "ab"),
    leaf(Literal["a", "bb"], "text", "a", "bb"),
    leaf(Literal["a", 1], "text number", "a", 1),
    leaf(Literal["a", 1, 8, "ab"] | None, "any", "a", 1, 8, "ab", None),
    leaf(Few, "text", "red"),
    leaf(Many, "text", "red", "blue"),
    leaf(bytes, "text", "", "AAAA", "AA=="),
    leaf(meta(bytes, min_length=2), "text", "AAA=", "AAAA"),
    leaf(meta(bytes, max_length=1), "text", "", "AA=="),
    leaf(Decimal, "any", "1", "-0.5", 3, 0.5),
    leaf(uuid.UUID, "text", "5f6cd9e2-6f3b-4a57-9d1c-2f0c1f3f7a10"),
    leaf(dt.date, "text", "2026-01-31"),
    leaf(dt.datetime, "text", "2026-01-31T12:30:00", "2026-01-31T12:30:00Z"),
    leaf(meta(dt.datetime, tz=True), "text", "2026-01-31T12:30:00Z"),
    leaf(meta(dt.datetime, tz=False), "text", "2026-01-31T12:30:00"),
    leaf(dt.time, "text", "12:30:00", "12:30:00Z"),
    leaf(dt.timedelta, "text", "PT1H"),
    leaf(Any, "any", None, 1, "a", [1], {"a": 1}, {}, True),
]

INNER = [each for each in LEAVES if not hasattr(each.hint, "__metadata__")]
"""msgspec 0.22 may crash Python in a garbage collection after it has met a Meta deep in a type."""


def items(rng: Random, inner: Drawn, low: int = 0, high: int = 3) -> list[Any]:
    return [inner.value(rng) for _ in range(rng.randint(low, high))]


def listed(rng: Random, inner: Drawn) -> Drawn:
    hint: Any = inner.hint
    kinds = [
        (list[hint], {}),
        (tuple[hint, ...], {}),
        (meta(list[hint], min_length=1), {"low": 1}),
        (meta(list[hint], max_length=2), {"high": 2}),
        (tuple[hint, hint], {"low": 2, "high": 2}),
    ]
    kind, limits = rng.choice(kinds)
    return Drawn(kind, frozenset({"array"}), partial(items, inner=inner, **limits))


def mapped(rng: Random, inner: Drawn) -> Drawn:
    hint: Any = inner.hint
    keys, names = rng.choice([(str, NAMES), (int, ("1", "-2", "30")), (Many, ("red", "blue"))])

    def value(chance: Random) -> Any:
        return {name: inner.value(chance) for name in names if chance.random() < 0.5}

    return Drawn(dict[keys, hint], frozenset({"object"}), value)  # type: ignore[valid-type]


def struct(rng: Random, draw: Callable[[], Drawn]) -> Drawn:
    fields = {name: draw() for name in NAMES if rng.random() < 0.6}
    optional = {name for name in fields if rng.random() < 0.4}
    tag, is_row = rng.choice([None, None, "A", "B"]), rng.random() < 0.2
    told = [
        (name, Union[each.hint, msgspec.UnsetType], msgspec.UNSET)  # noqa: UP007 - some have no |
        if name in optional
        else (name, each.hint)
        for name, each in sorted(fields.items(), key=lambda field: field[0] in optional)
    ]
    options: Any = {"forbid_unknown_fields": rng.random() < 0.4, "tag": tag, "array_like": is_row}
    kind = msgspec.defstruct("S", told, **options)

    def value(chance: Random) -> Any:
        made: Any = {} if tag is None else {"type": tag}
        for name, *_ in told:
            if name in optional and chance.random() < 0.5:
                if is_row:
                    break  # what follows has no place
                continue
            made[name] = fields[name].value(chance)
        return list(made.values()) if is_row else made

    return Drawn(kind, frozenset({"array", "object"}), value)  # one struct in a union, if untagged


def union(rng: Random, draw: Callable[[], Drawn]) -> Drawn:
    """Return a union with None; msgspec wants the other members to be of different sorts."""
    members: list[Drawn] = []
    for each in (draw() for _ in range(3)):
        if not any(each.sorts & {"any", *other.sorts} for other in members) or not members:
            members.append(each)
    members = [each for each in members if "any" not in each.sorts]
    hint: Any = None
    for each in members:
        hint = Union[hint, each.hint]  # noqa: UP007 - as above

    def value(chance: Random) -> Any:
        chosen = chance.choice([None, *members])
        return None if chosen is None else chosen.value(chance)

    return Drawn(hint, frozenset({"any"}), value)


def drawn(rng: Random, depth: int) -> Drawn:
    inner = partial(drawn, rng, depth - 1)
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(INNER)
    made: list[Callable[[], Drawn]] = [
        lambda: listed(rng, inner()),
        lambda: mapped(rng, inner()),
        lambda: struct(rng, inner),
        lambda: struct(rng, inner),
        lambda: union(rng, inner),
    ]
    return rng.choice(made)()


class Pooled(NamedTuple):
    """A type with its schema, values that it accepts, and the check of msgspec."""

    schema: Any
    named: Any
    values: list[Any]
    takes: Callable[[Any], bool]


def taking(hint: Any) -> Callable[[Any], bool]:
    convert = converter(record_type("Parameters", [("x", hint)]))

    def takes(value: Any) -> bool:
        try:
            convert({"x": value})
        except BadParameters:
            return False
        return True

    return takes


@pytest.fixture(scope="module")
def pool() -> list[Pooled]:
    """The leaves, and types that are made of them."""
    rng = Random(17)
    made = [*LEAVES, *(drawn(rng, 2) for _ in range(COUNT - len(LEAVES)))]
    return list(pooled(rng, made))


def pooled(rng: Random, types: list[Drawn]) -> Iterator[Pooled]:
    for each in types:
        schemas = JsonSchemas([each.hint])
        schema = as_json(schemas.of(each.hint))
        values = [as_json(each.value(rng)) for _ in range(VALUES)]
        yield Pooled(schema, as_json(schemas.named), values, taking(each.hint))


def test_the_values_of_the_pool_fit_their_types(pool: list[Pooled]):
    for each in pool:
        assert [value for value in each.values if not each.takes(value)] == [], each.schema


def test_what_is_called_compatible_is_compatible(pool: list[Pooled]):
    """For parameters *given* is the old type, for results it is the new one."""
    compatible = 0
    for given in pool:
        for wanted in pool:
            if Comparison(given.named, wanted.named).misfits(given.schema, wanted.schema):
                continue
            compatible += 1
            refused = [value for value in given.values if not wanted.takes(value)]
            assert refused == [], (given.schema, given.named, wanted.schema, wanted.named)
    assert compatible > 4 * COUNT  # the check does not simply refuse everything


def test_most_types_that_take_all_values_are_called_compatible(pool: list[Pooled]):
    """The check may be too careful; how often it is must not grow."""
    fitting = careful = 0
    for given in pool:
        for wanted in pool:
            if all(map(wanted.takes, given.values)):
                fitting += 1
                comparison = Comparison(given.named, wanted.named)
                careful += bool(comparison.misfits(given.schema, wanted.schema))
    assert careful < fitting * 0.4


def test_each_type_is_compatible_with_itself(pool: list[Pooled]):
    for each in pool:
        assert Comparison(each.named, each.named).misfits(each.schema, each.schema) == []
