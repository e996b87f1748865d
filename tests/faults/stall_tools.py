"""What the statements of `stall_catalogue` need: things that are waited for, and long lists."""

from __future__ import annotations

import random
import re
import socket
import sqlite3
import struct
import tempfile
from contextlib import suppress  # noqa: F401 - for the statements
from typing import Any

from gevent.monkey import get_original

from tests.faults.stall_catalogue import PAUSE

ORIGINAL_SLEEP = get_original("time", "sleep")
ORIGINAL_SELECT = get_original("select", "select")
LOCKED = get_original("_thread", "allocate_lock")()
LOCKED.acquire()
COUNT = """\
with recursive c(x) as (select 1 union all select x + 1 from c where x < {}) select sum(x) from c"""
PATTERN = re.compile("b.*c")


def numbers(count: int) -> list[float]:
    """Return random numbers."""
    return [random.random() for _ in range(count)]


def lines(count: int) -> list[str]:
    """Return short lines of random words."""
    return [f"{random.random()},{random.random()}\n" for _ in range(count)]


def deaf_socket() -> Any:
    """Return a socket whose peer is silent, with `PAUSE` as limit."""
    reading, writing = get_original("socket", "socketpair")()
    _kept.append(writing)
    seconds, rest = divmod(int(PAUSE * 1e6), 1_000_000)
    reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, rest))
    return reading


def busy_database() -> Any:
    """Return a connection to a database that another one has locked."""
    folder = tempfile.TemporaryDirectory()
    holder, waiter = (sqlite3.connect(f"{folder.name}/x", timeout=PAUSE) for _ in range(2))
    holder.execute("begin immediate")
    _kept.extend((folder, holder))
    return waiter


_kept: list[Any] = []
