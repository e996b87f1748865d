"""The two connections that everything in a hub shares: one publishes, one consumes.

Two, because a broker in a memory alarm stops reading a connection that publishes: consumers on it
could not acknowledge any more, and the alarm would never end (RabbitMQ, memory alarms).
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import gevent
import gevent.hub
import gevent.monkey

from postage.green.amqp.channel import OnReturn
from postage.green.amqp.connection import Connection
from postage.green.amqp.frames import Properties
from postage.green.amqp.reconnecting import Reconnecting
from postage.settings import Settings

if TYPE_CHECKING:
    from postage.statistics_types import ConnectionStatistics

__all__ = ["Pair", "close", "open_connections", "pair_of", "statistics"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

EXIT_LIMIT = 0.5
"""Seconds that a program which ends gives its connections for flushing and closing."""


class Pair:
    """The connections of one hub to one broker and virtual host.

    Each is made at its first use, and made anew when it was lost.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.publishing = self._reconnecting("publishing")
        self.consuming = self._reconnecting("consuming")
        self.on_return: list[OnReturn] = []
        """Called in the hub for each request that came back: nobody is there to answer it."""
        self.lost_replies = 0
        """Replies that came back: nobody waits for them any more."""
        self.declaring: set[gevent.Greenlet[..., Any]] = set()
        """Declarations under way that nobody waits for, but what is sent meanwhile."""
        self._companions: dict[Callable[[Pair], Any], Any] = {}
        self._prefix, self._numbers = uuid.uuid4().hex[:16], itertools.count(1)

    def _reconnecting(self, role: str) -> Reconnecting:
        def make(address: tuple[str, int]) -> Connection:
            return Connection(self.settings, role, self._returned, address)

        return Reconnecting(self.settings, role, make, lambda: self.was_connected)

    @property
    def was_connected(self) -> bool:
        """Whether the broker has ever let us in."""
        return self.publishing.was_open or self.consuming.was_open

    def companion(self, make: Callable[[Pair], T]) -> T:
        """Return the one ``make(pair)`` of this pair: what its users share beyond connections."""
        if make not in self._companions:
            self._companions[make] = make(self)
        companion: T = self._companions[make]
        return companion

    def wait_declared(self, limit: float) -> None:
        """Wait for what is being declared, at most *limit* seconds; switches."""
        gevent.joinall([*self.declaring], timeout=limit)

    def new_id(self) -> str:
        """Return an id that no other message anywhere has, for a tenth of what a UUID costs."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def _returned(self, reason: str, properties: Properties) -> None:
        if properties.reply_to is None:
            self.lost_replies += 1
            logger.info("A reply came back (%s): its caller is gone.", reason)
            return
        for hook in self.on_return:
            hook(reason, properties)

    @property
    def connections(self) -> list[Connection]:
        """Those that are open."""
        return [c for each in (self.publishing, self.consuming) if (c := each.current) is not None]

    def close(self, limit: float) -> None:
        """Close both for good, waiting at most *limit* seconds for each; switches."""
        for each in (self.publishing, self.consuming):
            each.close(limit)


class _HubPairs:
    """The pairs of one hub; kept in its native thread, so that they end with it."""

    def __init__(self, hub: object) -> None:
        self.hub, self.pid = hub, os.getpid()
        self.pairs: dict[Settings, Pair] = {}
        self.last: tuple[Settings | None, Pair | None] = None, None

    def connections(self) -> list[Connection]:
        return [connection for pair in self.pairs.values() for connection in pair.connections]

    def close_now(self) -> None:
        deadline = time.monotonic() + EXIT_LIMIT
        for connection in self.connections():
            connection.close_now(max(0.0, deadline - time.monotonic()))

    def __del__(self) -> None:
        # The native thread ends, and its hub with it.  In a forked child the parent goes on using
        # the very sockets: see _after_fork.
        if self.pid == os.getpid():
            # ValueError: somebody destroyed the hub's loop, without having called `close` before.
            with contextlib.suppress(ValueError):
                self.close_now()


# The real thread's, also where threading is patched: a hub belongs to a native thread.
_local: Any = gevent.monkey.get_original("_thread", "_local")()


def pair_of(settings: Settings) -> Pair:
    """Return the pair of the calling greenlet's hub for *settings*; connects nothing yet."""
    ours = getattr(_local, "ours", None)
    if ours is None or ours.hub is not gevent.hub.get_hub():
        ours = _local.ours = _HubPairs(gevent.hub.get_hub())
        _register_once()
    known, pair = ours.last
    if settings is not known:  # to hash them for every message costs more than all of this
        pair = ours.pairs.get(settings)
        if pair is None:
            pair = ours.pairs[settings] = Pair(located(settings))
        ours.last = settings, pair
    return cast("Pair", pair)


def located(settings: Settings) -> Settings:
    """Return *settings* with a real address; whoever needs an embedded broker first starts it."""
    name = settings.embedded
    if name is None:
        return settings
    from postage.broker import embedded  # noqa: PLC0415 - most processes have no broker inside

    port = embedded(name, settings.vhost).port
    # What is registered last runs first at exit: the broker must outlive its connections.
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    return replace(settings, host="127.0.0.1", port=port, user="guest", password="guest")  # noqa: S106 - the one known to all


def statistics() -> tuple[ConnectionStatistics, ...]:
    """Return pictures of all connections of this hub, two for each broker; never switches."""
    ours = getattr(_local, "ours", None)
    pairs = [] if ours is None else list(ours.pairs.values())
    return tuple(each.statistics() for p in pairs for each in (p.publishing, p.consuming))


def open_connections() -> list[Connection]:
    """Return the open connections of this hub; never switches."""
    ours = getattr(_local, "ours", None)
    return [] if ours is None else ours.connections()


def close(limit: float = 5.0) -> None:
    """Close all connections of this hub properly, in at most *limit* seconds each; switches.

    Whatever waits on them fails with `ConnectionClosed`; the next use of a producer connects anew.
    """
    ours = getattr(_local, "ours", None)
    if ours is None:
        return
    pairs = list(ours.pairs.values())
    ours.pairs.clear()
    ours.last = None, None
    for pair in pairs:
        pair.close(limit)


_registered = False


def _register_once() -> None:
    global _registered  # noqa: PLW0603 - once per process, at the first use and not at import
    if not _registered:
        _registered = True
        atexit.register(_at_exit)
        os.register_at_fork(after_in_child=_after_fork)


def _at_exit() -> None:
    ours = getattr(_local, "ours", None)
    if ours is not None:
        ours.close_now()


def _after_fork() -> None:
    """Leave the parent's sockets to the parent; the child connects for itself."""
    ours = getattr(_local, "ours", None)
    if ours is not None:
        for connection in open_connections():
            connection.abandon()
        del _local.ours
        gevent.hub.reinit()  # as gevent's own fork does; that of an unpatched process does not
