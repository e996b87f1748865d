"""What this process holds: connections, greenlets, memory.  Without a library."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path
from typing import Any

import gevent
import gevent.monkey
import greenlet

ESTABLISHED = b"\x01"
"""The state of a connection, as TCP_INFO begins."""

# Made once: pathlib interns each part of each path that it is given, and Python's table of interned
# strings uses up a place for each, gone or not.  To measure made the table grow, by half a megabyte
# at a time.
_STATM = Path("/proc/self/statm")

_Socket: Any = gevent.monkey.get_original("socket", "socket")


def memory() -> int:
    """Return the resident memory of this process in bytes, garbage left out."""
    gc.collect()
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def connections_to(port: int) -> int:
    """Return how many open sockets of this process are connected to *port*, on any host."""
    with os.scandir("/proc/self/fd") as entries:
        return sum(_peer(int(entry.name)) == port for entry in entries)


def _peer(descriptor: int) -> int | None:
    """Return the port to which a descriptor is connected by TCP; None: it is not.

    Asked of the socket: the kernel's list of all connections (/proc/net/tcp) tells of some twice,
    and of others not at all, when it changes while it is read.
    """
    try:
        sock = _Socket(fileno=descriptor)
    except OSError:
        return None  # no socket, or the descriptor of this very listing
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        port: int = sock.getpeername()[1]
    except OSError:
        return None
    else:
        return port if state == ESTABLISHED else None
    finally:
        sock.detach()


def greenlets() -> list[greenlet.greenlet]:
    """Return the greenlets of this thread's hub that have not ended; the calling one left out."""
    hub, current = gevent.get_hub(), gevent.getcurrent()
    everything = (thing for thing in gc.get_objects() if isinstance(thing, greenlet.greenlet))
    return [
        thing
        for thing in everything
        if thing.parent is hub and not thing.dead and thing is not current
    ]
