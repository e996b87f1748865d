"""The parts that all components of one hub share, from their first use to the end of the hub.

How it works
------------
Producers and consumers are cheap because they own no connection.  `runtime_of` returns the one
`Runtime` of the calling greenlet's hub for some settings: the pair of connections, the calls in
flight, and the limits and checks for many components.  The first use makes it.

A hub belongs to one native thread, so the runtimes are kept in a thread-local variable: when a
thread ends, its connections are closed with it.  At the end of the process they are closed by
`atexit`; after a fork the child drops them without closing them, since the parent still uses the
sockets.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import gevent.hub
import gevent.monkey
from gevent.lock import Semaphore

from postage.copies import Copies
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_door import hub_door, native_thread
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Gate
from postage.green.pool import Pool
from postage.green.rpc import replying
from postage.green.rpc.calls import Calls
from postage.log_records import counted, place_of
from postage.settings import Settings
from postage.statistics_types import ConnectionStatistics

__all__ = [
    "DECLARED_AT_ONCE",
    "ConsumerCheck",
    "Runtime",
    "close",
    "open_connections",
    "runtime_of",
    "statistics",
]

logger = HubLogger(__name__)

DECLARED_AT_ONCE = 32
"""Queues that are declared at a time, each on a channel of its own.

On one channel a broker declares one queue after the other.  With RabbitMQ, which writes durable
queues to disk, declaring 32 at a time took a fifth of the time."""
STARTED_AT_ONCE = 32
"""Components that start to consume at a time; each needs a greenlet (8 KB) while it starts."""
CHECK_INTERVAL = 2.0
"""Seconds between two checks of all consumers."""
EXIT_LIMIT = 0.5
"""Seconds that a program which ends gives its connections for flushing and closing."""


class Runtime:
    """The shared part of all components of one hub with the same settings."""

    def __init__(self, settings: Settings) -> None:
        self.pair = Pair(settings)
        self.declare_gate = Gate(DECLARED_AT_ONCE)
        """A greenlet has a place in it while it declares a queue."""
        self.startup: Pool[Callable[[], object]] = Pool(
            STARTED_AT_ONCE, lambda start: start(), "starting consumers"
        )
        """Starts components, so that ten thousand of them do not need ten thousand greenlets."""
        self.consumer_check = ConsumerCheck()
        self.copies = Copies()
        """Knows what the components handle, and have handled."""
        self.first_in: defaultdict[str, Semaphore] = defaultdict(Semaphore)
        """Held to put the first failed message into a queue, by the name of the queue."""
        self.refused_at: dict[str, float] = {}
        """When queues have refused failed messages, by `time.monotonic`."""
        self.declared_at: dict[str, float] = {}
        """When the young quorum queues of failed messages were declared, by `time.monotonic`."""
        self.station: Any = None
        """Answers queries for the processors: see `handling.presence`."""
        self.calls = Calls(self.pair, self.declare_gate)
        self.pair.on_failure.append(partial(replying.on_failure, self.pair))


class Checked(Protocol):
    """What is checked."""

    def check(self) -> None:
        """Recover if a consumer has ended without a report; never switches."""


class ConsumerCheck:
    """Checks every few seconds that all components of one runtime still have their AMQP consumers.

    It is for unknown causes: the end of a channel or consumer is reported at once, so a check
    should never find one missing.  A check compares two dictionaries of this process, does not ask
    the broker, and takes about a microsecond for each queue.
    """

    def __init__(self) -> None:
        self._checked: dict[Checked, None] = {}
        self._timer: Any = None

    def __len__(self) -> int:
        return len(self._checked)

    def add(self, checked: Checked) -> None:
        """Check *checked* in the hub from now on, which must not switch.  Never switches."""
        self._checked[checked] = None
        if self._timer is None:
            # With ref=False, a hub that waits for nothing else may end.
            self._timer = gevent.hub.get_hub().loop.timer(CHECK_INTERVAL, CHECK_INTERVAL, ref=False)
            self._timer.start(self._check_all)

    def discard(self, checked: Checked) -> None:
        """Check *checked* no longer; no error if it was not checked."""
        self._checked.pop(checked, None)
        if not self._checked and self._timer is not None:
            self._timer.close()
            self._timer = None

    def _check_all(self) -> None:
        for each in list(self._checked):
            try:
                each.check()
            except Exception as exc:  # noqa: PERF203 - the other checks must still run
                logger.exception("The check of %r failed.", each, extra=counted(*place_of(exc)))


# --- the runtimes of a hub


class _HubRuntimes:
    """The runtimes of one hub, kept in its native thread so that they end with it."""

    def __init__(self, hub: Any) -> None:
        self.hub, self.pid, self.thread = hub, os.getpid(), native_thread()
        self.door = hub_door()
        self.by_settings: dict[Settings, Runtime] = {}
        self.last: tuple[Settings | None, Runtime | None] = None, None
        self.door.is_needed = partial(_is_needed, self.by_settings)  # self would be a cycle

    def connections(self) -> list[Connection]:
        return [each for runtime in self.by_settings.values() for each in runtime.pair.connections]

    def close_without_hub(self) -> None:
        """Close all connections; the next use of a component makes new ones."""
        self.door.run_without_hub()
        deadline = time.monotonic() + EXIT_LIMIT
        pairs = [each.pair for each in self.by_settings.values()]
        self.by_settings.clear()
        self.last = None, None
        for pair in pairs:
            pair.close_without_hub(deadline)

    def __del__(self) -> None:
        # The native thread ends, and its hub with it.  Not in a forked child, because the parent
        # still uses the same sockets: see _after_fork.  Not at the end of the program either, when
        # the main thread deletes what daemon threads still use; the names here are None by then.
        is_usable = native_thread is not None
        if is_usable and (self.pid, self.thread) == (os.getpid(), native_thread()):
            # ValueError: the hub's loop was destroyed before `close` was called.
            with contextlib.suppress(ValueError):
                self.close_without_hub()
            self._destroy_hub()

    def _destroy_hub(self) -> None:
        """Free the file descriptors of the hub, which gevent leaves open when a thread ends."""
        with contextlib.suppress(ValueError):  # as above
            self.door.close()
        if self.hub.loop is not None and not self.hub.main_hub:
            self.hub.destroy(destroy_loop=True)
            self.hub.throw()  # or its last exception would keep it in memory, with much else


def _is_needed(runtimes: dict[Settings, Runtime]) -> bool:
    """Return whether a component listens, or a call or a greenlet waits for the broker."""
    return any(
        len(each.consumer_check)
        or len(each.calls)
        or any(c.is_owed() for c in each.pair.connections)
        for each in list(runtimes.values())
    )


# The original class even if threading is patched, because a hub belongs to a native thread.
_local: Any = gevent.monkey.get_original("_thread", "_local")()


def runtime_of(settings: Settings) -> Runtime:
    """Return the runtime of the calling greenlet's hub for *settings*; connects nothing yet."""
    runtimes = getattr(_local, "runtimes", None)
    if runtimes is None or runtimes.hub is not gevent.hub.get_hub():
        runtimes = _local.runtimes = _HubRuntimes(gevent.hub.get_hub())
        _register_once()
    known, runtime = runtimes.last
    if settings is not known:  # hashing them for every message would be too slow
        runtime = runtimes.by_settings.get(settings)
        if runtime is None:
            runtime = runtimes.by_settings[settings] = Runtime(_located(settings))
        runtimes.last = settings, runtime
    return runtime  # type: ignore[return-value]  # `last` has the two together


