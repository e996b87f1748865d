"""The page ``/metrics``: this process and, under ``--workers``, all of its siblings.

How it works
------------
Each worker serves its probes on a port of its own.  A worker that is asked for ``/metrics`` asks
all others for ``/metrics/own``, and puts their answers together.  So one scrape has all workers,
whichever of them it reaches.  Each series has the label ``worker``: a worker that is started again
begins its counts at 0, and Prometheus sees that as the restart of a counter.  A sum over all
workers, made here, would drop by what one of them had counted, which no query can mend.

A worker that does not answer within `SIBLING_LIMIT` has no series except ``postage_worker_up``.

A page is made in slices: other greenlets run between them.  It is kept for `KEPT` seconds, because
anyone that reaches the port may ask for it, again and again.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import gevent
from gevent import socket
from gevent.lock import Semaphore

from postage.cli.options import EVERYWHERE, LOOPBACK, HostPort
from postage.green import MessageProcessor
from postage.log_records import counted, logger_of, place_of
from postage.metrics.exposition import Family, labels_text, merged
from postage.metrics.measurements import Measurements

logger = logger_of(__name__)

SLICE = 0.002
"""Seconds after which other greenlets run."""
LINES = 500
"""Lines that are written without looking at the clock."""
KEPT = 1.0
"""Seconds for which a page is given again."""
SIBLING_LIMIT = 2.0
"""Seconds that another worker has to answer."""
LARGEST = 64 << 20
"""Bytes of the page of another worker."""
OWN_PAGE = "/metrics/own"
PREFIX = "postage_"
OUR_LABEL = "worker"


class MetricsPage:
    """Makes the page of worker *number* of *workers*; the probes of worker 0 are at *where*.

    *running* is the list of the components of this process; it may still grow.
    """

    def __init__(
        self, running: list[Any], where: HostPort | None = None, number: int = 0, workers: int = 1
    ) -> None:
        self._running, self._number = running, number
        fixed = where is not None and where.port  # with port 0, nobody knows those of the others
        self._where = where if fixed else None
        self._workers = workers if fixed else 1
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._turns: defaultdict[str, Semaphore] = defaultdict(Semaphore)

    def own(self) -> bytes:
        """Return the series of this process; switches."""
        return self._once("own", lambda: "".join(self._own_blocks()))

    def all(self) -> bytes:
        """Return the series of all workers; switches."""
        return self._once("all", self._all)

    def _once(self, name: str, make: Callable[[], str]) -> bytes:
        """Return what *make* makes, or has made just now."""
        with self._turns[name]:  # so requests that come together share a page
            made, page = self._kept.get(name, (0.0, b""))
            if not page or time.monotonic() - made > KEPT:
                made, page = time.monotonic(), make().encode()
                self._kept[name] = made, page
            return page

    def _own_blocks(self) -> Iterator[str]:
        """Yield the page in pieces; switches whenever a slice is over."""
        began = time.perf_counter()
        processors = (each for each in self._running if isinstance(each, MessageProcessor))
        measured = Measurements(processors, self._number).families()
        for family in chain(measured, _of_the_program(self._number)):
            lines = iter(()) if family is None or not family.samples else family.lines()
            while True:
                if time.perf_counter() - began > SLICE:
                    gevent.sleep(0)
                    began = time.perf_counter()
                block = "".join(islice(lines, LINES))
                if not block:
                    break
                yield block

    def _all(self) -> str:
        others = [n for n in range(self._workers) if n != self._number]
        asked = {number: gevent.spawn(self._ask, number) for number in others}
        pages = {self._number: self.own().decode()}
        gevent.joinall([*asked.values()])
        pages |= {number: page.value for number, page in asked.items() if page.value}
        up = Family("postage_worker_up", "gauge", "Whether the worker answers.")
        for number in range(self._workers):
            up.add(int(number in pages), labels_text(((OUR_LABEL, str(number)),)))
        ordered = [pages[number] for number in sorted(pages)]
        return "".join(merged(["".join(up.lines()), *ordered]))

    def _ask(self, number: int) -> str:
        """Return the page of worker *number*, or an empty text."""
        assert self._where is not None
        host = {EVERYWHERE: LOOPBACK, "::": "::1"}.get(self._where.host, self._where.host)
        address = host, self._where.port + number
        with contextlib.suppress(OSError, gevent.Timeout), gevent.Timeout(SIBLING_LIMIT):
            connection = socket.create_connection(address)
            with contextlib.closing(connection):
                connection.sendall(f"GET {OWN_PAGE} HTTP/1.0\r\n\r\n".encode())
                head, _, body = _received(connection).partition(b"\r\n\r\n")
                if head.split(maxsplit=2)[1:2] == [b"200"]:
                    return body.decode(errors="replace")
        return ""


def _received(connection: Any) -> bytes:
    """Return all that arrives until the end, up to `LARGEST` bytes."""
    parts, size = [], 0
    while size < LARGEST and (part := connection.recv(1 << 18)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _of_the_program(number: int) -> Iterator[Family]:
    """Return what the program itself has registered with prometheus_client, if it uses that.

    Code of the user may run.  If it fails, the log says so, and what follows it is left out.
    """
    library = sys.modules.get("prometheus_client")
    if library is None:
        return
    try:
        yield from _read(library.REGISTRY, number)
    except Exception as exc:
        sort = counted(*place_of(exc))
        logger.exception("Metrics of the program could not be read.", extra=sort)


def _read(registry: Any, number: int) -> Iterator[Family]:
    for metric in registry.collect():
        if metric.name.startswith(PREFIX):
            continue  # our own, by `postage.metrics`
        is_counter = metric.type == "counter"
        name = f"{metric.name}_total" if is_counter else metric.name
        kind = metric.type if metric.type in _KINDS else "untyped"
        family = Family(name, kind, metric.documentation)
        for sample in metric.samples:
            if sample.name.startswith(name) and not sample.name.endswith("_created"):
                own = sorted(_beside_ours(sample.labels).items())
                labels = labels_text(((OUR_LABEL, str(number)), *own))
                family.add(float(sample.value), labels, sample.name[len(name) :])
        yield family


def _beside_ours(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return *labels*; one that is called as `OUR_LABEL` is renamed as Prometheus would do it.

    Prometheus takes nothing of a page in which a series has two labels of one name.
    """
    if OUR_LABEL not in labels:
        return labels
    name = f"exported_{OUR_LABEL}"
    while name in labels:
        name = f"exported_{name}"
    return {name if each == OUR_LABEL else each: value for each, value in labels.items()}


_KINDS = frozenset({"counter", "gauge", "histogram", "summary"})
