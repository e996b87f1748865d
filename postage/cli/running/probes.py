"""HTTP pages: ``/livez`` (the event loop runs), ``/readyz`` (it consumes), and ``/metrics``.

The port may be reachable by hostile programs, and is served by the process that does the work.  So
each connection gets one answer and little time, its request has a limit, and so has the number of
connections: a new connection beyond it ends the oldest one, because a probe is answered at once,
and a connection that is still open has probably no question.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import gevent
from gevent.server import StreamServer

from postage.cli.options import HostPort
from postage.cli.running.metrics_page import OWN_PAGE, MetricsPage
from postage.errors import SettingsError
from postage.green import MessageProcessor, MicroThread, statistics
from postage.log_records import logger_of
from postage.metrics.exposition import CONTENT_TYPE
from postage.statistics_types import ConnectionStatistics

logger = logger_of(__name__)

MOST_CONNECTIONS = 32
"""How many connections are open at a time."""
TIME_LIMIT = 5.0
"""Seconds that a connection may take, from its beginning to its end."""
LARGEST_REQUEST = 8192
"""Bytes of the request line and the header; what follows them is not read."""

Answer = tuple[HTTPStatus, Any]
"""The status, and what is sent: bytes for Prometheus as they are, everything else as JSON."""


def readiness(
    processors: Iterable[MessageProcessor], connections: Iterable[ConnectionStatistics]
) -> dict[str, Any]:
    """Return whether all *processors* do their work over open *connections*, and what is missing.

    A processor that a person has paused does what it was told.  One whose kill switch is open does
    not: whatever its messages need is away.

    A connection for publishing does not count: one that was lost is opened again when it is used.
    """
    processors = list(processors)
    paused = [repr(each) for each in processors if each.is_paused]
    tripped = [repr(each) for each in processors if each.is_tripped]
    at_work = [each for each in processors if each.consumer.consuming or each.is_paused]
    idle = [repr(each) for each in processors if each not in at_work]
    consuming = [each for each in connections if each.role == "consuming" and each.state != "idle"]
    missing = [each.state for each in consuming if each.state != "open"]
    ready = bool(processors) and not (idle or tripped or missing)
    return {
        "ready": ready,
        "processors": len(processors),
        "idle": idle,
        "paused": paused,
        "tripped": tripped,
        "connections": missing,
    }


def answer_probe(
    running: list[MicroThread], request: bytes, metrics: MetricsPage | None = None
) -> Answer:
    """Return the answer to one *request* about the components in *running*.

    Switches if the request is for *metrics*.
    """
    words = request.split(b"\r\n", 1)[0].split(b"\n", 1)[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/"):  # noqa: PLR2004 - method, target, version
        return HTTPStatus.BAD_REQUEST, {"error": "this is no request of HTTP"}
    if words[0] not in (b"GET", b"HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD"}
    page = words[1].split(b"?", 1)[0]
    if page == b"/livez":  # that it answers shows that the event loop runs
        return HTTPStatus.OK, {"live": True}
    if page == b"/readyz":
        processors = [each for each in running if isinstance(each, MessageProcessor)]
        answer = readiness(processors, statistics())
        return HTTPStatus.OK if answer["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, answer
    if metrics is not None and page in (b"/metrics", OWN_PAGE.encode()):
        return HTTPStatus.OK, metrics.all() if page == b"/metrics" else metrics.own()
    return HTTPStatus.NOT_FOUND, {"error": "only /livez, /readyz and /metrics"}


class ProbeServer:
    """Answers requests about the components in *running*."""

    def __init__(self, running: list[MicroThread], metrics: MetricsPage | None = None) -> None:
        self._running, self._metrics = running, metrics
        self._open: dict[Any, None] = {}  # the oldest first

    def serve(self, connection: Any, _address: object) -> None:
        """Answer the request on *connection*; called in a greenlet of its own, and switches."""
        own = gevent.getcurrent()
        if len(self._open) >= MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.kill(block=False)
        self._open[own] = None
        try:
            with contextlib.suppress(OSError, gevent.Timeout), gevent.Timeout(TIME_LIMIT):
                self._answer(connection)
        finally:
            self._open.pop(own, None)

    def _answer(self, connection: Any) -> None:
        request = _request_on(connection)
        if len(request) > LARGEST_REQUEST:
            answer: Answer = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"error": "too large"}
        elif request:
            answer = answer_probe(self._running, request, self._metrics)
        else:
            return  # a check of the port alone, as load balancers do
        connection.sendall(_response(*answer, has_body=not request.startswith(b"HEAD ")))


def _request_on(connection: Any) -> bytes:
    """Return what arrives on *connection* until the empty line after the header, or its end."""
    request = b""
    while len(request) <= LARGEST_REQUEST and b"\r\n\r\n" not in request:
        received: bytes = connection.recv(LARGEST_REQUEST + 1)
        if not received or b"\n\n" in received:
            return request + received
        request += received
    return request


def _response(status: HTTPStatus, answer: Any, *, has_body: bool) -> bytes:
    is_page = isinstance(answer, bytes)
    body = answer if is_page else json.dumps(answer).encode() + b"\n"
    sort = CONTENT_TYPE if is_page else "application/json"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {sort}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")


@contextlib.contextmanager
def serve_probes(
    where: HostPort | None, number: int, running: list[MicroThread], workers: int = 1
) -> Iterator[None]:
    """Serve at *where*, on the port *number* above it, while the block lasts; None serves nothing.

    *workers* is how many processes serve in this way.  Port 0 is any free port.  *running* is the
    list of the components; it may still grow.
    """
    if where is None:
        yield
        return
    metrics = MetricsPage(running, where, number, workers)
    where = replace(where, port=where.port + number if where.port else 0)
    server = StreamServer((where.host, where.port), ProbeServer(running, metrics).serve)
    server.max_accept = 8  # in one turn of the hub, before `serve` can end connections
    try:
        server.start()
    except (OSError, UnicodeError) as exc:  # an address that is taken, or no name of a host
        why = getattr(exc, "strerror", None) or exc
        raise SettingsError(f"cannot serve --health on {where}: {why}") from None
    logger.info(
        "Probes are at http://%s/livez and /readyz, metrics at /metrics.",
        replace(where, port=int(server.server_port or 0)),
    )
    try:
        yield
    finally:
        server.stop(timeout=0)
