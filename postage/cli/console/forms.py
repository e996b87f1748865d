"""What a person can try of a component: its handlers, with schemas of what they take.  Pure.

A contract comes from another program, so it is read as any contract is (`Contract.of`), and its
schemas, which refer to each other, are written out to a bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from postage.cli.console.sightings import items_at, text_at
from postage.cli.console.state import Entry
from postage.errors import SettingsError
from postage.services.contract.model import Contract, Operation

__all__ = ["forms_of"]

DEEPEST = 6
"""Levels to which schemas are written out; what is deeper may be anything."""
MOST_NODES = 2000
"""Parts of schemas that are written out for one component."""


def forms_of(info: Any, contract: Any) -> list[Entry]:
    """Return a form for each handler of calls and commands in what a component has told.

    Handlers of Postage itself are left out, and so are those of events: whoever sends an event
    sends it to all.  *contract* is an AsyncAPI document, or None.
    """
    known = _operations(contract)
    writer = _SchemaWriter(known[1])
    forms = []
    for each in items_at(info, "handlers", 100):
        name, category = text_at(each, "name"), text_at(each, "category")
        if not name or text_at(each, "type") != "command" or each.get("built_in") is True:
            continue
        operation = known[0].get((category, name))
        forms.append(
            {
                "handler": text_at(each, "handler"),
                "name": name,
                "category": category,
                "type": "command",
                "doc": text_at(each, "doc") or (operation.doc if operation else ""),
                "signature": text_at(each, "signature"),
                "schema": None if operation is None else _parameters(operation, writer),
                "result": None if operation is None else writer.written(operation.result),
                "errors": operation.raises if operation else [],
                "streams": operation.streams if operation else False,
            }
        )
    return forms


def _operations(contract: Any) -> tuple[dict[tuple[str, str], Operation], Mapping[str, Any]]:
    """Return the typed operations by category and name, and the schemas that they refer to."""
    if contract is None:
        return {}, {}
    try:
        read = Contract.of(contract)
    except SettingsError:
        return {}, {}
    found = {
        ("rpc" if each.kind == "rpc" else "message", each.name or ""): each
        for each in read.operations
        if each.kind in ("rpc", "command") and each.is_typed
    }
    return found, read.schemas


def _parameters(operation: Operation, writer: _SchemaWriter) -> Any:
    return writer.written({"$ref": f"{REFERENCE}{operation.schema}"}) if operation.schema else None


REFERENCE = "#/components/schemas/"


class _SchemaWriter:
    """Writes schemas out: what they refer to takes the place of the reference."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas, self._room = schemas, MOST_NODES

    def written(self, schema: Any, level: int = 0) -> Any:
        """Return *schema* without references; an empty schema where it gets too deep."""
        self._room -= 1
        if self._room < 0 or level > 4 * DEEPEST:
            return {}
        if isinstance(schema, list):
            return [self.written(each, level + 1) for each in schema]
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._found(reference)
            others = {key: value for key, value in schema.items() if key != "$ref"}
            return self.written(target | others, level + 3) if isinstance(target, dict) else {}
        return dict(self._members(schema, level))

    def _members(self, schema: dict[str, Any], level: int) -> Iterator[tuple[str, Any]]:
        for key, value in schema.items():
            yield key, self.written(value, level + 1)

    def _found(self, reference: str) -> Any:
        """Return what *reference* means: a schema, or a part of one."""
        if not reference.startswith(REFERENCE):
            return None
        name, *path = reference.removeprefix(REFERENCE).split("/")
        found = self._schemas.get(name)
        for each in path:
            found = found.get(each) if isinstance(found, Mapping) else None
        return found
