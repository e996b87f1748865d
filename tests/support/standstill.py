"""Stops a process as a debugger does: it lives, and does nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from postage.testing.polling import wait_until

LIMIT = 10.0


def stop_threads(pid: int) -> None:
    """Stop all threads of the process *pid*; return when none of them runs any more.

    The signal alone is not enough: a thread may still answer what arrives after it.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _states(pid) == {"T"}, LIMIT, "the standstill of the process")


@contextlib.contextmanager
def standstill(pid: int) -> Iterator[None]:
    """Stop all threads of the process *pid*, and let them continue at the end of the block."""
    try:
        stop_threads(pid)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    """Return the states of the threads of a process; T is a stopped one."""
    stats = (task / "stat" for task in Path(f"/proc/{pid}/task").iterdir())
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}
