"""The broker of a run: RabbitMQ or the embedded broker, started here, or one that runs already."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.wire import Wire
from postage.testing.processes import end, orphan_proof
from postage.testing.rabbitmq import RabbitMQNode

URL = "amqp://guest:guest@127.0.0.1:{}/%2F"


class Target(NamedTuple):
    """The address, name and process of a broker; no process if it was not started here."""

    url: str
    title: str
    pid: int | None = None


@contextmanager
def broker(named: str) -> Iterator[Target]:
    """Give the broker *named* rabbitmq, embedded or by a URL; end it if it was started here."""
    if named == "rabbitmq":
        with RabbitMQNode() as node:
            yield Target(URL.format(node.port), product(node.port), node.pid)
    elif named == "embedded":
        with embedded() as (port, pid, _):
            yield Target(URL.format(port), "the embedded broker", pid)
    else:
        yield Target(named, "a broker that was there")


def product(port: int) -> str:
    """Return the name and version that the broker on *port* reports."""
    wire = Wire(port, "")
    wire.close()
    return f"{wire.server['product']} {wire.server['version']}"


@contextmanager
def embedded() -> Iterator[tuple[int, int, float]]:
    """Run ``postage broker``; give its port, its pid, and the seconds until it was ready."""
    command = [sys.executable, "-m", "postage", "broker", "--port", "0", "--json"]
    since = time.perf_counter()
    with subprocess.Popen(orphan_proof(command), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield told["port"], told["pid"], time.perf_counter() - since
        finally:
            end(process)
