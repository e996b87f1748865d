"""A broker in a native thread with a hub of its own, and the brokers of ``embedded://`` URLs.

A client that blocks its thread, such as plain pika in a process that is not monkey-patched, would
wait forever for a broker whose greenlets run in the same thread.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

import gevent
import gevent.event
import gevent.hub
import gevent.monkey

from postage.broker.faults import Faults
from postage.broker.server import Broker
from postage.broker.snapshot import Statistics
from postage.errors import ConnectionClosed, SettingsError
from postage.log_records import logger_of
from postage.settings import truth

__all__ = ["BrokerThread", "embedded", "end_embedded"]

logger = logger_of(__name__)

T = TypeVar("T")

# The originals, also in a patched process: gevent's lock does not wait for a native thread.
_start_new_thread: Any = gevent.monkey.get_original("_thread", "start_new_thread")
_allocate_lock: Any = gevent.monkey.get_original("_thread", "allocate_lock")


class BrokerThread:
    """Runs a `Broker` with the same arguments in a thread of its own.

    ``with BrokerThread() as broker:`` works as with `Broker`.  Any thread may call its methods;
    each blocks the calling thread for less than a millisecond.  The broker ends with the process at
    the latest.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self._address, self.options = (host, port), options
        self._broker: Broker | None = None
        self._hub: Any = None
        self._stop_requested: gevent.event.Event | None = None
        self._ended: Any = None
        self._calls: deque[Callable[[], object]] = deque()
        self._wakeup: Any = None
        self._takes_calls = False

    def __repr__(self) -> str:
        return f"<BrokerThread {'stopped' if self._broker is None else self.broker.port}>"

    def __enter__(self) -> BrokerThread:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def broker(self) -> Broker:
        """The broker itself; use it in `call` only."""
        assert self._broker is not None, "the broker is not running"
        return self._broker

    @property
    def is_ours(self) -> bool:
        """False in a forked child: the broker runs in the parent, and the child is a client."""
        return self._hub is not None

    @property
    def has_ended(self) -> bool:
        """Whether the broker has run and was stopped, as it is at the end of the process."""
        return self._hub is not None and self._broker is None

    @property
    def port(self) -> int:
        """The port that the broker listens on."""
        return self.broker.port

    @property
    def url(self) -> str:
        """The AMQP URL of the broker with credentials."""
        return self.broker.url

    @property
    def faults(self) -> Faults:
        """Failures on demand; see `Faults`."""
        return cast("Faults", _FaultsInThread(self))

    def statistics(self) -> Statistics:
        """Return a snapshot of connections, queues and counters."""
        return self.call(self.broker.statistics)

    def advance(self, seconds: float, *, vhost: str = "/") -> None:
        """Turn the clock of a virtual host; see `Broker.advance`."""
        self.call(self.broker.advance, seconds, vhost=vhost)

    def add_vhost(self, name: str) -> None:
        """Create the virtual host *name* if it does not exist."""
        self.call(lambda: self.broker.node.add_vhost(name))

    def remove_vhost(self, name: str) -> None:
        """Delete the virtual host *name* and close the connections to it."""
        self.call(lambda: self.broker.node.remove_vhost(name))

    # --- the thread

    def start(self) -> None:
        """Start the thread; returns when clients can connect, raises what `Broker.start` raises.

        Blocks the calling thread.
        """
        started = _ThreadResult()
        self._takes_calls = True
        self._ended = _allocate_lock()
        self._ended.acquire()
        _start_new_thread(self._main, (started, self._ended))
        started.get()
        # A thread that is in its hub while the interpreter shuts down may crash the process.
        atexit.register(self.stop)

    def _main(self, started: _ThreadResult, ended: Any) -> None:
        stop_requested = gevent.event.Event()
        try:
            # Another thread may call `stop` before this one goes on.
            if started.run(partial(self._open, stop_requested)):
                stop_requested.wait()
                self.broker.stop()
        finally:
            self._takes_calls = False
            self._run_calls()  # those of threads that have not seen it
            gevent.hub.get_hub().destroy()
            ended.release()

    def _open(self, stop_requested: gevent.event.Event) -> None:
        broker = Broker(*self._address, **self.options)
        broker.start()
        self._broker, self._hub = broker, gevent.hub.get_hub()
        self._wakeup = self._hub.loop.async_()
        self._wakeup.start(self._run_calls)
        self._stop_requested = stop_requested

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run *function* in the thread of the broker; return its result, raise its error.

        Blocks the calling thread.  *function* must not switch greenlets.  Raises `ConnectionClosed`
        if the broker has stopped.
        """
        result = _ThreadResult()
        self._calls.append(lambda: result.run(lambda: function(*arguments, **options)))
        if not self._takes_calls:
            raise ConnectionClosed("the embedded broker has stopped")
        # run_callback_threadsafe would change the reference count of the loop without a lock.
        self._wakeup.send()
        value: T = result.get()
        return value

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def stop(self, within: float = 2.0) -> None:
        """Stop broker and thread, waiting at most *within* seconds; may be called twice."""
        atexit.unregister(self.stop)
        requested, self._stop_requested = self._stop_requested, None
        if requested is not None:
            with suppress(ConnectionClosed):  # it has ended by an error
                self.call(requested.set)
            self._ended.acquire(timeout=within)
            self._broker = None

    def close_after_fork(self) -> None:
        """Close this process's copies of the sockets: the thread runs in the parent process."""
        if self._hub is not None:
            self._hub = self._stop_requested = None
            self.broker.close_after_fork()


