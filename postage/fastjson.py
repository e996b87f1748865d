"""JSON by orjson and msgspec, where both are installed: the same values, in half the time or less.

Each of them takes more than JSON has, or makes something else of it, and does not say so: orjson
writes NaN as ``null``.  What they may do otherwise than the standard library is left to that; a
property test compares the two.  One difference is known: of an enum's member that is text or a
number itself, and whose value is another one, orjson sends the value.
"""

from __future__ import annotations

import marshal
import re
from typing import Any

AVAILABLE: bool
"""Whether both libraries are installed; who first asks loads them."""

# orjson encodes, as msgspec takes bytes for text; msgspec decodes, as orjson turns integers over
# 64 bits into floats.
_dumps: Any
_loads: Any
_BUILTIN: int

__all__ = ["AVAILABLE", "decode", "encode"]


# A NaN or infinity as marshal writes it: the letter of floats, and IEEE 754, the last byte first.
_NO_NUMBER = re.compile(rb"[g\xe7].{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)


def __getattr__(name: str) -> bool:
    """Load the libraries when it is first asked for them: no program needs them to start.

    They take a megabyte, and as long as a tenth of a start.
    """
    if name != "AVAILABLE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = _load()
    return found


def _load() -> bool:
    global _dumps, _loads, _BUILTIN  # noqa: PLW0603 - once per process
    try:
        import msgspec  # noqa: PLC0415 - see __getattr__
        import orjson  # noqa: PLC0415
    except ImportError:
        return False
    _dumps, _loads = orjson.dumps, msgspec.json.Decoder().decode
    _BUILTIN = (
        orjson.OPT_PASSTHROUGH_SUBCLASS
        | orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
    )
    return True


def encode(data: Any) -> bytes | None:
    """Return *data* as JSON in UTF-8; None: the standard library shall do it, or say why not."""
    try:
        text = _dumps(data, None, _BUILTIN)
    except TypeError:
        return None
    return None if text.find(b"null") >= 0 and _may_have_no_number(data) else text


def _may_have_no_number(data: Any) -> bool:
    """Tell whether a null may be what is no number, and not a None."""
    try:
        marshalled = marshal.dumps(data)
    except ValueError:  # an object of a class that it does not know
        return True
    # It ends in 7F or FF, which little else has.
    is_odd = b"\x7f" in marshalled or b"\xff" in marshalled
    return is_odd and _NO_NUMBER.search(marshalled) is not None


def decode(data: str | bytes) -> tuple[Any] | None:
    """Return the one value in *data*; None: the standard library shall do it, or say why not."""
    try:
        return (_loads(data),)
    except (ValueError, RecursionError):
        return None
