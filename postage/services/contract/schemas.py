"""JSON Schemas of type hints: what a service accepts, and what it sends.  Pure.

msgspec makes such schemas, too, but leaves out what a contract has to say: that a Decimal may be a
number, which zone a time has, what the keys of a dictionary are.  So this module makes the schemas,
from msgspec's description of each type.  The dialect is draft-07, on which AsyncAPI 3.0 is based.
What JSON Schema cannot say is in keys that begin with ``x-``:

* ``x-python-type``: the type in Python, where JSON has only text or a list;
* ``x-timezone``: whether a time must, or must not, have a zone; either, if the key is absent;
* ``x-min-bytes``, ``x-max-bytes``: the limits of the bytes that a text in base64 stands for;
* ``x-enum-varnames``: the names of the members of an enum.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from postage.services.conversion import as_builtins, library, parts_of

__all__ = ["SCHEMAS", "Json", "JsonSchemas", "plain_key", "text_of_doc"]

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/"
"""Where an AsyncAPI document has the schemas that others refer to."""

_NUMBERS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXTS = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_ITEMS = {"min_length": "minItems", "max_length": "maxItems"}
_KEYS = {"min_length": "minProperties", "max_length": "maxProperties"}
_BYTES = {"min_length": "x-min-bytes", "max_length": "x-max-bytes"}
_WHOLE = {"type": "string", "pattern": "^-?[0-9]+$", "x-python-type": "int"}
"""An integer as the key of an object."""


class JsonSchemas:
    """The schemas of several type hints, with names that are the same in each run.

    Each class has a schema of its own in `named`, to which others refer.  Its key there is its
    name; the name of its module is added if two classes have one name.
    """

    def __init__(self, hints: Iterable[Any]) -> None:
        inspect_ = library().inspect
        self._make = self._makers()
        self._names = _names_of(hints)
        self.named: dict[str, Json] = {}
        """The schemas of the classes, by key."""
        self._info = inspect_.type_info

    def of(self, hint: Any) -> Json:
        """Return the schema of *hint*, one of the hints that were given."""
        return self._of(self._info(hint))

    def _makers(self) -> Mapping[str, Callable[[Any], Json]]:
        """Return the functions that make schemas, by the classes of msgspec's descriptions."""
        return {
            "AnyType": lambda _: {},
            "RawType": lambda _: {},
            "NoneType": lambda _: {"type": "null"},
            "BoolType": lambda _: {"type": "boolean"},
            "IntType": lambda info: {"type": "integer", **_limits(info, _NUMBERS)},
            "FloatType": lambda info: {"type": "number", **_limits(info, _NUMBERS)},
            "StrType": lambda info: {"type": "string", **_limits(info, _TEXTS)},
            "BytesType": _base64,
            "ByteArrayType": lambda info: {**_base64(info), "x-python-type": "bytearray"},
            "MemoryViewType": _base64,
            "DateTimeType": lambda info: _zoned("datetime", "date-time", info.tz),
            "TimeType": lambda info: _zoned("time", "time", info.tz),
            "DateType": lambda _: {"type": "string", "format": "date"},
            "TimeDeltaType": lambda _: {"type": "string", "format": "duration"},
            "UUIDType": lambda _: {"type": "string", "format": "uuid"},
            "DecimalType": lambda _: {"type": ["string", "number"], "format": "decimal"},
            "LiteralType": lambda info: {"enum": sorted(info.values, key=repr)},
            "EnumType": lambda info: {
                "enum": [each.value for each in info.cls],
                "x-enum-varnames": [each.name for each in info.cls],
            },
            "ListType": self._list,
            "CollectionType": self._list,
            "SetType": self._set,
            "FrozenSetType": self._set,
            "VarTupleType": self._set,
            "TupleType": self._tuple,
            "DictType": self._dict,
            "UnionType": self._union,
            "DataclassType": self._fields,
            "TypedDictType": self._fields,
            "StructType": self._struct,
            "NamedTupleType": self._named_tuple,
            "CustomType": self._model,
        }

    def _of(self, info: Any) -> Json:
        name = type(info).__name__
        if name == "Metadata":
            return self._described(info)
        if _has_name(info):
            return self._reference(info)
        return self._make[name](info)

    def _described(self, info: Any) -> Json:
        extra: Json = as_builtins(info.extra_json_schema or {})
        inner: Json = self._of(info.type)
        return {**(_alone(inner) if extra else inner), **extra}

    def _reference(self, info: Any) -> Json:
        name = self._names[info.cls]
        if name not in self.named:
            self.named[name] = {}  # a class may refer to itself
            made = _alone(self._make[type(info).__name__](info))
            self.named[name] = {"title": _title(info.cls), **_doc(info.cls), **made}
        return {"$ref": SCHEMAS + name}

    # --- one method for each sort of description

    def _list(self, info: Any) -> Json:
        return {"type": "array", "items": self._of(info.item_type), **_limits(info, _ITEMS)}

    def _set(self, info: Any) -> Json:
        kind = {"SetType": "set", "FrozenSetType": "frozenset", "VarTupleType": "tuple"}
        return {**self._list(info), "x-python-type": kind[type(info).__name__]}

    def _tuple(self, info: Any) -> Json:
        items = [self._of(each) for each in info.item_types]
        return {**_row(items, len(items)), "additionalItems": False, "x-python-type": "tuple"}

    def _dict(self, info: Any) -> Json:
        keys, values = self._of(info.key_type), self._of(info.value_type)
        names: Json = {} if keys in ({}, {"type": "string"}) else {"propertyNames": _key(keys)}
        return {
            "type": "object",
            **({"additionalProperties": values} if values else {}),
            **names,
            **_limits(info, _KEYS),
            "x-python-type": "dict",
        }

    def _union(self, info: Any) -> Json:
        return {"anyOf": [self._of(each) for each in info.types]}

    def _fields(self, info: Any) -> Json:
        properties = {each.encode_name: self._field(each) for each in info.fields}
        required = [each.encode_name for each in info.fields if each.required]
        if getattr(info, "tag_field", None) is not None:
            properties = {info.tag_field: {"const": info.tag}, **properties}
            required = [info.tag_field, *required]
        made: Json = {"type": "object", "properties": properties}
        if required:
            made["required"] = required
        if getattr(info, "forbid_unknown_fields", False):
            made["additionalProperties"] = False
        return made

    def _struct(self, info: Any) -> Json:
        if not info.array_like:
            return self._fields(info)
        items = [self._field(each) for each in info.fields]
        fewest = max((n for n, each in enumerate(info.fields, 1) if each.required), default=0)
        if info.tag_field is not None:
            items, fewest = [{"const": info.tag}, *items], fewest + 1
        more = {"additionalItems": False} if info.forbid_unknown_fields else {}
        names = [each.encode_name for each in info.fields]
        return {**_row(items, fewest), **more, "x-field-names": names}

    def _named_tuple(self, info: Any) -> Json:
        items = [self._field(each) for each in info.fields]
        fewest = sum(each.required for each in info.fields)
        names = [each.encode_name for each in info.fields]
        return {**_row(items, fewest), "additionalItems": False, "x-field-names": names}

    def _field(self, field: Any) -> Json:
        schema = self._of(field.type)
        default = _default_of(field)
        if default is _NONE:
            return schema
        return {**_alone(schema), "default": default}

    def _model(self, info: Any) -> Json:
        """Return the schema of a pydantic model, as pydantic says it."""
        prefix = self._names[info.cls]
        made: Json = info.cls.model_json_schema(ref_template=f"{SCHEMAS}{prefix}.{{model}}")
        made = _draft_07(made)
        for name, each in made.pop("$defs", {}).items():
            self.named[f"{prefix}.{name}"] = each
        return made


