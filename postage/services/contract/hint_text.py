"""Type hints as text, and the classes that they name, by JSON Schemas.  Pure."""

from __future__ import annotations

import builtins
import datetime as dt
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from postage.foreign_text import string_literal
from postage.services.contract.schemas import SCHEMAS, Json
from postage.services.conversion import library

__all__ = ["HintTexts", "identifier"]

_TEXTS = {
    "datetime": "datetime.datetime",
    "date-time": "datetime.datetime",
    "time": "datetime.time",
    "date": "datetime.date",
    "duration": "datetime.timedelta",
    "uuid": "uuid.UUID",
    "decimal": "decimal.Decimal",
    "int": "int",
}
_PLAIN = {
    "integer": "int", "number": "float", "boolean": "bool", "null": "None", "string": "str",
}  # fmt: skip
_LIMITS = {
    "minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of", "minLength": "min_length", "maxLength": "max_length",
    "pattern": "pattern", "minItems": "min_length", "maxItems": "max_length",
    "minProperties": "min_length", "maxProperties": "max_length", "x-min-bytes": "min_length",
    "x-max-bytes": "max_length", "x-timezone": "tz",
}  # fmt: skip
_TAKEN = frozenset(
    ("Annotated", "Any", "ClassVar", "Exchange", "Iterator", "Literal", "Protocol", "TypeAlias")
) | frozenset(
    ("command", "datetime", "decimal", "enum", "msgspec", "rpc", "self", "uuid", *dir(builtins))
)
"""Names that mean something else in a module of stubs."""


