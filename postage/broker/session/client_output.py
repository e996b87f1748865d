"""The output of one connection: what is unsent, when that pauses deliveries, and its charge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from postage.broker.core.costs import PIECE

__all__ = ["BURST", "ClientOutput", "Interceptor"]

BURST = 1 << 18
"""Unsent bytes beyond which deliveries pause, so that other connections have their turn."""


class Interceptor(Protocol):
    """Sees and changes the frames of a connection; see `postage.broker.faults`."""

    def incoming(self, handle: Callable[[], None]) -> None:
        """Take a frame of the client, which *handle* would handle, and call *handle* or not."""

    def outgoing(self, data: bytes) -> bytes:
        """Return the bytes that are sent instead of *data*."""


class ClientOutput(ABC):
    """The output of one connection; *on_output* is called when there is something to send.

    Output is charged while deliveries are paused, which they are while the socket is full, or much
    is unsent.  All other output is sent in the next turn of the hub.  *most_unread*: bytes of
    answers beyond which nothing should be read from the client.
    """

    def __init__(self, on_output: Callable[[], object], most_unread: int) -> None:
        self.deliveries_paused = False
        """True while so much is unsent that consumers take no more messages."""
        self.blocked = False
        """Whether the client has been asked to stop publishing."""
        self.interceptor: Interceptor | None = None
        self.on_abort: Callable[[], object] = lambda: None
        """Called by `abort`: the owner has to drop the output that it has taken."""
        self._has_sent = False
        """Whether anything was sent since the last check of heartbeats."""
        self._confirms: list[Callable[[], None]] = []
        self._output: list[bytes] = []
        self._unsent = self._answers = 0
        self._on_output, self._most_unread = on_output, most_unread

    @abstractmethod
    def hold(self, change: int) -> None:
        """Charge *change* bytes."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Add *data* to the output."""

    @abstractmethod
    def take_output(self) -> bytes:
        """Take the output, and return it."""

    @property
    def _cost(self) -> int:
        """Bytes of memory of the output."""
        return self._unsent + PIECE * len(self._output)

    def pause(self) -> None:
        """Pause deliveries, for instance because the socket is full."""
        if not self.deliveries_paused:
            self.deliveries_paused = True
            self.hold(self._cost)

    def _unpause(self) -> None:
        """Let deliveries go on: all output has been sent."""
        cost, self.deliveries_paused = self._cost, False
        self.hold(-cost)  # which may cause output

    def abort(self) -> None:
        """End the connection at once, and drop all that it holds, unsent output included."""
        self.close()
        self.take_output()
        self.on_abort()
