"""Memory that is really there: what is merely allocated may come from what the process has."""

from __future__ import annotations

import mmap

PAGE = b"x" * mmap.PAGESIZE


def resident(size: int) -> mmap.mmap:
    """Return a mapping of its own of about *size* bytes, each page of it written to."""
    pages = size // mmap.PAGESIZE
    mapping = mmap.mmap(-1, pages * mmap.PAGESIZE)
    for _ in range(pages):
        mapping.write(PAGE)
    return mapping
