"""What this process has asked for and not given back: memory without the free space in heaps.

Resident memory is what the machine has to have, but it moves with how broken up the heaps are, and
a leak that fits into their holes does not show in it.  What is in use moves with what the program
holds.  Python keeps objects of up to 512 bytes in blocks of its own; all else is malloc's, that of
libraries too.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["blocks", "malloced"]

_FIGURES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
"""Those of ``struct mallinfo2``, in their order; see mallinfo(3)."""


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIGURES.split()]


def malloced() -> int:
    """Return the bytes that malloc has handed out, in all of its heaps and in mappings.

    Raises AttributeError where the C library is not glibc 2.33 or later.
    """
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    in_heaps: int = found.uordblks
    mapped: int = found.hblkhd
    return in_heaps + mapped


def blocks() -> int:
    """Return how many of Python's own blocks are in use."""
    return sys.getallocatedblocks()
