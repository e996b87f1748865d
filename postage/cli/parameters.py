"""The parameters of a call, from the words of a command line.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from postage.encoding import JsonEncoder
from postage.errors import DecodingError, EncodingError, SettingsError

__all__ = ["parameters_of", "value_of"]

_NAMED = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


def parameters_of(words: Iterable[str]) -> Any:
    """Return the parameters in *words*, each a value or ``key=value``, as a producer builds them.

    One value is the parameters as they are, several are a list, keys and values a dictionary, both
    ``{"args": ..., "kwds": ...}``, and none at all ``{}``.  Raises `SettingsError`.
    """
    parameters = _joined(*_sorted(words))
    try:
        JsonEncoder.encode(parameters)  # 1e999 is JSON, and more than a number can be
    except EncodingError as exc:
        raise SettingsError(str(exc)) from None
    return parameters


def _joined(args: list[Any], kwds: dict[str, Any]) -> Any:
    if not args:
        return kwds["parameters"] if kwds.keys() == {"parameters"} else kwds
    if kwds:
        return {"args": args, "kwds": kwds}
    return args[0] if len(args) == 1 else args


def _sorted(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwds: dict[str, Any] = {}
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None:
            args.append(value_of(word))
        elif named[1] in kwds:
            raise SettingsError(f"{named[1]} is given twice")
        else:
            kwds[named[1]] = value_of(named[2])
    return args, kwds


def value_of(word: str) -> Any:
    """Return *word* as JSON where it is, else as text; `SettingsError` where it was to be JSON."""
    try:
        return JsonEncoder.decode(word)
    except DecodingError as exc:
        if word.lstrip().startswith(("{", "[", '"')):
            raise SettingsError(f"{word!r} is {exc}") from None
    if word in _NO_NUMBERS:
        raise SettingsError(f"{word} is no number that JSON has; the text is written '\"{word}\"'")
    return word
