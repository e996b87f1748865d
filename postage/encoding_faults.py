"""What is wrong with a value that JSON cannot hold, or with a body that is no JSON."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["depth_of_text", "form_of", "path_to_deepest", "refused_keys"]

_FORMS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark is a part of it
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (b"\0\0\0", "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    (b"\0", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    *((bytes((0x78, level)), "zlib (deflate)") for level in (0x01, 0x5E, 0x9C, 0xDA)),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)
"""How bodies begin that other clients encode or compress."""


def form_of(data: bytes) -> str:
    """Return what *data* seems to be instead of JSON in UTF-8; empty if that is not known."""
    form = next((name for beginning, name in _FORMS if data.startswith(beginning)), "")
    if data[1:4] == b"\0\0\0":
        form = "UTF-32"
    elif data[1:2] == b"\0":
        form = form or "UTF-16"
    return form and f"it begins like {form}"


# Opening brackets are 1, closing ones -1 as a signed byte.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def depth_of_text(text: bytes) -> int:
    """Return how deep the JSON *text* nests, in a tenth of the time that it takes to read it.

    A walk through the values took longer than reading the text, seconds for some megabytes.
    """
    outside_strings = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    steps = memoryview(b"".join(outside_strings).translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(itertools.accumulate(steps), default=0)


_CONTAINERS = (dict, list, tuple, set, frozenset)


def _depth(value: Any) -> int:
    """Return how deep *value* nests; goes level by level, because recursion has a limit."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, _CONTAINERS)]:
        depth += 1
        level = [part for node in level for _, part in _parts(node)]
    return depth


def _parts(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the values in *value*, each with its dotted key."""
    if isinstance(value, dict):
        return [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    return [(f"{path}[{index}]", part) for index, part in enumerate(value)]


def path_to_deepest(value: Any, steps: int = 3) -> str:
    """Return the dotted key of the first *steps* towards the deepest part of *value*."""
    path = ""
    for _ in range(steps):
        path, value = max(_parts(value, path), key=lambda named: _depth(named[1]))
    return path


def refused_keys(
    value: Any,
    encode: Callable[[Any], object],
    levels: int,
    path: str = "",
    above: tuple[Any, ...] = (),
) -> Iterator[str]:
    """Yield the dotted keys of the values that *encode* refuses, the innermost ones first.

    Looks into at most *levels* levels.
    """
    is_loop = any(value is each for each in above)
    if isinstance(value, _CONTAINERS) and not is_loop and len(above) < levels:
        for name, part in _parts(value, path):
            yield from refused_keys(part, encode, levels, name, (*above, value))
    try:
        encode(value)
    except (TypeError, ValueError, RecursionError):
        yield path
