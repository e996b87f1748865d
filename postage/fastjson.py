"""JSON by orjson and msgspec, where both are installed: the same values, in half the time or less.

Each of them takes more than JSON has, or makes something else of it, and does not say so: orjson
writes NaN as ``null`` and an enum as its value.  What they may do otherwise than the standard
library is left to that; a property test compares the two.
"""

from __future__ import annotations

import marshal
import re
from typing import Any

# orjson encodes, as msgspec takes bytes for text; msgspec decodes, as orjson turns integers over
# 64 bits into floats.
try:
    import msgspec
    import orjson
except ImportError:
    AVAILABLE = False
    """Whether both libraries are installed."""
else:
    AVAILABLE = True
    _decoder = msgspec.json.Decoder()

__all__ = ["AVAILABLE", "decode", "encode"]


# A NaN or infinity as marshal writes it: the letter of floats, and IEEE 754, the last byte first.
_NO_NUMBER = re.compile(rb"[g\xe7].{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)


def encode(data: Any) -> str | None:
    """Return *data* as JSON text; None: the standard library shall do it, or say why it cannot."""
    try:
        # marshal knows the builtin types alone, and none of anybody's own; nothing tells it sooner.
        marshalled = marshal.dumps(data)
        text = orjson.dumps(data).decode()
    except (ValueError, TypeError):
        return None
    # A null may be a None, or what is no number.
    return None if "null" in text and _NO_NUMBER.search(marshalled) else text


def decode(text: str) -> tuple[Any] | None:
    """Return the one value in *text*; None: the standard library shall do it, or say why not."""
    try:
        return (_decoder.decode(text),)
    except (ValueError, RecursionError):
        return None