def _alone(schema: Json) -> Json:
    """Return *schema* in a form to which keys may be added: beside a $ref none would count."""
    return {"allOf": [schema]} if "$ref" in schema else schema


_NONE = object()


def _default_of(field: Any) -> Any:
    """Return the default of a field, as it is sent; `_NONE` if there is none to be shown."""
    nothing = library().NODEFAULT
    if field.default_factory in {list, set, frozenset, tuple}:
        return []
    if field.default_factory is dict:
        return {}
    if field.default is nothing or field.default is library().UNSET:
        return _NONE
    try:
        return as_builtins(field.default)
    except TypeError:
        return _NONE


def _limits(info: Any, names: Mapping[str, str]) -> Json:
    found = {names[each]: getattr(info, each, None) for each in names}
    return {name: value for name, value in found.items() if value is not None}


def _base64(info: Any) -> Json:
    limits = _limits(info, _BYTES)
    return {"type": "string", "contentEncoding": "base64", **limits}


def _zoned(kind: str, format_: str, zone: bool | None) -> Json:  # noqa: FBT001 - msgspec's own three values
    schema: Json = {"type": "string", "x-python-type": kind}
    if zone is not None:
        schema["x-timezone"] = zone
    return {**schema, "format": format_} if zone else schema


def _row(items: list[Json], fewest: int) -> Json:
    """Return the schema of a list with these *items* in their places."""
    return {"type": "array", "items": items, "minItems": fewest}


