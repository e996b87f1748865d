"""Conversion between Python objects and what an encoder sends, by type hints.

msgspec does the work, and is loaded when the first typed handler or client is made.  Hints that
msgspec cannot check are refused then, so each hint that is used later is checked as a whole.

Models of pydantic validate themselves.  Nothing here imports pydantic: a program that has a model
has imported pydantic itself.  No function here switches greenlets, unless code of the user does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from postage.errors import BadParameters, SettingsError
from postage.foreign_text import one_line

# fmt: off
__all__ = [
    "as_builtins", "check_hint", "converter", "dumper", "library", "parts_of", "record_type",
    "takes_array", "takes_object",
]
# fmt: on

_NOT_INSTALLED = "typed handlers need msgspec: install it, or Postage with its extra `typed`"
_PLACE = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`\Z")
"""The end of msgspec's texts: where the value is."""


@functools.cache
def library() -> Any:
    """Return msgspec; raise `SettingsError` if it is not installed."""
    try:
        import msgspec  # noqa: PLC0415 - an extra, and few programs need it
        import msgspec.inspect  # noqa: PLC0415 - as above
    except ImportError:
        raise SettingsError(_NOT_INSTALLED) from None
    return msgspec


# --- hints


def check_hint(hint: Any) -> None:
    """Raise `SettingsError` with the reason if values cannot be checked by *hint*."""
    msgspec = library()
    if isinstance(hint, TypeVar) or bool(getattr(hint, "__parameters__", ())):
        raise SettingsError("has a type variable without a type: write list[int], not list[T]")
    try:
        msgspec.json.Decoder(hint, dec_hook=_validated)
        reason = next(_unchecked(hint), None)
        _guard_enums(hint)
    except Exception as exc:  # msgspec evaluates the annotations in the user's classes
        raise SettingsError(f"cannot be checked by msgspec: {one_line(exc)}") from exc
    if reason is not None:
        raise SettingsError(f"has {reason}")


def parts_of(info: Any) -> Iterator[Any]:
    """Yield *info*, a description of a type by msgspec, and the descriptions in it."""
    inspect = library().inspect
    left: list[Any] = [info]
    seen: dict[int, Any] = {}
    while left:
        part = left.pop()
        if isinstance(part, tuple):
            left += part
        elif isinstance(part, (inspect.Type, inspect.Field)) and id(part) not in seen:
            seen[id(part)] = part  # kept, so that no other object gets its id
            yield part
            left += (getattr(part, name) for name in part.__struct_fields__)


def _unchecked(hint: Any) -> Iterator[str]:
    """Yield what in *hint* has checks that msgspec would not carry out, and what to do instead."""
    inspect = library().inspect
    yield from _foreign_limits(hint)
    for part in parts_of(inspect.type_info(hint)):
        kind: Any = getattr(part, "cls", None)
        kind = get_origin(kind) or kind
        name = getattr(kind, "__qualname__", repr(kind))
        if isinstance(part, inspect.CustomType) and not hasattr(kind, "model_validate"):
            yield (
                f"{name}, which cannot be checked: use builtins, a dataclass, a msgspec.Struct, a "
                f"TypedDict or a pydantic model; typing.Any takes everything"
            )
        elif isinstance(part, inspect.DataclassType):
            if hasattr(kind, "__pydantic_validator__"):
                yield f"{name}, a dataclass of pydantic, whose checks would not run: use BaseModel"
            elif is_dataclass(kind) and not _has_made_init(kind):
                yield f"{name}, whose own __init__ would not run: use __post_init__ instead"
        if isinstance(part, _classes_with_fields()):
            for each in get_type_hints(kind, include_extras=True).values():
                yield from _foreign_limits(each)


