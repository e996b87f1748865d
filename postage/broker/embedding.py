"""The brokers behind ``embedded://`` URLs: one for each name, in this process."""

from __future__ import annotations

import logging
import os
from typing import Any

import gevent.monkey

from postage.broker.thread import BrokerThread

__all__ = ["embedded"]

logger = logging.getLogger(__name__)

_brokers: dict[str, BrokerThread] = {}
_allocate_lock: Any = gevent.monkey.get_original("_thread", "allocate_lock")
_lock = _allocate_lock()


def embedded(name: str = "", vhost: str = "/") -> BrokerThread:
    """Return the broker of this process called *name*, started by who asks first.

    It listens on a free port of this machine (``embedded().url`` is where), has the virtual host
    *vhost* from now on, and ends with the process.  A forked child uses the broker of its parent.
    Any thread may call this.
    """
    with _lock:
        broker = _brokers.get(name)
        if broker is None:
            broker = _brokers[name] = _started(name)
    if broker.is_ours:
        broker.add_vhost(vhost)
    return broker


def _started(name: str) -> BrokerThread:
    if not _brokers:
        os.register_at_fork(after_in_child=_after_fork)
    broker = BrokerThread()
    broker.start()
    logger.warning(
        "Using the embedded broker %r on port %d: nothing in it survives this process.",
        name,
        broker.port,
    )
    return broker


def _after_fork() -> None:
    """The threads are the parent's, and so are the sockets: a copy would hold them open."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = _allocate_lock()
    for broker in _brokers.values():
        broker.abandon()