class _FaultsInThread:
    """The methods of `Faults`, each of which runs in the thread of *broker*."""

    def __init__(self, broker: BrokerThread) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._broker.call, getattr(self._broker.broker.faults, name))


class _ThreadResult:
    """The result of a function that runs in another native thread."""

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._lock.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self, function: Callable[[], Any]) -> bool:
        """Run *function*, and keep what it returns or raises; return whether it has returned."""
        try:
            self._value = function()
        except BaseException as exc:  # `get` raises it in the thread that waits
            self._error = exc
        self._lock.release()
        return self._error is None

    def get(self) -> Any:
        """Block the thread until the function has run; return or raise its result."""
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._value


_brokers: dict[str, BrokerThread] = {}
_lock = _allocate_lock()


def embedded(name: str = "", vhost: str = "/", **options: Any) -> BrokerThread:
    """Return the broker *name* of this process; the first call starts it.

    The broker listens on a free port of this machine (``embedded().url``), has the virtual host
    *vhost* from now on, and ends with the process.  *options* are those of `Broker`, for a broker
    that this call starts; as in a URL, *name* may end with some of them: ``name?like=3.10``.  A
    forked child uses the broker of its parent.  Any thread may call this.  Raises `SettingsError`
    if the broker has been started with other options in its name, and `ConnectionClosed` when the
    broker was stopped, as it is at the end of the process.
    """
    name, _, query = name.partition("?")
    named = _options_in(query)
    options = {**named, **options}
    with _lock:
        broker = _brokers.get(name)
        if broker is None:
            broker = _brokers[name] = _started(name, options)
    if not named.items() <= broker.options.items():
        text = f"the embedded broker {name!r} runs already, with the options {broker.options}"
        raise SettingsError(f"{text}, so it cannot have {named}: give it another name")
    if broker.has_ended:
        raise ConnectionClosed(f"the embedded broker {name!r} has ended with its process")
    if broker.is_ours:
        broker.add_vhost(vhost)
    return broker


def end_embedded(name: str) -> None:
    """Stop the broker *name* of this process, if it runs; a later use of the name starts another.

    The connections to it should be closed before.  Any thread may call this, which blocks it.
    """
    with _lock:
        broker = _brokers.pop(name, None)
    if broker is not None:
        broker.stop()


def _options_in(query: str) -> dict[str, Any]:
    """Return the options of a broker in the *query* of its URL, checked as `Broker` does."""
    options: dict[str, Any] = dict(parse_qsl(query))
    if "transient_queues" in options:
        options["transient_queues"] = truth("transient_queues", options["transient_queues"])
    return options


def _started(name: str, options: dict[str, Any]) -> BrokerThread:
    if not _brokers:
        os.register_at_fork(after_in_child=_after_fork)
    broker = BrokerThread(**options)
    broker.start()
    logger.warning(
        "Using the embedded broker %son port %d: nothing in it survives this process.",
        f"{name!r} " if name else "",
        broker.port,
    )
    return broker


def _after_fork() -> None:
    """Close the copies of sockets whose threads run in the parent: they would hold them open."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held the lock
    _lock = _allocate_lock()
    for broker in _brokers.values():
        broker.close_after_fork()
