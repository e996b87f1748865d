"""What this process holds: connections, greenlets, memory.  Read from /proc, without a library."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import greenlet

ESTABLISHED = "01"


def memory() -> int:
    """Return the resident memory of this process in bytes, garbage left out."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def connections_to(port: int) -> int:
    """Return how many open sockets of this process are connected to *port*, on any host."""
    mine = set(_inodes())
    return sum(inode in mine for inode in _connected(port))


def _inodes() -> Iterator[str]:
    """Yield the inode of each socket that this process has open."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            name = str(entry.readlink())
            if name.startswith("socket:["):
                yield name[len("socket:[") : -1]


def _connected(port: int) -> Iterator[str]:
    """Yield the inode of each connection of this machine that leads to *port*."""
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        for fields in map(str.split, lines):
            if int(fields[2].rpartition(":")[2], 16) == port and fields[3] == ESTABLISHED:
                yield fields[9]


def greenlets() -> list[greenlet.greenlet]:
    """Return the greenlets of this thread's hub that have not ended; the calling one left out."""
    hub, current = gevent.get_hub(), gevent.getcurrent()
    everything = (thing for thing in gc.get_objects() if isinstance(thing, greenlet.greenlet))
    return [
        thing
        for thing in everything
        if thing.parent is hub and not thing.dead and thing is not current
    ]
