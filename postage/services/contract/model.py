"""A contract, read from a document: services, and what they take, answer and publish.  Pure.

A document may come from another program, or from an editor.  `Contract.of` checks everything that
other modules use of a document, so they need not check it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from postage.errors import BadParameters, SettingsError
from postage.foreign_text import one_line
from postage.services.contract.document import FORMAT
from postage.services.contract.schemas import SCHEMAS, Json
from postage.services.conversion import converter

__all__ = [
    "Contract",
    "Operation",
    "OperationKey",
    "ServiceContract",
    "ToldBinding",
    "ToldParameter",
]

OperationKey = tuple[str, str, str, str | None]
"""The service, the category, the type and the name of a message: what its sender says."""
_KINDS = ("rpc", "command", "event", "publishes", "message")
_MOST_LEVELS = 100
"""How deep a schema may be nested."""


@dataclass
class ToldBinding:
    """A binding of a queue."""

    exchange: str
    queue: str
    key: str
    exchange_type: str = "direct"
    durable: bool = True
    auto_delete: bool = False


@dataclass
class ServiceContract:
    """What is known of a component as a whole."""

    doc: str = ""
    bindings: list[ToldBinding] = field(default_factory=list)


@dataclass
class ToldParameter:
    """A parameter of a handler; *kind* is ``place``, ``either`` or ``keyword``."""

    name: str
    kind: str = "either"
    required: bool = True


@dataclass
class Operation:
    """A handler, or an event that is published."""

    service: str
    kind: str
    """``rpc``, ``command``, ``event``, ``publishes``, or ``message``: a classic handler."""
    name: str | None
    method: str = ""
    type: str = "command"
    """The type of the messages of a classic handler."""
    exchange: str = ""
    """Where an event is published."""
    parameters: list[ToldParameter] | None = None
    """None: a classic handler, or an event."""
    schema: str = ""
    """The key of the parameters in `Contract.schemas`."""
    result: Any = None
    """The type of the result of a call, or of each part of a stream."""
    streams: bool = False
    raises: list[str] = field(default_factory=list)
    event: Any = None
    doc: str = ""

    @property
    def key(self) -> OperationKey:
        """What tells the messages of the operation from others of the service."""
        if self.kind == "publishes":
            return (self.service, "publishes", "status", self.name)
        category = "rpc" if self.kind == "rpc" else "message"
        return (self.service, category, "status" if self.kind == "event" else self.type, self.name)

    @property
    def is_typed(self) -> bool:
        """Whether the types of what the operation takes are known."""
        return self.parameters is not None or self.event is not None

    @property
    def where(self) -> str:
        """The name of the operation for people."""
        return f"{self.service}.{self.name or self.method}"


@dataclass
class _Told:
    """What a document says of itself."""

    format: int
    version: str = ""
    services: dict[str, ServiceContract] = field(default_factory=dict)


@dataclass
class Contract:
    """What a document says about services, checked."""

    title: str
    version: str
    services: dict[str, ServiceContract]
    operations: list[Operation]
    schemas: dict[str, Json]
    """The schemas of types, by their keys: see `JsonSchemas`."""

    @classmethod
    def of(cls, document: Any) -> Contract:
        """Return the contract in *document*; raise `SettingsError` with the fault if it has one."""
        _check_head(document)
        told: _Told = _as(_Told, document["x-postage"], "x-postage")
        schemas = _mapping(document, "components", "schemas")
        for name, each in schemas.items():
            _check_schema(each, schemas, f"components.schemas.{name}")
        operations = [
            _operation(f"operations.{name}", each, schemas)
            for name, each in _mapping(document, "operations").items()
        ]
        for each in operations:
            told.services.setdefault(each.service, ServiceContract())
        info = document.get("info")
        info = info if isinstance(info, dict) else {}
        title, version = (str(info.get(each, "")) for each in ("title", "version"))
        return cls(title, version, told.services, operations, schemas)

    def parameter(self, operation: Operation, name: str) -> Json:
        """Return the schema of the parameter *name*."""
        found: Json = self.schemas[operation.schema]["properties"][name]
        return found


def _check_head(document: Any) -> None:
    """Raise `SettingsError` if *document* is none that `Contract.of` can read."""
    if not isinstance(document, dict) or not isinstance(document.get("asyncapi"), str):
        raise SettingsError("is no AsyncAPI document: write it with `postage contract export`")
    version = document["asyncapi"]
    if not version.startswith("3.0."):
        raise SettingsError(f"is AsyncAPI {one_line(version, 20)}, and a contract is 3.0")
    told = document.get("x-postage")
    if not isinstance(told, dict):
        raise SettingsError(
            "has no x-postage, so `postage contract export` has not written it, and it does not "
            "say what a check needs"
        )
    if isinstance(told.get("format"), int) and told["format"] > FORMAT:
        newer = one_line(told.get("version", ""), 20)
        raise SettingsError(
            f"was written by a newer Postage ({newer}; format {told['format']}, and this one reads "
            f"{FORMAT}): check it with that one"
        )


def _mapping(document: Json, *path: str) -> dict[str, Any]:
    """Return the object at *path*; empty if there is none."""
    found: dict[str, Any] = document
    for each in path:
        found = found.get(each, {})
        if not isinstance(found, dict):
            raise SettingsError(f"has an odd part: {'.'.join(path)} is no object")
    return found


def _as(kind: Any, value: Any, where: str) -> Any:
    """Return *value* as an instance of *kind*; raise `SettingsError` for what does not fit."""
    try:
        return converter(kind)(value)
    except BadParameters as exc:
        raise SettingsError(f"has an odd part: {one_line(where)}: {exc}") from None


def _operation(where: str, value: Any, schemas: Mapping[str, Json]) -> Operation:
    if not isinstance(value, dict):
        raise SettingsError(f"has an odd part: {one_line(where)} is no object")
    told = value.get("x-postage")
    operation: Operation = _as(Operation, told, f"{where}.x-postage")
    if operation.kind not in _KINDS:
        text = f"is of the kind {operation.kind!r:.40}, and none of {', '.join(_KINDS)}"
        raise SettingsError(f"has an odd part: {one_line(where)} {text}")
    if operation.name == "" or (
        operation.name is None and operation.kind != "message" and operation.is_typed
    ):
        raise SettingsError(f"has an odd part: {one_line(where)} has no name")
    doc = value.get("description", "")
    operation.doc = doc if isinstance(doc, str) else ""
    for part in (operation.result, operation.event):
        if part is not None:
            _check_schema(part, schemas, f"{where}.x-postage")
    if operation.parameters is not None:
        record = schemas.get(operation.schema, {}).get("properties", {})
        missing = [each.name for each in operation.parameters if each.name not in record]
        if missing:
            text = f"has no schema of {', '.join(map(repr, missing))}"
            raise SettingsError(f"has an odd part: {one_line(where)} {text}")
    return operation


# --- schemas

_IS: Mapping[str, Any] = {
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), "schemas"),
    **dict.fromkeys(("properties",), "named"),
    **dict.fromkeys(("propertyNames", "additionalProperties", "additionalItems"), "schema"),
    "items": "items",
    "$ref": str,
    **dict.fromkeys(("format", "pattern", "x-python-type", "contentEncoding", "title"), str),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), int),
    **dict.fromkeys(("minProperties", "maxProperties", "x-min-bytes", "x-max-bytes"), int),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (int, float)),
    **dict.fromkeys(("required", "x-enum-varnames", "x-field-names"), "texts"),
    "type": "types",
    "enum": list,
}
"""What the value of a keyword must be."""


def _check_schema(schema: Any, named: Mapping[str, Json], where: str, level: int = 0) -> None:
    """Raise `SettingsError` if *schema* is none, or refers to what is not there."""
    if isinstance(schema, bool) and level:
        return
    if not isinstance(schema, dict):
        raise SettingsError(f"has an odd part: {one_line(where)} is no schema")
    if level > _MOST_LEVELS:
        raise SettingsError(f"has an odd part: {one_line(where)[:100]} nests too deep")
    for keyword, value in schema.items():
        kind = _IS.get(keyword)
        place = f"{where}.{keyword}"
        if not _is_of(kind, value):
            raise SettingsError(f"has an odd part: {one_line(place)} has an odd value")
        if keyword == "$ref" and value.removeprefix(SCHEMAS) not in named:
            raise SettingsError(f"has an odd part: {one_line(place)} leads nowhere")
        for name, each in _inner(kind, value):
            _check_schema(each, named, f"{place}.{name}", level + 1)


def _is_of(kind: Any, value: Any) -> bool:
    """Tell whether *value* is what `_IS` asks for."""
    if kind is None or kind in {"schema", "items"}:
        return True  # a schema is looked at by itself
    if kind == "schemas":
        return isinstance(value, list) and bool(value)
    if kind == "named":
        return isinstance(value, dict)
    if kind in {"texts", "types"}:
        listed = [value] if kind == "types" and isinstance(value, str) else value
        return isinstance(listed, list) and all(isinstance(each, str) for each in listed)
    return isinstance(value, kind) and not isinstance(value, bool)


def _inner(kind: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the schemas in the *value* of a keyword."""
    if kind == "schema":
        yield "", value
    elif kind in {"schemas", "items"} and isinstance(value, list):
        yield from ((str(number), each) for number, each in enumerate(value))
    elif kind == "items":
        yield "", value
    elif kind == "named":
        yield from value.items()