def _guard_enums(hint: Any) -> None:
    """Let a ``_missing_`` in the enums of *hint* raise TypeError if it finds what is no member.

    So it ends in ``Color("blue")`` anyway, but msgspec takes what ``_missing_`` returns.
    """
    inspect = library().inspect
    for part in parts_of(inspect.type_info(hint)):
        if isinstance(part, inspect.EnumType):
            search: Any = part.cls._missing_
            if search.__module__ not in {"enum", __name__}:  # else: Python's, or guarded already
                part.cls._missing_ = classmethod(_guarded(search))


def _guarded(search: Callable[[Any], Any]) -> Callable[[type, Any], Any]:
    def missing(kind: type, value: Any) -> Any:
        found = search(value)
        if found is None or isinstance(found, kind):
            return found
        text = f"error in {kind.__name__}._missing_: returned {one_line(repr(found))}, no member"
        raise TypeError(text)

    return missing


def _has_made_init(kind: Any) -> bool:
    """Tell whether the ``__init__`` of a dataclass is one that Python has made."""
    code = getattr(kind.__init__, "__code__", None)
    return code is None or code.co_filename == "<string>"


@functools.cache
def _classes_with_fields() -> tuple[type, ...]:
    inspect = library().inspect
    struct, named = inspect.StructType, inspect.NamedTupleType
    return (inspect.DataclassType, inspect.TypedDictType, struct, named)


def _foreign_limits(hint: Any) -> Iterator[str]:
    """Yield the limits of values in *hint* that pydantic knows, and msgspec ignores."""
    left, seen = [hint], dict[int, Any]()  # an alias may name itself
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        for limit in getattr(each, "__metadata__", ()):
            if type(limit).__module__.partition(".")[0] in {"annotated_types", "pydantic"}:
                yield f"{limit!r:.200}, which would not be checked: use msgspec.Meta instead"
        left += (getattr(each, name, None) for name in _INNER)
        left += get_args(each)


_INNER = ("__origin__", "__supertype__", "__value__")
"""The attributes of Annotated, NewType and aliases that have the hint in them."""


def takes_object(hint: Any) -> bool | None:
    """Tell whether an object of JSON may fit *hint*; None if anything may."""
    inspect = library().inspect
    kinds = inspect.DictType, inspect.TypedDictType, inspect.DataclassType, inspect.CustomType
    struct = inspect.StructType
    objects = [each for each in _choices(hint) if isinstance(each, struct) and not each.array_like]
    return bool(objects) or _is_one_of(hint, kinds)


def takes_array(hint: Any) -> bool | None:
    """Tell whether a list of JSON may fit *hint*; None if anything may."""
    inspect = library().inspect
    kinds = (
        *(inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType),
        *(inspect.TupleType, inspect.NamedTupleType, inspect.CollectionType, inspect.CustomType),
    )
    struct = inspect.StructType
    arrays = [each for each in _choices(hint) if isinstance(each, struct) and each.array_like]
    return bool(arrays) or _is_one_of(hint, kinds)


def _is_one_of(hint: Any, kinds: tuple[type, ...]) -> bool | None:
    choices = list(_choices(hint))
    if any(isinstance(each, library().inspect.AnyType) for each in choices):
        return None
    return any(isinstance(each, kinds) for each in choices)


def _choices(hint: Any) -> Iterator[Any]:
    """Yield the descriptions of the types that a value of *hint* may have."""
    inspect = library().inspect
    info = inspect.type_info(hint)
    for each in info.types if isinstance(info, inspect.UnionType) else (info,):
        yield each.type if isinstance(each, inspect.Metadata) else each


# --- values


def record_type(name: str, fields: Iterable[tuple[Any, ...]]) -> Any:
    """Return a class whose instances have the *fields*: (name, hint) or (name, hint, default)."""
    return library().defstruct(name, list(fields), forbid_unknown_fields=True, kw_only=True)


