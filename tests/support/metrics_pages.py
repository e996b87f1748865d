"""Reads the pages ``/metrics`` of the workers of ``postage run --health``."""

from __future__ import annotations

import re
from collections import Counter

from gevent.socket import create_connection

from postage.testing.rabbitmq import PORTS, reserve

SOON = 20.0
"""Seconds for a page, on a busy machine."""
LINE = re.compile(r"(\w+)\{(.*)\} (\S+)")
WHICH = re.compile(r'(?:handler|outcome|result|role)="(\w+)"')

Series = tuple[str, str]
"""The name of a series, and its label that is a handler, an outcome, a result or a role."""


def free_run(count: int) -> int:
    """Return the first of *count* free ports in a row."""
    starts = iter(PORTS[::count])
    return next(start for start in starts if all(reserve(start + n) for n in range(count)))


def page(port: int, path: str = "/metrics") -> str:
    """Return the page of the worker with this port; switches."""
    received = b""
    with create_connection(("127.0.0.1", port), SOON) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        while part := connection.recv(1 << 16):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8" in head, received
    return body.decode()


def sums(text: str, worker: int | None = None) -> Counter[Series]:
    """Return the sum over all workers of each series, or those of one *worker*."""
    found: Counter[Series] = Counter()
    for line in text.splitlines():
        if match := LINE.fullmatch(line):
            name, labels, value = match.groups()
            which = WHICH.search(labels)
            if worker is None or f'worker="{worker}"' in labels:
                found[name, which[1] if which else ""] += float(value)
    return found
