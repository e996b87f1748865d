"""The contestants.  Each is one module of this package with the same four functions.

``serve(url, queue)``
    answer RPCs with their own parameters, for ever; write the line ``ready`` first.
``open_caller(url, queue)``
    return ``call(payload) -> answer``.
``open_publisher(url, queue, *, confirm)``
    return ``publish(payload)``, which with *confirm* returns when the broker has taken the message.
``consume(url, queue, handle)``
    give every payload to *handle*, acknowledge it, and return soon after *handle* returned False.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Payload = dict[str, Any]
Call = Callable[[Payload], Payload]
Publish = Callable[[Payload], None]
Handle = Callable[[Payload], bool]


class Implementation(Protocol):
    """What the module of a peer offers."""

    serve: Callable[[str, str], None]
    open_caller: Callable[[str, str], Call]
    open_publisher: Callable[..., Publish]
    consume: Callable[[str, str, Handle], None]


@dataclass(frozen=True)
class Peer:
    """One contestant: its module, its name in the tables, and how it lives with greenlets."""

    module: str
    title: str
    patched: bool = True
    """Its processes are monkey-patched by gevent before anything else."""
    greenlets: bool = True
    """Many greenlets may use it at once; where not, there is one caller."""

    def load(self) -> Any:
        """Import the peer's module, in a process that belongs to this peer alone."""
        if self.patched:
            from gevent import monkey  # noqa: PLC0415 - one peer runs without gevent

            monkey.patch_all()
        return importlib.import_module(f"benchmarks.peers.{self.module}")


PEERS = {
    peer.module: peer
    for peer in (
        Peer("postage_peer", "Postage"),
        Peer("blocking", "BlockingConnection", patched=False, greenlets=False),
        Peer("blocking_gevent", "BlockingConnection under gevent"),
        Peer("gevent_connection", "GeventConnection"),
    )
}