def converter(kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts a value, which an encoder has decoded, to a *kind*.

    *kind*: see `record_type`.  The function raises `BadParameters` with the place of what does not
    fit.  If code of the user in *kind* (``__post_init__``, a validator of pydantic) raises
    ValueError or TypeError, that is `BadParameters`, too; any other exception is raised as it is.
    """
    msgspec = library()
    convert, unfit = msgspec.convert, msgspec.ValidationError
    is_simple, is_complete = not _needs_options(kind), not _leaves_defaults_out(kind)

    def converted(value: Any) -> Any:
        try:
            if is_simple:  # to pass options costs twice as much as the conversion itself
                made = convert(value, kind)
            else:
                made = convert(value, kind, str_keys=True, dec_hook=_validated)
        except unfit as exc:
            raise _unlike(str(exc)) from None
        except RecursionError:  # JSON has a limit of its own, other encoders may have none
            raise BadParameters("parameters", "nest too deep") from None
        except (TypeError, ValueError) as exc:  # no hash for a set; lone surrogates
            raise BadParameters("parameters", one_line(exc)) from None
        if not is_complete:
            _complete(made)
        return made

    return converted


def _needs_options(kind: Any) -> bool:
    """Tell whether *kind* has dictionaries, whose keys are text in JSON, or classes of others."""
    inspect = library().inspect
    special = inspect.AnyType, inspect.DictType, inspect.CustomType
    return any(isinstance(each, special) for each in parts_of(inspect.type_info(kind)))


def _leaves_defaults_out(kind: Any) -> bool:
    """Tell whether *kind* has dataclasses with defaults.

    msgspec leaves these defaults to the class, and does not send what the instance has not got.
    """
    inspect = library().inspect
    kinds = [
        get_origin(each.cls) or each.cls
        for each in parts_of(inspect.type_info(kind))
        if isinstance(each, inspect.DataclassType)
    ]
    defaults = [each.default for kind in kinds if is_dataclass(kind) for each in fields(kind)]
    return any(each is not MISSING for each in defaults)


def _complete(value: Any) -> None:
    """Give all dataclasses in *value* the defaults that their instances have not got."""
    struct = library().Struct
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, (list, tuple, set, frozenset)):
            left += each
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, struct):
            left += (getattr(each, name) for name in each.__struct_fields__)
        elif is_dataclass(each):
            known = getattr(each, "__dict__", {})  # not of a class with slots
            for field in fields(each):
                item = getattr(each, field.name, field.default)
                if item is not field.default:
                    left.append(item)
                elif item is not MISSING:
                    known.setdefault(field.name, item)


def _unlike(text: str) -> BadParameters:
    """Return the error for a *text* of msgspec, which ends with the place of the value."""
    place = _PLACE.search(text)
    if place is None:
        return BadParameters("", one_line(text))
    return BadParameters(one_line(place[1]), one_line(text[: place.start()]))


def as_builtins(value: Any) -> Any:
    """Return *value* as what an encoder sends: dictionaries, lists, text, numbers.

    Raises TypeError for a value that has no such form.
    """
    return library().to_builtins(value, str_keys=True, enc_hook=_dumped)


def dumper(kind: Any) -> Callable[[Any], Any]:
    """Return a function that does what `as_builtins` does for values of *kind*, faster if it can.

    The function raises TypeError as `as_builtins` does.
    """
    if _needs_options(kind):
        return as_builtins
    to_builtins = library().to_builtins

    def dumped(value: Any) -> Any:
        try:
            return to_builtins(value)
        except TypeError:  # a model of pydantic in place of a dataclass, or what has no form
            return as_builtins(value)

    return dumped


def _validated(kind: Any, value: Any) -> Any:
    """Return *value* as the pydantic model *kind*; raise ValueError with its first complaint."""
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate(value)
    except ValueError as exc:
        complaints: Any = getattr(exc, "errors", None)
        first = complaints()[0] if callable(complaints) else {}
        place = "".join(f"{each}: " for each in first.get("loc", ()))
        raise ValueError(f"{place}{first.get('msg', type(exc).__name__)}") from exc


def _dumped(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__qualname__} has no form that can be sent")
    dumped: Mapping[str, Any] = dump(value, mode="json")
    return dumped