def identifier(text: str) -> str:
    """Return *text* as a name in Python, with ``_`` for characters that no name may have."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text) or "_"
    if name[0].isdigit() or name.startswith("__"):
        return f"x{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


class HintTexts:
    """Makes the texts of hints, and notes which classes the hints name."""

    def __init__(self, schemas: Mapping[str, Json]) -> None:
        self._schemas = schemas
        self._names: dict[tuple[str, str], str] = {}
        self._wanted: list[str] = []

    # --- names

    def _name(self, sort: str, text: str) -> str:
        """Return the name in Python of *text*, the same each time; *sort*: its namespace."""
        if (sort, text) not in self._names:
            name = base = identifier(text)
            taken = {*self._names.values(), *_TAKEN}
            number = 1
            while name in taken:
                number += 1
                name = f"{base}_{number}"
            self._names[sort, text] = name
        return self._names[sort, text]

    def name_of_service(self, text: str) -> str:
        """Return the name of the class of a service, or of an exchange."""
        return self._name("service", text)

    def name_of_error(self, text: str) -> str:
        """Return the name of the class of an exception; Python's own keep theirs."""
        known = getattr(builtins, text, None)
        is_known = isinstance(known, type) and issubclass(known, Exception)
        return text if is_known else self._name("error", text)

    # --- hints

    def hint(self, schema: Any) -> str:
        """Return the text of the hint for *schema*."""
        if not isinstance(schema, dict):
            return "Any"
        if "$ref" in schema:
            key = schema["$ref"].removeprefix(SCHEMAS)
            if key not in self._wanted:
                self._wanted.append(key)
            return self._name("type", key)
        if "allOf" in schema:
            return self.hint(schema["allOf"][0])
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self._union(choices)
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            return _literal_hint(values)
        return self._of_type(schema)

    def _union(self, choices: list[Any]) -> str:
        texts = list(dict.fromkeys(map(self.hint, choices)))
        # msgspec wants to tell the members apart by their sorts of JSON, or by tags.
        sorts = [sort for each in choices for sort in self._sorts(each)]
        is_clear = len(sorts) == len(set(sorts)) and "Any" not in texts
        return " | ".join(texts) if is_clear or len(texts) == 1 else "Any"

    def _sorts(self, schema: Any) -> list[str]:
        """Return what JSON *schema* takes, as far as msgspec wants to know it of a union."""
        schema = self._resolved(schema)
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return sorted({type(each).__name__ for each in values})
        tag, kinds = _tag_of(schema), schema.get("type", "object")
        found = [kinds] if isinstance(kinds, str) else list(kinds)
        names = {"string": "str", "integer": "int", "number": "float", "null": "NoneType"}
        return [f"{each} {tag}" if tag else names.get(each, each) for each in found]

    def _resolved(self, schema: Any) -> Json:
        for _ in range(len(self._schemas) + 1):
            if isinstance(schema, dict) and "$ref" in schema:
                schema = self._schemas[schema["$ref"].removeprefix(SCHEMAS)]
            elif isinstance(schema, dict) and "allOf" in schema:
                schema = schema["allOf"][0]
        return schema if isinstance(schema, dict) else {}

    def _of_type(self, schema: Json) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            if schema.get("format") == "decimal":
                return "decimal.Decimal"
            return self._union([{**schema, "type": each} for each in kind])
        if kind == "array":
            return self._list(schema)
        if kind == "object" or "properties" in schema:
            return self._dict(schema)
        text = _PLAIN.get(str(kind), "Any")
        if kind == "string":
            python, encoding = schema.get("x-python-type", ""), schema.get("contentEncoding")
            sort = _TEXTS.get(python) or _TEXTS.get(schema.get("format", ""), "str")
            text = (python or "bytes") if encoding == "base64" else sort
        return _limited(text, schema)

    def _list(self, schema: Json) -> str:
        items = schema.get("items", {})
        if isinstance(items, list):
            if schema.get("minItems") != len(items):
                return "list[Any]"
            return f"tuple[{', '.join(map(self.hint, items)) or '()'}]"
        inner = self.hint(items)
        kind = schema.get("x-python-type")
        if kind == "tuple":
            return _limited(f"tuple[{inner}, ...]", schema)
        return _limited(f"{kind if kind in {'set', 'frozenset'} else 'list'}[{inner}]", schema)

    def _dict(self, schema: Json) -> str:
        if "properties" in schema:
            return "dict[str, Any]"  # a class without a name: no class of ours
        key = self.hint(schema.get("propertyNames", {"type": "string"}))
        return _limited(f"dict[{key}, {self.hint(schema.get('additionalProperties', {}))}]", schema)

    def declared(self, name: str, schema: Json, *, is_required: bool) -> str:
        """Return the text of a parameter with its hint, and with its default if it has one."""
        hint = self.hint(schema)
        if is_required:
            return f"{name}: {hint}"
        default = self._default(schema)
        if default is None:  # it is not sent; any value will do
            return f"{name}: {hint} | None = None" if hint != "Any" else f"{name}: Any = None"
        return f"{name}: {hint} = {default}"

    # --- defaults

    def _default(self, schema: Json) -> str | None:
        """Return the text of the default that *schema* has; None if it cannot be written."""
        if "default" not in schema:
            return None
        return self._value(schema["default"], schema)

    def _value(self, value: Any, schema: Any) -> str | None:
        target = self._resolved(schema)
        names = target.get("x-enum-varnames")
        if names and value in target.get("enum", ()):
            number = target["enum"].index(value)
            if _is_enum(target):
                return f"{self.hint(schema)}.{identifier(names[number])}"
        if isinstance(value, list):
            return self._of_items(value, target)
        if isinstance(value, dict):
            return None
        hint = self.hint({name: part for name, part in schema.items() if name != "default"})
        if value is None or isinstance(value, (bool, int, float)):
            return repr(value) if hint != "decimal.Decimal" else f"decimal.Decimal({value!r})"
        return _text_value(value, target)

    def _of_items(self, value: list[Any], schema: Json) -> str | None:
        items, kind = schema.get("items", {}), schema.get("x-python-type")
        inner = items if isinstance(items, list) else [items] * len(value)
        texts = [self._value(*each) for each in zip(value, inner, strict=False)]
        if kind not in {"tuple", "frozenset"} or any(each is None for each in texts):
            return None
        row = f"({''.join(f'{each}, ' for each in texts).rstrip()})" if texts else "()"
        return row if kind == "tuple" else f"frozenset({row})"

    # --- classes

    def classes(self) -> Iterator[str]:
        """Yield the texts of all classes that hints name, and of all that these classes name."""
        aliases = []
        for key in self._wanted:  # it grows meanwhile
            schema, name = self._schemas[key], self._name("type", key)
            if _is_enum(schema):
                yield _enum(name, schema)
            elif schema.get("type") == "object" and _has_usual_fields(schema):
                yield self._struct(name, schema, list(schema["properties"].items()))
            elif isinstance(schema.get("items"), list) and "x-field-names" in schema:
                yield self._row(name, schema)
            else:
                aliases.append(f"{name}: TypeAlias = {string_literal(self.hint(schema))}")
        yield from aliases

    def _row(self, name: str, schema: Json) -> str:
        items, names = schema["items"], schema["x-field-names"]
        fewest, extra = schema.get("minItems", 0), len(items) - len(names)
        required = {each for number, each in enumerate(names) if number + extra < fewest}
        made = {**schema, "required": [*required], "x-row": True}
        return self._struct(name, made, list(zip(names, items[extra:], strict=False)))

    def _struct(self, name: str, schema: Json, fields: list[tuple[str, Any]]) -> str:
        tag, required = _tag_of(schema), set(schema.get("required", ()))
        options: list[str] = []
        lines: list[str] = []
        renamed: dict[str, str] = {}
        for wire, each in fields:
            if tag is not None and wire == tag[0]:
                continue
            field = identifier(wire)
            field = f"{field}_" if field in {*renamed.values()} else field
            renamed[wire] = field
            lines.append(f"    {self._field(field, each, is_required=wire in required)}")
        order = [wire in required for wire in renamed]
        if tag is not None:
            options += [f"tag_field={string_literal(tag[0])}", f"tag={_literal(tag[1])}"]
        if "x-row" in schema:
            options.append("array_like=True")
        elif order != sorted(order, reverse=True):
            options.append("kw_only=True")
        if schema.get("additionalProperties", schema.get("additionalItems")) is False:
            options.append("forbid_unknown_fields=True")
        if other := {field: wire for wire, field in renamed.items() if wire != field}:
            pairs = (f"{string_literal(k)}: {string_literal(v)}" for k, v in other.items())
            options.append(f"rename={{{', '.join(pairs)}}}")
        head = f"class {name}({', '.join(['msgspec.Struct', *options])}):"
        return "\n".join([head, *(lines or ["    pass"])])

    def _field(self, name: str, schema: Any, *, is_required: bool) -> str:
        hint = self.hint(schema)
        if is_required:
            return f"{name}: {hint}"
        default = self._default(schema) if isinstance(schema, dict) else None
        if default is None and isinstance(schema, dict) and schema.get("default") in ([], {}):
            kind = re.match(r"(?:Annotated\[)?((?:list|set|dict)\[)", hint)
            if kind is not None:
                default = f"msgspec.field(default_factory={kind[1][:-1]})"
        if default is None:
            return f"{name}: {hint} | msgspec.UnsetType = msgspec.UNSET"
        return f"{name}: {hint} = {default}"


