"""A shell on a terminal of its own, in which a test types as a person would."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import gevent
from gevent.os import nb_read

from postage.testing.processes import kill_group

__all__ = ["Shell"]

PROMPT = "<ready>"


class Shell:
    """Use as a context manager: the shell, and what runs in it, ends with the block.

    Methods that wait switch to the hub.  They raise AssertionError with all that the terminal has
    shown after *within* seconds.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], within: float = 60.0) -> None:
        self._folder, self._within = folder, within
        kept = ("PATH", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CACHE_DIR")
        kept_env = {name: os.environ[name] for name in kept if name in os.environ}
        self._env = {**kept_env, "PS1": PROMPT, "TERM": "dumb", "COLUMNS": "200", **env}
        self._shown, self._read = "", 0

    def __enter__(self) -> Shell:  # noqa: PYI034 - Self needs Python 3.11
        self._terminal, ours = pty.openpty()
        # setsid: the terminal becomes that of the shell, so Ctrl-C reaches what runs in it.
        shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *shell],
            cwd=self._folder,
            env=self._env,
            stdin=ours,
            stdout=ours,
            stderr=ours,
        )
        os.close(ours)
        os.set_blocking(self._terminal, False)
        self.wait_for_prompt()
        self.type("stty -echo")
        self.wait_for_prompt()
        return self

    def __exit__(self, *_: object) -> None:
        for child in _children(self._process.pid):
            kill_group(child)
        kill_group(self._process.pid)
        self._process.wait()
        os.close(self._terminal)

    def type(self, line: str) -> None:
        """Type *line*; what the terminal has shown before is forgotten."""
        self._read = len(self._shown)
        os.write(self._terminal, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._read = len(self._shown)
        os.write(self._terminal, b"\x03")

    def wait_for(self, line: str) -> None:
        """Wait for *line* in what the terminal shows next; ``…`` in it stands for any text."""
        parts = (re.escape(part) for part in line.split("…"))
        self._wait(re.compile(r"[^\n]*?".join(parts)), repr(line))

    def wait_for_prompt(self) -> None:
        """Wait until the command has ended."""
        self._wait(re.compile(re.escape(PROMPT)), "the prompt")

    def _wait(self, pattern: re.Pattern[str], what: str) -> None:
        deadline = time.monotonic() + self._within
        while (match := pattern.search(self._shown, self._read)) is None:
            assert time.monotonic() < deadline, f"no {what} in:\n{self._shown}"
            with gevent.Timeout(1, exception=False):
                data = nb_read(self._terminal, 1 << 16)
                self._shown += data.decode(errors="replace").replace("\r\n", "\n")
        self._read = match.end()


def _children(pid: int) -> list[int]:
    """Return the processes that *pid* has started: each job of a shell is a group of its own."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
