"""The probes of a process: ``/livez`` says that its hub turns, ``/readyz`` that it consumes."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gevent.pywsgi import WSGIServer

from postage.errors import SettingsError
from postage.green import MessageProcessor, MicroThread, statistics
from postage.statistics import ConnectionStatistics

__all__ = ["readiness", "serving"]

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STATUS = {True: "200 OK", False: "503 Service Unavailable"}


def readiness(
    processors: Iterable[MessageProcessor], connections: Iterable[ConnectionStatistics]
) -> dict[str, Any]:
    """Return whether all *processors* consume, over *connections* that are there, and who not.

    A connection for publishing that was lost comes back when it is used, and hinders nothing.
    """
    processors = list(processors)
    idle = [repr(each) for each in processors if not each.consumer.consuming]
    consuming = [each for each in connections if each.role == "consuming" and each.state != "idle"]
    missing = [each.state for each in consuming if each.state != "open"]
    ready = bool(processors) and not idle and not missing
    return {"ready": ready, "processors": len(processors), "idle": idle, "connections": missing}


class _Probes:
    """Answers HTTP; *running* is what runs in this process, by and by."""

    def __init__(self, running: list[MicroThread]) -> None:
        self._running = running
        self._pages = {"/livez": self._live, "/readyz": self._ready}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        """Answer one request (WSGI)."""
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            start("404 Not Found", [])
            return [b"/livez, /readyz\n"]
        good, told = page()
        start(STATUS[good], [("Content-Type", "application/json")])
        return [json.dumps(told).encode() + b"\n"]

    def _live(self) -> tuple[bool, dict[str, Any]]:
        return True, {"live": True}  # who answers turns

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        processors = [each for each in self._running if isinstance(each, MessageProcessor)]
        told = readiness(processors, statistics())
        return told["ready"], told


@contextlib.contextmanager
def serving(port: int | None, number: int, running: list[MicroThread]) -> Iterator[None]:
    """Answer on *port*, or the *number*-th from it on, while the block lasts; None: do nothing."""
    if port is None:
        yield
        return
    server = WSGIServer((HOST, port + number if port else 0), _Probes(running), log=None)
    try:
        server.start()
    except OSError as exc:
        raise SettingsError(f"cannot serve --health on {HOST}:{port}: {exc.strerror}") from None
    logger.info("Probes are at http://%s:%d/livez and /readyz.", HOST, server.server_port)
    try:
        yield
    finally:
        server.stop(timeout=0)