def _has_usual_fields(schema: Json) -> bool:
    """Tell whether *schema* has fields with names that msgspec takes."""
    names = schema.get("properties")
    return names is not None and not any(re.search(r"[\x00-\x1f\"\\]", name) for name in names)


def _tag_of(schema: Json) -> tuple[str, Any] | None:
    """Return the field that tells the class of an object, and its value; None if there is none."""
    for name, each in schema.get("properties", {}).items():
        if isinstance(each, dict) and each.keys() == {"const"}:
            return name, each["const"]
    items = schema.get("items")
    if isinstance(items, list) and items and isinstance(items[0], dict) and "const" in items[0]:
        return "type", items[0]["const"]
    return None


def _is_enum(schema: Json) -> bool:
    values, names = schema.get("enum", []), schema.get("x-enum-varnames", [])
    kinds = {type(each) for each in values}
    return len(names) == len(values) and kinds in ({str}, {int})


def _enum(name: str, schema: Json) -> str:
    pairs = dict(zip(map(identifier, schema["x-enum-varnames"]), schema["enum"], strict=True))
    return "\n".join(
        [f"class {name}(enum.Enum):", *(f"    {n} = {_literal(v)}" for n, v in pairs.items())]
    )


def _literal_hint(values: list[Any]) -> str:
    if all(each is None or isinstance(each, (str, bool, int)) for each in values):
        return f"Literal[{', '.join(map(_literal, values))}]" if values else "Any"
    return "Any"


def _literal(value: Any) -> str:
    return string_literal(value) if isinstance(value, str) else repr(value)


def _limited(text: str, schema: Json) -> str:
    """Return the hint *text* with the limits of *schema*."""
    is_tuple = isinstance(schema.get("items"), list)
    found = {_LIMITS[name]: schema[name] for name in _LIMITS if name in schema}
    if not found or is_tuple or (text in {"Any", "int"} and "pattern" in found):
        return text
    limits = ", ".join(f"{name}={_literal(value)}" for name, value in found.items())
    return f"Annotated[{text}, msgspec.Meta({limits})]"


def _text_value(value: str, schema: Json) -> str | None:
    """Return the text of a default that is sent as text."""
    kind = {
        "datetime.datetime": "datetime", "datetime.date": "date", "datetime.time": "time",
        "datetime.timedelta": "timedelta",
    }  # fmt: skip
    sort = ("type", "format", "contentEncoding", "x-python-type", "enum", "const")
    text = HintTexts({}).hint({name: schema[name] for name in sort if name in schema})
    if text == "str":
        return string_literal(value)
    if text in {"decimal.Decimal", "uuid.UUID"}:
        return f"{text}({string_literal(value)})"
    try:
        if text in kind:
            return repr(library().convert(value, getattr(dt, kind[text])))
        if text == "bytes":
            return repr(library().convert(value, bytes))
    except ValueError:
        return None
    return string_literal(value) if text.startswith("Literal") else None
