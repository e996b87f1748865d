"""How a peer does several things at once: not at all, by gevent, by eventlet or by asyncio.

Peers under asyncio return coroutines where others return values; this module hides the difference.
It imports the standard library only, until a style is chosen; ``patch`` runs before other imports.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.tally import Tally

Operation = Callable[[Any], Any]
Phase = Callable[[], Tally]
"""Begins a part of the work, and returns its tally, whose clock starts now."""


class Plain:
    """One thing after another."""

    def patch(self) -> None:
        """Prepare the process."""

    def result(self, value: Any) -> Any:
        """Return *value*, or wait for it if it is a coroutine."""
        return value

    def run(self, operation: Operation, callers: int, phases: Sequence[Phase]) -> None:
        """Let *callers* repeat *operation* in each phase; after it report and wait for a line."""
        for begin in phases:
            tally = begin()
            self.together(operation, callers, tally)
            tally.report()
            self.wait_for_line()

    def together(self, operation: Operation, callers: int, tally: Tally) -> None:
        """Let *callers* repeat *operation* as long as *tally* has payloads."""
        assert callers == 1, "there is but one"
        repeat(operation, tally)

    def wait_for_line(self) -> None:
        """Let other greenlets run until a line, or the end, is read from standard input."""
        sys.stdin.readline()


def repeat(operation: Operation, tally: Tally) -> None:
    """Run *operation* for all payloads that *tally* gives."""
    for sent in tally.payloads():
        begun = time.perf_counter()
        tally.done(sent, operation(sent), time.perf_counter() - begun)


class Patched(Plain):
    """Threads of a patched standard library, which are greenlets.

    A caller is the same greenlet in all phases, so its state from the warm-up is kept.
    """

    def run(self, operation: Operation, callers: int, phases: Sequence[Phase]) -> None:
        """As `Plain.run`; a single caller is the main greenlet itself."""
        if callers == 1:
            super().run(operation, callers, phases)
            return
        gate, begun = threading.Barrier(callers + 1), list[Tally]()

        def call() -> None:
            for _ in phases:
                gate.wait()
                repeat(operation, begun[-1])
                gate.wait()

        for _ in range(callers):
            threading.Thread(target=or_end, args=(call,), daemon=True).start()
        for begin in phases:
            begun.append(begin())
            gate.wait()
            gate.wait()
            begun[-1].report()
            self.wait_for_line()


def or_end(work: Callable[[], None]) -> None:
    """Do *work*; an error ends the process, because other processes wait for it."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class Gevent(Patched):
    """Greenlets of gevent."""

    def patch(self) -> None:
        """Patch the standard library."""
        from gevent import monkey  # noqa: PLC0415 - only peers of this style have it

        monkey.patch_all()

    def wait_for_line(self) -> None:
        """As `Plain.wait_for_line`, in a native thread."""
        import gevent  # noqa: PLC0415

        gevent.get_hub().threadpool.apply(sys.stdin.readline)


class Green(Gevent):
    """Greenlets of gevent, patched as the documentation of Postage says."""

    def patch(self) -> None:
        """Patch the standard library."""
        from postage import green  # noqa: PLC0415 - only Postage has it

        green.patch_all()


class Eventlet(Patched):
    """Greenlets of eventlet."""

    def patch(self) -> None:
        """Patch the standard library."""
        import eventlet  # noqa: PLC0415 - only peers of this style have it

        eventlet.monkey_patch()

    def wait_for_line(self) -> None:
        """As `Plain.wait_for_line`, in a native thread."""
        from eventlet import tpool  # noqa: PLC0415

        tpool.execute(sys.stdin.readline)


class Asyncio(Plain):
    """Tasks on uvloop."""

    def patch(self) -> None:
        """Make the loop."""
        import uvloop  # noqa: PLC0415 - only peers of this style have it

        self._loop = uvloop.new_event_loop()

    def result(self, value: Any) -> Any:
        """Run the coroutine *value*."""
        return self._loop.run_until_complete(value)

    def together(self, operation: Operation, callers: int, tally: Tally) -> None:
        """As `Plain.together`; *operation* is a coroutine function."""
        import asyncio  # noqa: PLC0415

        async def repeat_async() -> None:
            for sent in tally.payloads():
                begun = time.perf_counter()
                tally.done(sent, await operation(sent), time.perf_counter() - begun)

        async def all_of_them() -> None:
            await asyncio.gather(*(repeat_async() for _ in range(callers)))

        self.result(all_of_them())

    def wait_for_line(self) -> None:
        """As `Plain.wait_for_line`, in a native thread."""
        self.result(self._loop.run_in_executor(None, sys.stdin.readline))


STYLES: dict[str, type[Plain]] = {
    "plain": Plain,
    "gevent": Gevent,
    "green": Green,
    "eventlet": Eventlet,
    "asyncio": Asyncio,
}