def _located(settings: Settings) -> Settings:
    """Return *settings* with a real address; starts the embedded broker, if they name a new one."""
    name = settings.embedded
    if name is None:
        return settings
    from postage.broker import embedded  # noqa: PLC0415 - most processes have no broker inside

    port = embedded(name, settings.vhost).port
    # atexit runs the last registered function first, and connections must close before the broker.
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    return replace(settings, host="127.0.0.1", port=port, user="guest", password="guest")  # noqa: S106 - the one known to all


def statistics() -> tuple[ConnectionStatistics, ...]:
    """Return the statistics of each publishing and consuming connection here; never switches."""
    runtimes = getattr(_local, "runtimes", None)
    pairs = [] if runtimes is None else [each.pair for each in runtimes.by_settings.values()]
    return tuple(each.statistics() for p in pairs for each in (p.publishing, p.consuming))


def open_connections() -> list[Connection]:
    """Return the open connections of this hub; never switches."""
    runtimes = getattr(_local, "runtimes", None)
    return [] if runtimes is None else runtimes.connections()


def close(limit: float = 5.0, host: str | None = None) -> None:
    """Close all connections of this hub properly, in at most *limit* seconds each; switches.

    *host*: only those of components whose settings have this host.  Greenlets that wait on them get
    `ConnectionClosed`; the next use of a producer connects again.
    """
    runtimes = getattr(_local, "runtimes", None)
    if runtimes is None:
        return
    known = runtimes.by_settings
    ended = [known.pop(each) for each in list(known) if host in (None, each.host)]
    runtimes.last = None, None
    for runtime in ended:
        runtime.pair.close(limit)


_registered_in = 0  # the process that has registered `_at_exit`


def _register_once() -> None:
    global _registered_in  # noqa: PLW0603 - once per process, at the first use and not at import
    if _registered_in != os.getpid():
        _registered_in = os.getpid()
        atexit.unregister(_at_exit)  # a forked child has inherited it
        atexit.register(_at_exit)
        _register_in_child_of_multiprocessing()
        if not threading.main_thread().is_alive():  # an exit function is the first to use Postage
            Transport.chunk = 0


def _register_in_child_of_multiprocessing() -> None:
    """Let a child of `multiprocessing` call `_at_exit`; it ends without exit functions."""
    process, util = map(sys.modules.get, ("multiprocessing.process", "multiprocessing.util"))
    if process is not None and util is not None and process.parent_process() is not None:
        # The lowest priority: after all that the program itself wants to do at the end.
        util.Finalize(None, _at_exit, exitpriority=-sys.maxsize)


def _at_exit() -> None:
    """Send what is written and close the connections; exit functions called later may reconnect.

    Python calls the exit functions that were registered before this one after it, and what they
    register in turn not at all.  So what they write must not wait for the hub.
    """
    runtimes = getattr(_local, "runtimes", None)
    if runtimes is not None:
        runtimes.close_without_hub()
    Transport.chunk = 0


def _after_fork() -> None:
    """Drop the parent's sockets without closing them; the child connects for itself."""
    runtimes = getattr(_local, "runtimes", None)
    if runtimes is not None:
        for connection in open_connections():
            connection.close_socket()
        del _local.runtimes
        gevent.hub.reinit()  # gevent's fork does this, but os.fork does not unless it is patched


# At import, so that functions which the program registers find a child without connections.
os.register_at_fork(after_in_child=_after_fork)
