"""Whether all values of one JSON Schema fit another one, and if not, why.  Pure.

How it works
------------
`Comparison.misfits` splits both schemas into *alternatives*: unions into their members, enums into
their values, references into what they name.  Each alternative of the one must fit an alternative
of the other.  A pair of schemas that is met again inside of itself is taken to fit, as recursive
types need it; if the pair turns out not to fit, what was concluded from it is taken back.

The answer "fits" is certain, for values that msgspec accepts.  The answer "does not fit" is not
certain: a pattern is only compared as text, and a value that fits two alternatives in part is taken
to fit none.

It is assumed that nobody sends fields that a schema does not name, even if the schema allows them.
Otherwise each new field with a default could break a peer.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postage.errors import SettingsError
from postage.foreign_text import brief, one_line
from postage.services.contract.schemas import SCHEMAS, Json

__all__ = ["Comparison", "Misfit", "MisfitKind", "shown"]

_MOST_STEPS = 20_000
"""Pairs that are compared, before a pair of documents is given up."""
_MOST_SHOWN = 6
_ABSENT = object()


class MisfitKind(enum.Enum):
    """Why a value does not fit."""

    TYPE = "type"
    """It is of a type, or a value, that the other schema does not have."""
    LIMIT = "limit"
    """It may be beyond a limit of the other schema."""
    MISSING = "missing"
    """A field that the other schema requires may be missing."""
    UNKNOWN = "unknown"
    """It has a field that the other schema refuses."""


@dataclass(frozen=True)
class Misfit:
    """One reason why values of a schema, the *given* one, do not fit another, the *wanted* one."""

    kind: MisfitKind
    path: str
    given: str = ""
    wanted: str = ""


class Comparison:
    """Compares schemas of the document *given* with schemas of the document *wanted*."""

    def __init__(self, given: Mapping[str, Json], wanted: Mapping[str, Json]) -> None:
        self._given, self._wanted = given, wanted
        self._fitting: dict[tuple[int, int], tuple[Any, Any]] = {}
        """Pairs that fit, or that are being compared, in their order; kept, so that ids stay."""
        self._steps = 0

    def misfits(self, given: Any, wanted: Any, path: str = "") -> list[Misfit]:
        """Return why values of *given* do not fit *wanted*; empty if all values do.

        Raises `SettingsError` if the comparison would take too long.
        """
        pair = (id(given), id(wanted))
        if pair in self._fitting:
            return []
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise SettingsError("the types of these contracts are too large to be compared")
        before = len(self._fitting)
        self._fitting[pair] = (given, wanted)
        found = list(self._of_alternatives(given, wanted, path))
        if found:
            for each in list(self._fitting)[before:]:
                del self._fitting[each]
        return found

    def _of_alternatives(self, given: Any, wanted: Any, path: str) -> Iterator[Misfit]:
        targets = list(_alternatives(wanted, self._wanted))
        if any(_is_any(each) for each in targets):
            return
        values = {_typed(each["const"]) for each in targets if "const" in each}
        for each in _alternatives(given, self._given):
            if "const" in each and _typed(each["const"]) in values:
                continue
            alike = [target for target in targets if _may_fit(each, target)]
            tries = [self._of_one(each, target, path) for target in alike]
            if all(tries):
                nearest = tries[0] if len(tries) == 1 else []
                told = shown(each), shown(wanted, self._wanted)
                yield from nearest or [Misfit(MisfitKind.TYPE, path, *told)]

    def _of_one(self, given: Json, wanted: Json, path: str) -> list[Misfit]:
        """Return why the alternative *given* does not fit the alternative *wanted*."""
        if "const" in given:
            return self._of_value(given["const"], wanted, path)
        kinds = {"object": self._of_object, "array": self._of_array}
        compare = kinds.get(wanted.get("type", ""), _of_scalar)
        return [*compare(given, wanted, path), *_of_unknown(given, wanted, path)]

    def _of_value(self, value: Any, wanted: Json, path: str) -> list[Misfit]:
        if _accepts(value, wanted):
            return []
        return [Misfit(MisfitKind.TYPE, path, brief(value, 80), shown(wanted))]

    def _of_array(self, given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
        yield from _of_range(given, wanted, path, _ITEMS, _length_of(given))
        if wanted.get("uniqueItems") and not given.get("uniqueItems"):
            yield Misfit(MisfitKind.LIMIT, path, "duplicates", "none")
        longest = _length_of(given)[1]
        places = max(len(_places(given)), len(_places(wanted)))
        for number in range(int(min(places, longest))):
            item = _item(given, number), _item(wanted, number)
            yield from self.misfits(*item, f"{path}[{number}]")
        if longest > places:
            yield from self.misfits(_item(given, places), _item(wanted, places), f"{path}[...]")

    def _of_object(self, given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
        sent, known = given.get("properties", {}), wanted.get("properties", {})
        sure = set(given.get("required", ()))
        for name in wanted.get("required", ()):
            if name not in sure:
                yield Misfit(MisfitKind.MISSING, _inside(path, name))
        more, others = _others(given), wanted.get("additionalProperties", True)
        for name, schema in sent.items():
            target = known.get(name, others)
            if target is False:
                yield Misfit(MisfitKind.UNKNOWN, _inside(path, name))
            else:
                yield from self.misfits(schema, target, _inside(path, name))
        if more is not None:
            for name, target in known.items():
                if name not in sent:
                    yield from self.misfits(more, target, _inside(path, name))
            yield from self.misfits(more, others, f"{path}[...]")
        yield from self._of_names(given, wanted, path, is_open=more is not None)
        most = math.inf if more is not None else len(sent)
        count = (len(sure), most)
        yield from _of_range(given, wanted, path, _FIELDS, count)

    def _of_names(self, given: Json, wanted: Json, path: str, *, is_open: bool) -> Iterator[Misfit]:
        """Yield the misfits of the names of fields."""
        names = wanted.get("propertyNames")
        if names is None:
            return
        place = f"the keys of {path}" if path else "the keys"
        for name in given.get("properties", {}):
            alternatives = _alternatives(names, self._wanted)
            if not any(_accepts(name, each) for each in alternatives):
                yield Misfit(MisfitKind.UNKNOWN, _inside(path, name))
        if is_open:
            yield from self.misfits(given.get("propertyNames", {"type": "string"}), names, place)


# --- alternatives


def _alternatives(schema: Any, named: Mapping[str, Json], depth: int = 0) -> Iterator[Json]:
    """Yield the members of *schema*, none of which is a union, an enum or a reference.

    A member is a schema with one ``type``, one ``const``, or neither: then it takes anything.
    """
    if schema is True:
        schema = {}
    if schema is False:
        return
    if depth > len(named) + 20:
        raise SettingsError("a type refers to nothing but itself")
    if "$ref" in schema:
        yield from _alternatives(named[schema["$ref"].removeprefix(SCHEMAS)], named, depth + 1)
    elif "allOf" in schema:
        yield from _of_all(schema, named, depth)
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        for choice in choices:
            yield from _alternatives(choice, named, depth + 1)
    elif "enum" in schema:
        yield from ({"const": each} for each in schema["enum"])
    elif "const" in schema:
        yield {"const": schema["const"]}
    else:
        yield from _of_types(schema)


def _of_all(schema: Json, named: Mapping[str, Json], depth: int) -> Iterator[Json]:
    """Yield the alternatives of an ``allOf``: those of its first part, with the rest as limits."""
    first, *more = schema["allOf"]
    limits = _without_remarks({k: value for k, value in schema.items() if k != "allOf"})
    if more:
        limits["x-allOf"] = more
    yield from ({**each, **limits} for each in _alternatives(first, named, depth + 1))


def _of_types(schema: Json) -> Iterator[Json]:
    """Yield *schema* once for each type that it names."""
    kinds = schema.get("type", _implied(schema))
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "null":
            yield {"const": None}
        elif kind:
            yield {**schema, "type": kind}
        else:
            yield schema


def _implied(schema: Json) -> str:
    """Return the type of a schema that names none; empty: it takes anything."""
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else ""


_REMARKS = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
)
_KNOWN = frozenset((
    *("type", "const", "enum", "format", "pattern", "contentEncoding", "contentMediaType"),
    *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "items", "additionalItems", "minItems", "maxItems", "uniqueItems"),
    *("properties", "required", "additionalProperties", "propertyNames", "minProperties"),
    *("maxProperties", "discriminator", "$comment", "$id", "$schema"),
))  # fmt: skip
"""Keywords that are compared here, or say nothing of values."""


def _without_remarks(schema: Json) -> Json:
    return {
        name: value
        for name, value in schema.items()
        if name not in _REMARKS and not name.startswith("x-")
    }


def _is_any(schema: Json) -> bool:
    """Tell whether *schema*, an alternative, takes anything."""
    limits = set(_without_remarks(schema)) - {"format", "$comment", "$id", "$schema"}
    return not limits and "x-allOf" not in schema


def _may_fit(given: Json, wanted: Json) -> bool:
    """Tell whether it is worth to compare two alternatives."""
    if "const" in wanted:
        return False  # it has been compared
    if "const" in given:
        return wanted.get("type") in _kinds_of(given["const"])
    return given.get("type") == wanted.get("type") or (
        given.get("type") == "integer" and wanted.get("type") == "number"
    )


def _kinds_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int):
        return ("integer", "number")
    return {float: ("number",), str: ("string",)}.get(type(value), ())


def _typed(value: Any) -> tuple[str, str]:
    """Return *value* so that true, 1 and 1.0 differ; of any type, as all must have a hash."""
    return type(value).__name__, repr(value)


# --- texts and numbers


def _of_scalar(given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
    """Yield the misfits of texts, numbers and booleans."""
    if wanted.get("type") in {"integer", "number"}:
        yield from _of_number(given, wanted, path)
    elif wanted.get("type") == "string":
        yield from _of_text(given, wanted, path)


def _of_text(given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
    sort, zone = _sort(wanted), wanted.get("x-timezone")
    if sort and (_sort(given) != sort or (zone is not None and given.get("x-timezone") != zone)):
        yield Misfit(MisfitKind.TYPE, path, shown(given), shown(wanted))
        return
    yield from _of_range(given, wanted, path, _LETTERS)
    yield from _of_range(given, wanted, path, _BYTES_IN_TEXT)
    pattern = wanted.get("pattern")
    if pattern is not None and given.get("pattern") != pattern:
        yield _limit(path, f"pattern {pattern}", given, "pattern")


def _sort(schema: Json) -> str:
    """Return what a text stands for; empty if it is only a text."""
    if "contentEncoding" in schema:
        return str(schema["contentEncoding"])
    sort = str(schema.get("x-python-type") or schema.get("format") or "")
    return "datetime" if sort == "date-time" else sort


def _of_number(given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
    low, high = _bounds(given), _bounds(wanted)
    if low[0] < high[0]:
        yield Misfit(MisfitKind.LIMIT, path, _bound("from", low[0]), _bound("from", high[0]))
    if low[1] > high[1]:
        yield Misfit(MisfitKind.LIMIT, path, _bound("to", low[1]), _bound("to", high[1]))
    step, own = wanted.get("multipleOf"), given.get("multipleOf")
    if step is not None and step != own:
        whole = given.get("type") == "integer" and own is None and step == 1
        if not whole and not (
            isinstance(own, int) and isinstance(step, int) and step and own % step == 0
        ):
            yield _limit(path, f"multiples of {step}", given, "multipleOf")


_Bound = tuple[float, int]
"""A limit, and 1 or -1 if the values are beyond it, 0 if it is a value itself."""


def _bounds(schema: Json) -> tuple[_Bound, _Bound]:
    """Return the lowest and the highest value of a number."""
    is_whole = schema.get("type") == "integer"
    lows: list[_Bound] = [(schema.get("minimum", -math.inf), 0)]
    highs: list[_Bound] = [(schema.get("maximum", math.inf), 0)]
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is not None:
        lows.append((math.floor(above) + 1, 0) if is_whole else (above, 1))
    if below is not None:
        highs.append((math.ceil(below) - 1, 0) if is_whole else (below, -1))
    return max(lows), min(highs)


def _bound(word: str, bound: _Bound) -> str:
    value, beyond = bound
    if math.isinf(value):
        return "no limit"
    return f"{word} {value}, without it" if beyond else f"{word} {value}"


def _accepts(value: Any, wanted: Json) -> bool:
    """Tell whether the alternative *wanted* takes *value*, a text, number, boolean or None."""
    if "const" in wanted:
        return _typed(value) == _typed(wanted["const"])
    if wanted.get("type") not in _kinds_of(value):
        return _is_any(wanted)
    exact: Json = {"type": _kinds_of(value)[0]}
    if isinstance(value, str):
        exact |= {"minLength": len(value), "maxLength": len(value)}
        pattern, is_number = wanted.get("pattern"), wanted.get("x-python-type") == "int"
        if pattern is not None and _matches(pattern, value):
            exact["pattern"] = pattern
            if is_number:
                exact["x-python-type"] = "int"
    elif not isinstance(value, bool):
        exact |= {"minimum": value, "maximum": value}
        step = wanted.get("multipleOf")
        if step and value % step == 0:
            exact["multipleOf"] = step
    return not any((*_of_scalar(exact, wanted, ""), *_of_unknown(exact, wanted, "")))


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except (re.error, RecursionError):
        return False


# --- lists and limits


def _places(schema: Json) -> list[Any]:
    """Return the schemas of a list whose items have places; empty if all items are alike."""
    items = schema.get("items")
    return items if isinstance(items, list) else []


def _item(schema: Json, number: int) -> Any:
    """Return the schema of an item of a list."""
    items = schema.get("items", {})
    if not isinstance(items, list):
        return items
    return items[number] if number < len(items) else schema.get("additionalItems", {})


def _length_of(schema: Json) -> tuple[float, float]:
    """Return how few and how many items there may be; those that nobody names are not sent."""
    places = schema.get("items")
    most = len(places) if isinstance(places, list) and "maxItems" not in schema else math.inf
    return schema.get("minItems", 0), schema.get("maxItems", most)


def _others(schema: Json) -> Any:
    """Return the schema of fields without a name; None if such fields are not sent."""
    others = schema.get("additionalProperties")
    if others is None and "properties" not in schema:
        return {}  # a dictionary of anything
    return others if isinstance(others, dict) else None


_ITEMS, _FIELDS = ("minItems", "maxItems"), ("minProperties", "maxProperties")
_LETTERS, _BYTES_IN_TEXT = ("minLength", "maxLength"), ("x-min-bytes", "x-max-bytes")


def _of_range(
    given: Json, wanted: Json, path: str, keywords: tuple[str, str], actual: Any = (0, math.inf)
) -> Iterator[Misfit]:
    """Yield the misfits of a length.  *actual*: what is known of it besides the *keywords*."""
    least, most = keywords
    low = max(given.get(least, 0), actual[0])
    high = min(given.get(most, math.inf), actual[1])
    if low < wanted.get(least, 0):
        yield _limit(path, f"at least {wanted[least]} of them", given, least)
    # A list of fixed places takes no more items only if it says so.
    limit = wanted.get(most, math.inf)
    if most == "maxItems" and wanted.get("additionalItems") is False:
        limit = min(limit, len(_places(wanted)))
    if high > limit:
        yield _limit(path, f"at most {limit} of them", given, most)


def _limit(path: str, wanted: str, given: Json, keyword: str) -> Misfit:
    own = given.get(keyword)
    return Misfit(MisfitKind.LIMIT, path, "no limit" if own is None else one_line(own, 80), wanted)


def _of_unknown(given: Json, wanted: Json, path: str) -> Iterator[Misfit]:
    """Yield the keywords of *wanted* that are not compared here, unless *given* has the same."""
    for keyword, value in _without_remarks(wanted).items():
        if keyword not in _KNOWN and given.get(keyword, _ABSENT) != value:
            yield Misfit(MisfitKind.LIMIT, path, "no limit", f"{keyword} {brief(value, 80)}")
    if wanted.get("x-allOf", []) != given.get("x-allOf", wanted.get("x-allOf", [])):
        yield Misfit(MisfitKind.LIMIT, path, "no limit", "allOf")


def _inside(path: str, name: str) -> str:
    name = one_line(name, 80)
    return f"{path}.{name}" if path else name


# --- for people


def shown(schema: Any, named: Mapping[str, Json] | None = None) -> str:
    """Return what *schema* takes, in a few words."""
    if not isinstance(schema, dict):
        return "anything" if schema else "nothing"
    if "$ref" in schema:
        return one_line(schema["$ref"].removeprefix(SCHEMAS), 80)
    if parts := schema.get("allOf"):
        return shown(parts[0], named)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices is None and "enum" in schema:
        choices = [{"const": each} for each in schema["enum"]]
    if choices:
        words = [shown(each, named) for each in choices[:_MOST_SHOWN]]
        return " or ".join([*words, "..."] if len(choices) > _MOST_SHOWN else words)
    if "const" in schema:
        return brief(schema["const"], 80)
    return _words(schema, named)


def _words(schema: Json, named: Mapping[str, Json] | None) -> str:
    kinds = schema.get("type", _implied(schema))
    kind = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if kind == "array":
        items = schema.get("items", {})
        return (
            "a list" if isinstance(items, list) or not items else f"a list of {shown(items, named)}"
        )
    if kind == "object":
        return one_line(schema.get("title", "an object"), 80)
    has_zone = schema.get("x-timezone")
    zone = "" if has_zone is None else " with a zone" if has_zone else " without a zone"
    return one_line((_sort(schema) if kind == "string" else "") or kind or "anything", 80) + zone