def _key(schema: Json) -> Json:
    """Return the schema of a key of an object, whose values have *schema*."""
    return _WHOLE if schema.get("type") == "integer" else schema


def _draft_07(schema: Any) -> Any:
    """Return *schema*, which pydantic has made, in the words of draft-07."""
    if isinstance(schema, list):
        return [_draft_07(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _draft_07(value) for name, value in schema.items()}
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")
    return made


# --- names


def _has_name(info: Any) -> bool:
    return (
        isinstance(getattr(info, "cls", None), type)
        or get_origin(getattr(info, "cls", None)) is not None
    )


def _names_of(hints: Iterable[Any]) -> dict[Any, str]:
    """Return the key of each class in *hints*."""
    classes: dict[Any, None] = {}
    type_info = library().inspect.type_info
    for hint in hints:
        for part in parts_of(type_info(hint)):
            if _has_name(part):
                classes.setdefault(part.cls)
    short = defaultdict[str, list[Any]](list)
    for each in classes:
        short[plain_key(_title(each))].append(each)
    return dict(_told_apart(short))


def _told_apart(short: Mapping[str, list[Any]]) -> Iterator[tuple[Any, str]]:
    taken: set[str] = {name for name, classes in short.items() if len(classes) == 1}
    for name, classes in short.items():
        for each in classes:
            key = name
            if len(classes) > 1:
                key = base = plain_key(f"{(get_origin(each) or each).__module__}.{_title(each)}")
                number = 1
                while key in taken:  # two classes that a function has made
                    number += 1
                    key = f"{base}-{number}"
                taken.add(key)
            yield each, key


def _title(kind: Any) -> str:
    args = get_args(kind)
    name = str((get_origin(kind) or kind).__qualname__).rpartition("<locals>.")[2]
    return f"{name}[{', '.join(map(_title_of_argument, args))}]" if args else name


def _title_of_argument(kind: Any) -> str:
    return _title(kind) if hasattr(kind, "__qualname__") else str(kind)


def plain_key(name: str) -> str:
    """Return *name* with ``_`` for characters that AsyncAPI does not allow in keys."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


def _doc(kind: Any) -> Json:
    text = text_of_doc(get_origin(kind) or kind)
    return {"description": text} if text else {}


def text_of_doc(thing: Any) -> str:
    """Return the docstring of *thing*, a class or a function; empty if Python has made it."""
    text = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", "")
    if not isinstance(text, str) or text == "An enumeration.":
        return ""
    if isinstance(thing, type) and text.startswith(f"{thing.__name__}("):
        return ""  # dataclasses and NamedTuples: the signature
    return inspect.cleandoc(text)
