"""A broker in a native thread with a hub of its own, whatever its clients do in theirs.

A client that blocks its thread (plain pika in a process that is not monkey-patched) would wait for
ever for a broker whose greenlets live in the same thread.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import gevent.event
import gevent.hub
import gevent.monkey

from postage.broker.faults import Faults
from postage.broker.server import Broker
from postage.broker.snapshot import Statistics

__all__ = ["BrokerThread", "embedded"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The real ones, also in a patched process: a greenlet's lock does not wait for a native thread.
_start_new_thread: Any = gevent.monkey.get_original("_thread", "start_new_thread")
_allocate_lock: Any = gevent.monkey.get_original("_thread", "allocate_lock")


class BrokerThread:
    """Runs a `Broker`, made with the same arguments, in a thread of its own.

    ``with BrokerThread() as broker:`` is the same as with `Broker`, and any thread may call its
    methods; each blocks the calling thread for less than a millisecond.  It ends with the process
    at the latest.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self._arguments = (host, port), options
        self._broker: Broker | None = None
        self._hub: Any = None
        self._over: gevent.event.Event | None = None
        self._ended: Any = None
        self._calls: deque[Callable[[], None]] = deque()
        self._bell: Any = None

    def __repr__(self) -> str:
        return f"<BrokerThread {'stopped' if self._broker is None else self.broker.port}>"

    def __enter__(self) -> BrokerThread:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def broker(self) -> Broker:
        """The broker itself; touch it in `call` only."""
        assert self._broker is not None, "it is not running"
        return self._broker

    @property
    def is_ours(self) -> bool:
        """False in a forked child, where the broker is the parent's: its clients may use it."""
        return self._hub is not None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.broker.port

    @property
    def url(self) -> str:
        """Where clients find it, credentials included; see `Broker.url`."""
        return self.broker.url

    @property
    def faults(self) -> Faults:
        """Trouble to order; see `Faults`."""
        return self._faults

    def statistics(self) -> Statistics:
        """Return a picture of what goes on inside."""
        return self.call(self.broker.statistics)

    def add_vhost(self, name: str) -> None:
        """Make the virtual host *name* if need be."""
        self.call(lambda: self.broker.node.add_vhost(name))

    def remove_vhost(self, name: str) -> None:
        """Forget the virtual host *name*; connections to it are closed."""
        self.call(lambda: self.broker.node.remove_vhost(name))

    # --- the thread

    def start(self) -> None:
        """Start; returns when clients can connect, raises what starting the broker raises."""
        started = _Answer()
        self._ended = _allocate_lock()
        self._ended.acquire()
        _start_new_thread(self._main, (started, self._ended))
        started.get()
        # A thread that is in its hub while the interpreter goes away may crash the process.
        atexit.register(self.stop)
        self._faults = Faults(self.broker.node, self.call)

    def _main(self, started: _Answer, ended: Any) -> None:
        try:
            started.settle(self._open)
            if self._over is not None:
                self._over.wait()
                self.broker.stop()
        finally:
            gevent.hub.get_hub().destroy()
            ended.release()

    def _open(self) -> None:
        address, options = self._arguments
        broker = Broker(*address, **options)
        broker.start()
        self._broker, self._hub = broker, gevent.hub.get_hub()
        self._bell = self._hub.loop.async_()
        self._bell.start(self._serve)
        self._over = gevent.event.Event()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run *function* where the broker runs; return what it returns, raise what it raises.

        It must not switch.
        """
        answer = _Answer()
        self._calls.append(lambda: answer.settle(lambda: function(*arguments)))
        self._bell.send()  # run_callback_threadsafe counts references of the loop, without a lock
        result: T = answer.get()
        return result

    def _serve(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def stop(self, within: float = 2.0) -> None:
        """Stop broker and thread, waiting at most *within* seconds; stopping twice is fine."""
        atexit.unregister(self.stop)
        over, self._over = self._over, None
        if over is not None:
            self.call(over.set)
            self._ended.acquire(timeout=within)
            self._broker = None

    def abandon(self) -> None:
        """Leave the sockets to the parent process, as a forked child must: the thread is there."""
        if self._hub is not None:
            self._hub = self._over = None
            self.broker.abandon()


class _Answer:
    """What a function came to in another native thread."""

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def settle(self, function: Callable[[], Any]) -> None:
        """Run *function* and keep what comes of it."""
        try:
            self._value = function()
        except BaseException as exc:  # it belongs to who waits
            self._error = exc
        self._lock.release()

    def get(self) -> Any:
        """Wait, blocking the thread, and return or raise what came of it."""
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._value


_brokers: dict[str, BrokerThread] = {}
_lock = _allocate_lock()


def embedded(name: str = "", vhost: str = "/", **options: Any) -> BrokerThread:
    """Return the broker of this process called *name*, started by who asks first.

    It listens on a free port of this machine (``embedded().url`` is where), has the virtual host
    *vhost* from now on, and ends with the process.  *options* are those of `Broker`, for a broker
    that this call starts.  A forked child uses the broker of its parent.
    Any thread may call this.
    """
    with _lock:
        broker = _brokers.get(name)
        if broker is None:
            broker = _brokers[name] = _started(name, options)
    if broker.is_ours:
        broker.add_vhost(vhost)
    return broker


def _started(name: str, options: dict[str, Any]) -> BrokerThread:
    if not _brokers:
        os.register_at_fork(after_in_child=_after_fork)
    broker = BrokerThread(**options)
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
