"""HTTP probes of a process: ``/livez`` (its event loop runs) and ``/readyz`` (it consumes)."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from gevent.pywsgi import WSGIServer

from postage.cli.options import HostPort
from postage.errors import SettingsError
from postage.green import MessageProcessor, MicroThread, statistics
from postage.log_records import logger_of
from postage.statistics_types import ConnectionStatistics

logger = logger_of(__name__)


def readiness(
    processors: Iterable[MessageProcessor], connections: Iterable[ConnectionStatistics]
) -> dict[str, Any]:
    """Return whether all *processors* consume over open *connections*, and what is missing.

    A connection for publishing does not count: one that was lost is opened again when it is used.
    """
    processors = list(processors)
    idle = [repr(each) for each in processors if not each.consumer.consuming]
    consuming = [each for each in connections if each.role == "consuming" and each.state != "idle"]
    missing = [each.state for each in consuming if each.state != "open"]
    ready = bool(processors) and not idle and not missing
    return {"ready": ready, "processors": len(processors), "idle": idle, "connections": missing}


def answer_probe(
    running: list[MicroThread], environ: dict[str, Any], start: Callable[..., Any]
) -> list[bytes]:
    """Answer one HTTP request about the components in *running* (WSGI)."""
    if environ["PATH_INFO"] == "/livez":
        good, answer = True, {"live": True}  # that it answers shows that the event loop runs
    elif environ["PATH_INFO"] == "/readyz":
        processors = [each for each in running if isinstance(each, MessageProcessor)]
        answer = readiness(processors, statistics())
        good = answer["ready"]
    else:
        start("404 Not Found", [])
        return [b"/livez, /readyz\n"]
    status = "200 OK" if good else "503 Service Unavailable"
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(answer).encode() + b"\n"]


@contextlib.contextmanager
def serve_probes(where: HostPort | None, number: int, running: list[MicroThread]) -> Iterator[None]:
    """Serve at *where*, on the port *number* above it, while the block lasts; None serves nothing.

    Port 0 is any free port.  *running* is the list of the components; it may still grow.
    """
    if where is None:
        yield
        return
    application = functools.partial(answer_probe, running)
    where = replace(where, port=where.port + number if where.port else 0)
    server = WSGIServer((where.host, where.port), application, log=None)
    try:
        server.start()
    except (OSError, UnicodeError) as exc:  # an address that is taken, or no name of a host
        why = getattr(exc, "strerror", None) or exc
        raise SettingsError(f"cannot serve --health on {where}: {why}") from None
    logger.info(
        "Probes are at http://%s/livez and /readyz.",
        replace(where, port=int(server.server_port or 0)),
    )
    try:
        yield
    finally:
        server.stop(timeout=0)
