"""What this process holds: connections, greenlets, memory.

Resident memory is what the machine must provide, but it depends on fragmentation, and a leak that
fits into the holes of the heap does not show in it.  The memory in use is that of `malloced` and of
sys.getallocatedblocks: Python keeps objects of up to 512 bytes in blocks of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import socket
from pathlib import Path
from typing import Any

import gevent
import gevent.monkey
import greenlet

ESTABLISHED = b"\x01"
"""The first byte of TCP_INFO for an established connection."""

# Made once: pathlib interns each part of each path, and Python's table of interned strings never
# shrinks.  A new path for each measurement made the table grow, by half a megabyte at a time.
_STATM = Path("/proc/self/statm")
_Socket: Any = gevent.monkey.get_original("socket", "socket")


def memory() -> int:
    """Return the resident memory of this process in bytes, after a garbage collection."""
    gc.collect()
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2``: uordblks and hblkhd are the figures 7 and 4; see mallinfo(3)."""

    _fields_ = [("figures", ctypes.c_size_t * 10)]


def malloced() -> int:
    """Return the bytes that malloc has handed out, in all of its heaps and in mappings.

    Raises AttributeError if the C library is not glibc 2.33 or later.
    """
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    figures = mallinfo().figures
    return int(figures[7] + figures[4])


def connections_to(port: int) -> int:
    """Return how many open sockets of this process are connected to *port*, on any host.

    The kernel's list of all connections (/proc/net/tcp) is no substitute: it shows some connections
    twice and misses others if it changes while it is read.
    """
    found = 0
    with os.scandir("/proc/self/fd") as entries:
        descriptors = [int(entry.name) for entry in entries]
    for descriptor in descriptors:
        try:
            sock = _Socket(fileno=descriptor)
        except OSError:
            continue  # no socket, or the descriptor of this very listing
        with contextlib.suppress(OSError):
            state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            found += state == ESTABLISHED and sock.getpeername()[1] == port
        sock.detach()
    return found


def greenlets() -> list[greenlet.greenlet]:
    """Return the greenlets of this thread's hub that have not ended, except the calling one."""
    hub, current = gevent.get_hub(), gevent.getcurrent()
    found = (each for each in gc.get_objects() if isinstance(each, greenlet.greenlet))
    return [each for each in found if each.parent is hub and not each.dead and each is not current]


def resident(size: int) -> mmap.mmap:
    """Return a new mapping of *size* bytes of resident memory.

    Memory that is only allocated may come from what the process has.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return mmap.mmap(-1, size, flags=flags)
