"""The schemas of whole messages, as they are on the wire (docs/messages.md).  Pure."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from postage.handlers import Route
from postage.message import ERROR, EXCEPTION, SUCCESS, VERSION
from postage.services.contract.schemas import SCHEMAS, Json, JsonSchemas
from postage.services.conversion import as_builtins, takes_array, takes_object
from postage.services.signatures import Parameter, Signature

# fmt: off
__all__ = [
    "FINGERPRINT", "FINGERPRINT_KEY", "ContractParameter", "Parameters", "classic_payload",
    "command_payload", "exception_payload", "parameters_of", "result_payload", "status_payload",
]
# fmt: on

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "place",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
}
FINGERPRINT: Json = {
    "type": "object",
    "description": "The sender; may be empty.",
    "properties": {
        name: {"type": "string"} for name in ("name", "type", "pid", "host", "user", "vhost")
    },
}
FINGERPRINT_KEY = "postage.fingerprint"
"""Where a document has `FINGERPRINT`, to which all messages refer."""


@dataclass(frozen=True)
class ContractParameter:
    """One parameter of a handler, as a contract describes it."""

    name: str
    kind: str
    """``place``: before a ``/``; ``keyword``: after a ``*``; or ``either``."""
    is_required: bool

    def told(self) -> Json:
        """Return the parameter as a contract has it."""
        return {"name": self.name, "kind": self.kind, "required": self.is_required}


@dataclass(frozen=True)
class Parameters:
    """The parameters of a handler."""

    items: tuple[ContractParameter, ...]
    record: Json
    """The schema of the arguments by name."""
    one_value: bool
    """Whether the parameters may be a single value that is no list and no object."""
    one_object: bool
    """Whether an object may be the first argument."""
    one_array: bool
    """Whether a list may be the first argument."""


def parameters_of(signature: Signature, types: JsonSchemas) -> Parameters:
    """Return the parameters of *signature*, and the shapes that it accepts: see `Signature`."""
    given = signature.parameters
    properties = {each.name: _with_default(types.of(each.hint), each) for each in given}
    record: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [each.name for each in given if each.is_required]
    if required:
        record["required"] = required
    in_order = [each for each in given if not each.is_keyword]
    first = in_order[0] if in_order else None
    is_alone = first is not None and not set(required) - {first.name}
    one_object = one_array = False
    if first is not None and is_alone:
        is_sole = len(given) == 1
        takes = (takes_object(first.hint), takes_array(first.hint))
        one_object, one_array = (is_sole if each is None else each for each in takes)
    items = tuple(ContractParameter(p.name, _KINDS[p.kind], p.is_required) for p in given)
    return Parameters(items, record, is_alone, one_object, one_array)


def _with_default(schema: Json, parameter: Parameter) -> Json:
    if parameter.is_required:
        return schema
    whole = {"allOf": [schema]} if "$ref" in schema else schema
    return {**whole, "default": as_builtins(parameter.default)}


def command_payload(name: str, kind: str, parameters: Parameters, record: str) -> Json:
    """Return the schema of a command or call.  *record*: where the schema of its arguments is."""
    shapes = list(_shapes(parameters, record))
    given: Json = {"anyOf": shapes} if len(shapes) > 1 else shapes[0]
    content: Json = {"type": "object", "properties": {"parameters": given}}
    if any(each.is_required for each in parameters.items):
        content["required"] = ["parameters"]
    return _body("command", name, "rpc" if kind == "rpc" else "message", content)


def _shapes(parameters: Parameters, record: str) -> Any:
    """Yield the schemas of the shapes of parameters, the preferred one first."""
    items = parameters.items
    by_name = {each.name: {"$ref": f"{record}/properties/{each.name}"} for each in items}
    in_order = [each for each in items if each.kind != "keyword"]
    must_name = [each.name for each in items if each.is_required and each.kind == "keyword"]
    required = [each for each in in_order if each.is_required]
    yield {"$ref": record}
    listed = [by_name[each.name] for each in in_order]
    if not must_name:
        yield {
            "title": "in their order",
            "type": "array",
            **({"items": listed, "additionalItems": False} if listed else {"maxItems": 0}),
            **({"minItems": len(required)} if required else {}),
        }
    yield from _both(parameters, by_name)
    if parameters.one_value:
        value = by_name[in_order[0].name]
        allowed = ["string", "number", "boolean", "null"]
        allowed += ["object"] * parameters.one_object + ["array"] * parameters.one_array
        yield {"title": f"one value: {in_order[0].name}", "type": allowed, "allOf": [value]}
    elif not items:
        yield {"type": "null"}


def _both(parameters: Parameters, by_name: Json) -> Any:
    """Yield the schemas of ``{"args": [...], "kwds": {...}}``, one for each number of args."""
    items = parameters.items
    in_order = [each for each in items if each.kind != "keyword"]
    for count in range(len(in_order) + 1):
        listed = [by_name[each.name] for each in in_order[:count]]
        named = [each for each in items if each not in in_order[:count]]
        required = [each.name for each in named if each.is_required]
        kwds: Json = {
            "type": "object",
            "properties": {each.name: by_name[each.name] for each in named},
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }
        yield {
            "title": f"{count} in their order, others by name",
            "type": "object",
            "properties": {
                "args": {
                    "type": "array",
                    **({"items": listed, "minItems": count} if listed else {}),
                    "maxItems": count,
                },
                "kwds": kwds,
            },
            "required": ["args", "kwds"],
            "additionalProperties": False,
        }


def status_payload(name: str, event: Json) -> Json:
    """Return the schema of an event, a status message whose content is the event itself."""
    return _body("status", name, "message", event)


def classic_payload(route: Route) -> Json:
    """Return the schema of a message for a classic handler, of which only the route is known."""
    content: Json = {"type": "object"}
    if route.type == "command":
        content["properties"] = {"parameters": {}}
    return _body(route.type, route.name, route.category, content)


def result_payload(value: Json) -> Json:
    """Return the schema of the reply of a call that has succeeded."""
    return _result({"const": SUCCESS}, value, {})


def exception_payload(name: str | None, kind: str = EXCEPTION, others: Any = ()) -> Json:
    """Return the schema of the reply of a call that has failed with the exception *name*.

    *name* None: any name, except *others*.  *kind*: ``exception``, or ``error``, which has no name.
    """
    value: Json = {"type": "null"} if kind == ERROR else {"type": "string"}
    if name is not None:
        value = {"const": name}
    elif others:
        value = {"type": "string", "not": {"enum": list(others)}}
    text = "The arguments of the exception, if they can be sent."
    args: Json = {"type": "array", "description": text}
    reserved = {"args": args} if name is not None else {}
    return _result({"const": kind}, value, reserved)


def _result(kind: Json, value: Json, reserved: Json) -> Json:
    content: Json = {
        "type": "object",
        "properties": {"type": kind, "value": value, "message": {"type": "string"}},
        "required": ["type", "value", "message"],
    }
    made = _body("result", "none", "message", content)
    if reserved:
        made["properties"]["_reserved"]["properties"] = reserved
    return made


def _body(type_: str, name: str | None, category: str, content: Json) -> Json:
    return {
        "type": "object",
        "properties": {
            "type": {"const": type_},
            "name": {"type": "string"} if name is None else {"const": name},
            "category": {"const": category},
            "version": {"const": VERSION},
            "fingerprint": {"$ref": SCHEMAS + FINGERPRINT_KEY},
            "content": content,
            "_reserved": {"type": "object"},
        },
        "required": ["type", "name", "category", "content"],
    }
