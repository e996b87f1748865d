"""Where publishes go that were seen before: a memory of what a virtual host would find out again.

Most publishers send to a few addresses only.  What a basic.publish says, byte by byte, decides its
way, as long as nobody declares, binds or deletes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from postage.broker.core.queue import BrokerQueue
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.methods import MethodCall, decode

if TYPE_CHECKING:
    from postage.broker.core.vhost import VHost

__all__ = ["CachedRoute", "RouteCache"]

REMEMBERED = 1024
LONGEST = 4 + 2 + 256 + 256 + 1 + 1
"""Bytes of a basic.publish with its end; what is longer has something behind its arguments."""


class CachedRoute(NamedTuple):
    """Where a publish goes, whatever its header says; nowhere: somebody has to look closer."""

    address: bytes
    queues: tuple[BrokerQueue, ...]


NOT_CACHEABLE = CachedRoute(b"", ())


class RouteCache(dict[bytes, CachedRoute]):
    """RouteCache by the payload of basic.publish with the end of its frame.

    It is to be cleared whenever exchanges, queues or bindings change.
    """

    def __init__(self, vhost: VHost) -> None:
        super().__init__()
        self._vhost = vhost

    def __missing__(self, payload: bytes) -> CachedRoute:
        """Find out, and remember."""
        if len(payload) > LONGEST:
            return NOT_CACHEABLE
        if len(self) >= REMEMBERED:
            self.clear()
        self[payload] = route = self._found(payload)
        return route

    def _found(self, payload: bytes) -> CachedRoute:
        try:
            call = decode(payload[:-1])
        except SyntaxFault:
            return NOT_CACHEABLE
        exchange = self._vhost.exchanges.get(call.exchange)
        if payload[-1] != 0xCE or call.immediate or exchange is None or exchange.internal:  # noqa: PLR2004 - the frame end
            return NOT_CACHEABLE
        return self._route(call)

    def _route(self, call: MethodCall) -> CachedRoute:
        """Return the way of *call*, where nothing but its address decides it.

        What goes to no queue may be a direct reply, or come back; a full queue may say no.
        """
        message = PublishedMessage(call.exchange, call.routing_key, b"\0\0", b"")
        queues, exchanges = self._vhost.trace(message)
        by_header = any(self._vhost.exchanges[name].type == "headers" for name in exchanges)
        if by_header or any(queue.rejects for queue in queues):
            return NOT_CACHEABLE
        return CachedRoute(message.address, tuple(queues))
