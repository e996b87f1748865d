"""The connections of browsers, and of anybody else: each gets only so much time and memory.

A request is read as a whole before the application sees it.  What is too long or no HTTP is
answered without a word in the log, which else any client could fill.  If many connections wait, a
new one ends the oldest, so clients that send nothing, or a byte at a time, keep nobody out.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from io import BytesIO
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import Input, LoggingLogAdapter, WSGIHandler, WSGIServer

from postage.log_records import logger_of

__all__ = ["LARGEST_BODY", "MOST_WAITING", "REQUEST_LIMIT", "WebServer"]

logger = logger_of(__name__)

LARGEST_BODY = 1 << 20
"""Bytes of the body of the largest request."""
MOST_CONNECTIONS = 256
"""Connections that are served at a time; others wait to be accepted."""
MOST_WAITING = 96
"""Connections whose request has not arrived; fewer than there are, so that some can be answered."""
REQUEST_LIMIT = 10.0
"""Seconds that a browser may keep an idle connection, and again for the rest of a request."""
SEND_LIMIT = 20.0
"""Seconds after which a browser is cut off that does not take what it is sent."""


class WebConnection(WSGIHandler):
    """Serves the requests of one connection."""

    server: WebServer
    _body = b""

    def handle(self) -> None:
        """Serve requests until the browser or the server ends the connection."""
        self.socket.settimeout(SEND_LIMIT)
        try:
            with suppress(OSError):  # it has closed the connection, or takes nothing
                super().handle()
        finally:
            self.server.waiting.pop(self, None)

    def end(self) -> None:
        """End the connection: whoever reads from it finds its end."""
        with suppress(OSError, AttributeError):  # closed already
            self.socket.shutdown(socket.SHUT_RDWR)

    def read_requestline(self) -> Any:
        """Return the first line of a request; nothing ends the connection."""
        self.server.admit(self)
        try:
            with gevent.Timeout(REQUEST_LIMIT):
                return super().read_requestline()
        except gevent.Timeout:
            return ""

    def read_request(self, raw_requestline: Any) -> Any:
        """Read the rest of a request; tell whether it is one."""
        try:
            with gevent.Timeout(REQUEST_LIMIT):
                return super().read_request(raw_requestline) and self._read_body()
        except (Exception, gevent.Timeout) as exc:  # many sorts, of several libraries
            logger.debug("This is no request: %s", exc)
            return False
        finally:
            self.server.waiting.pop(self, None)

    def _read_body(self) -> bool:
        """Read what the header announces, except what is too long: the application refuses that.

        No browser sends chunks, which make it hard to tell where a request ends.
        """
        length = self.content_length or 0
        if self.headers.get("Transfer-Encoding") is not None:
            return False
        if length > LARGEST_BODY:
            self.close_connection = True
            length = 0
        self._body = self.rfile.read(length)
        return len(self._body) == length

    def get_environ(self) -> Any:
        """Return what the application gets."""
        environ = super().get_environ()
        self.wsgi_input = Input(self.rfile, 0)  # nothing is left to be read from the socket
        environ["wsgi.input"], self._body = BytesIO(self._body), b""
        environ["wsgi.input_terminated"] = True
        return environ

    def handle_error(self, _type: Any, value: Any, _traceback: Any) -> None:
        """Close the connection; nothing but the error is logged, as headers hold a session."""
        logger.debug("A connection to the console ended: %s", value)
        self.close_connection = True


class WebServer(WSGIServer):
    """Serves *application* at *address*."""

    def __init__(self, address: tuple[str, int], application: Any) -> None:
        super().__init__(
            address,
            application,
            handler_class=WebConnection,
            spawn=Pool(MOST_CONNECTIONS),
            log=None,
            error_log=LoggingLogAdapter(logger),
        )
        self.waiting: dict[WebConnection, None] = {}
        """The connections whose request has not arrived, the oldest first."""

    def admit(self, connection: WebConnection) -> None:
        """Let *connection* wait for a request; the oldest ends if there are too many."""
        self.waiting[connection] = None
        if len(self.waiting) > MOST_WAITING:
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            oldest.end()
