"""Examples of values, by their schemas.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from postage.services.contract.schemas import SCHEMAS, Json

__all__ = ["example_of"]

_DEEPEST = 40
_MOST_NESTED = (40, 6, 3)
"""References within each other; fewer, if an example is too large otherwise."""
_MOST_STEPS = 5000
"""Schemas that are looked at for one example: of some types every example is huge."""
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:30:00Z",
    "time": "12:30:00Z",
    "duration": "PT1H30M",
    "uuid": "5f6cd9e2-6f3b-4a57-9d1c-2f0c1f3f7a10",
    "decimal": "9.99",
    "email": "somebody@example.com",
    "uri": "https://example.com/",
}
_PYTHON = {"datetime": "2026-01-31T12:30:00", "time": "12:30:00"}


class _NoExample(Exception):
    """There is no telling what would fit."""


class _TooLarge(Exception):
    """An example would take too long, and nobody would read it."""


def example_of(schema: Json, named: Mapping[str, Json]) -> Any:
    """Return a value that fits *schema*; None if no such value can be found.

    *named*: the schemas to which others refer.  If a schema has an example or a default, that is
    the value.
    """
    for most in _MOST_NESTED:
        try:
            return _Maker(named, most).value(schema, 0)
        except _NoExample:  # noqa: PERF203 - each try is one
            break
        except _TooLarge:
            continue
    return None


class _Maker:
    def __init__(self, named: Mapping[str, Json], most: int) -> None:
        self._named, self._most = named, most
        self._within: list[str] = []  # the references that are being followed
        self._steps = 0

    def value(self, schema: Json, depth: int) -> Any:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _TooLarge
        if depth > _DEEPEST:
            raise _NoExample
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        if "$ref" in schema:
            return self._of_reference(schema["$ref"], depth)
        if schema.get("allOf"):
            return self.value(schema["allOf"][0], depth + 1)
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self._first(choices, depth)
        kinds = schema.get("type", "string")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        return self._of_kind(kind, schema, depth)

    def _of_reference(self, ref: str, depth: int) -> Any:
        # A type in itself: another choice ends the recursion, or nothing does.
        if ref in self._within or len(self._within) >= self._most:
            raise _NoExample
        self._within.append(ref)
        try:
            return self.value(self._target(ref), depth + 1)
        finally:
            self._within.pop()

    def _target(self, ref: str) -> Json:
        key, *path = ref.removeprefix(SCHEMAS).split("/")
        target = self._named[key]
        for each in path:
            target = target[each]
        return target

    def _first(self, choices: list[Json], depth: int) -> Any:
        """Return an example of the first choice that has one."""
        for each in choices:
            try:
                return self.value(each, depth + 1)
            except _NoExample:  # noqa: PERF203 - the next choice may have one
                continue
        raise _NoExample

    def _of_kind(self, kind: str, schema: Json, depth: int) -> Any:
        if kind == "object":
            required = schema.get("required", ())
            properties = schema.get("properties", {})
            return {
                name: self.value(each, depth + 1)
                for name, each in properties.items()
                if name in required or name == "version"
            }
        if kind == "array":
            return self._row(schema, depth)
        if kind == "string":
            return _text(schema)
        if kind in {"integer", "number"}:
            return _number(kind, schema)
        return {"boolean": True}.get(kind)

    def _row(self, schema: Json, depth: int) -> list[Any]:
        items, fewest = schema.get("items", {}), schema.get("minItems", 0)
        if isinstance(items, list):
            return [self.value(each, depth + 1) for each in items[:fewest]]
        return [self.value(items, depth + 1) for _ in range(fewest)]


def _text(schema: Json) -> str:
    if "pattern" in schema:
        raise _NoExample
    if schema.get("contentEncoding") == "base64":
        fewest: int = schema.get("x-min-bytes", 0)
        return "AAAA" * math.ceil(fewest / 3)
    known = {**_FORMATS, **_PYTHON}
    for key in ("format", "x-python-type"):
        if schema.get(key) in known:
            return known[schema[key]]
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    return str("text".ljust(shortest, "x")[:longest])


def _number(kind: str, schema: Json) -> float:
    """Return a number within the limits of *schema*."""
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lowest = schema.get("minimum", -math.inf if above is None else above + 1)
    highest = schema.get("maximum", math.inf if below is None else below - 1)
    step = schema.get("multipleOf", 1)
    chosen = 1 if lowest <= 1 <= highest else lowest if lowest > 1 else highest
    chosen = math.ceil(chosen / step) * step
    if not lowest <= chosen <= highest:
        raise _NoExample
    return int(chosen) if kind == "integer" else chosen
