"""How a peer does several things at once: in no way, or by gevent, eventlet or asyncio.

Peers under asyncio return coroutines where others return values; that difference ends here.
Standard library only, until a style is chosen; ``patch`` comes before anything else is imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.tally import Tally

Operation = Callable[[Any], Any]


class Plain:
    """One thing after another."""

    def patch(self) -> None:
        """Prepare the process."""

    def result(self, value: Any) -> Any:
        """Return *value*, waited for where it is still to come."""
        return value

    def run(self, operation: Operation, callers: int, tally: Tally) -> None:
        """Repeat *operation* by so many *callers* for as long as *tally* has payloads."""
        assert callers == 1, "there is but one"
        repeat(operation, tally)

    def wait_for_line(self) -> None:
        """Let the others work until a line, or the end, comes on standard input."""
        sys.stdin.readline()


def repeat(operation: Operation, tally: Tally) -> None:
    """Do *operation* for all payloads that *tally* gives."""
    for sent in tally.payloads():
        begun = time.perf_counter()
        tally.done(sent, operation(sent), time.perf_counter() - begun)


class Gevent(Plain):
    """Greenlets in a patched process."""

    def patch(self) -> None:
        """Patch the standard library."""
        from gevent import monkey  # noqa: PLC0415 - only peers of this style have it

        monkey.patch_all()

    def run(self, operation: Operation, callers: int, tally: Tally) -> None:
        """As `Plain.run`; one caller is this greenlet itself."""
        import gevent  # noqa: PLC0415

        if callers == 1:
            repeat(operation, tally)
            return
        greenlets = [gevent.spawn(repeat, operation, tally) for _ in range(callers)]
        gevent.joinall(greenlets, raise_error=True)

    def wait_for_line(self) -> None:
        """As `Plain.wait_for_line`, in a native thread."""
        import gevent  # noqa: PLC0415

        gevent.get_hub().threadpool.apply(sys.stdin.readline)


class Eventlet(Plain):
    """Green threads in a patched process."""

    def patch(self) -> None:
        """Patch the standard library."""
        import eventlet  # noqa: PLC0415 - only peers of this style have it

        eventlet.monkey_patch()

    def run(self, operation: Operation, callers: int, tally: Tally) -> None:
        """As `Plain.run`."""
        import eventlet  # noqa: PLC0415

        for thread in [eventlet.spawn(repeat, operation, tally) for _ in range(callers)]:
            thread.wait()

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

    def run(self, operation: Operation, callers: int, tally: Tally) -> None:
        """As `Plain.run`; *operation* is a coroutine function."""
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
        self._loop.run_until_complete(self._loop.run_in_executor(None, sys.stdin.readline))


STYLES: dict[str, type[Plain]] = {
    "plain": Plain,
    "gevent": Gevent,
    "eventlet": Eventlet,
    "asyncio": Asyncio,
}
