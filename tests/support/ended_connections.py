"""A network behind which the broker refuses chosen requests by ending the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.server
import gevent.socket
import pika.frame
from pika import spec

from tests.support.wire import method

Refuse = Callable[[Any], bool]
"""Tells whether to refuse a method of the client, as pika decodes it."""


class RefusingNetwork:
    """Leads to the broker on the port *target*; it runs in the hub of the test."""

    def __init__(self, target: int, refuse: Refuse, code: int, text: str) -> None:
        self._target, self._refuse = target, refuse
        self._answer = method(0, spec.Connection.Close(code, text, 0, 0))
        self.connections = self.refused = 0
        self._server = gevent.server.StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening, and cut the connections."""
        self._server.stop(timeout=0)

    def _serve(self, client: gevent.socket.socket, _address: object) -> None:
        self.connections += 1
        with client, gevent.socket.create_connection(("127.0.0.1", self._target)) as broker:
            answers = gevent.spawn(self._pass_on, broker, client)
            heard = bytearray()
            while data := client.recv(65536):
                heard += data
                if not self._forward(heard, client, broker, answers):
                    break
            answers.kill()

    def _pass_on(self, source: Any, target: Any) -> None:
        while data := source.recv(65536):
            target.sendall(data)

    def _forward(self, heard: bytearray, client: Any, broker: Any, answers: Any) -> bool:
        while True:
            used, frame = pika.frame.decode_frame(bytes(heard))
            if frame is None:
                return True
            if isinstance(frame, pika.frame.Method) and self._refuse(frame.method):
                self.refused += 1
                answers.kill()
                client.sendall(self._answer)
                client.recv(65536)  # connection.close-ok
                return False
            broker.sendall(bytes(heard[:used]))
            del heard[:used]


@contextmanager
def refusing(target: int, refuse: Refuse, code: int, text: str) -> Iterator[RefusingNetwork]:
    """Open a `RefusingNetwork` and close it."""
    network = RefusingNetwork(target, refuse, code, text)
    try:
        yield network
    finally:
        network.close()
