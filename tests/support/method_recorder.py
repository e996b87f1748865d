"""Records the AMQP methods that components send to their broker, as pika decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent
import gevent.event
import gevent.server
import gevent.socket
import pika.frame

T = TypeVar("T")


class MethodRecorder:
    """A proxy to the broker on the port *target*; it runs in the hub of the test."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = gevent.server.StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port
        self.asked: list[Any] = []
        """The methods of the components, in their order."""
        self._answers = gevent.event.Event()
        self._answers.set()

    def of(self, kind: type[T]) -> list[T]:
        """Return the methods of one *kind*, such as ``pika.spec.Queue.Declare``."""
        return [method for method in self.asked if isinstance(method, kind)]

    def hold(self) -> None:
        """Hold the answers of the broker back until `release`."""
        self._answers.clear()

    def release(self) -> None:
        """Pass the answers of the broker on."""
        self._answers.set()

    def close(self) -> None:
        """Stop listening, and cut the connections."""
        self._server.stop(timeout=0)

    def _serve(self, client: gevent.socket.socket, _address: object) -> None:
        with client, gevent.socket.create_connection(("127.0.0.1", self._target)) as broker:
            pumps = [
                gevent.spawn(self._pump, broker, client, None),
                gevent.spawn(self._pump, client, broker, bytearray()),
            ]
            gevent.wait(pumps, count=1)
            gevent.killall(pumps)

    def _pump(self, source: Any, target: Any, heard: bytearray | None) -> None:
        while data := source.recv(65536):
            if heard is None:
                self._answers.wait()
            target.sendall(data)
            if heard is not None:
                heard += data
                self._decode(heard)

    def _decode(self, heard: bytearray) -> None:
        while True:
            used, frame = pika.frame.decode_frame(bytes(heard))
            if frame is None:
                return
            del heard[:used]
            if isinstance(frame, pika.frame.Method):
                self.asked.append(frame.method)


@contextmanager
def recording_methods(port: int) -> Iterator[MethodRecorder]:
    """Open a `MethodRecorder` and close it."""
    recorder = MethodRecorder(port)
    try:
        yield recorder
    finally:
        recorder.close()
