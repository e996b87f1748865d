"""Child processes that never outlive the process that started them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable


def orphan_proof(command: list[str]) -> list[str]:
    """Return *command* so that the kernel kills it when the thread that starts it ends.

    Uses ``setpriv`` of util-linux, because ``preexec_fn`` is not safe beside threads.  Without
    ``setpriv`` on the machine, returns *command* unchanged.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else command


def kill_group(pgid: int) -> None:
    """Send SIGKILL to all processes of the group *pgid*, if there are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes], within: float = 5.0) -> int:
    """Send SIGTERM to *process*, and SIGKILL after *within* seconds; return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_blocking(check: Callable[[], bool], within: float, pause: float = 0.02) -> bool:
    """Poll *check* for at most *within* seconds, blocking the thread; return its last answer."""
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
