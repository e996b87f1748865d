"""A program on a terminal of its own, with a screen, a keyboard and a size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from typing import Any

import gevent
import pyte
from gevent.socket import wait_read

from postage.testing.processes import orphan_proof
from tests.support.programs import Finished, Program

__all__ = ["OnTerminal"]


class OnTerminal(Program):
    """A program whose three streams, and whose controlling terminal, are a new terminal."""

    def __init__(self, *args: str, columns: int = 100, lines: int = 24, **options: Any) -> None:
        super().__init__(*args, **options)
        self.written = b""
        """The bytes that it wrote, including escape sequences."""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self._reading = gevent.spawn(self._read)

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self._reading.kill()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def stdout(self) -> str:
        """The lines on the screen."""
        return "".join(f"{line.rstrip()}\n" for line in self.screen.display)

    @property
    def stderr(self) -> str:
        """Empty, as the standard error is the terminal."""
        return ""

    @property
    def settings(self) -> list[Any]:
        """The settings of the terminal, from `termios.tcgetattr`."""
        return termios.tcgetattr(self._theirs)

    def start(self) -> None:
        """Start the program as the leader of a session with the terminal."""
        setsid = shutil.which("setsid")
        assert setsid, "setsid of util-linux is missing"
        self._popen = subprocess.Popen(
            orphan_proof([setsid, "--ctty", sys.executable, *self.args]),
            cwd=self._cwd,
            env=self._env,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
        )

    def kill(self) -> None:
        """Kill the program, also before it leads its session."""
        if self._popen is not None:
            self._popen.kill()
        super().kill()

    def type(self, keys: bytes) -> None:
        """Type *keys*."""
        os.write(self._ours, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window; the kernel signals it to the program."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait(self, within: float = 10.0) -> Finished:
        """Wait until the program has ended and its output is read."""
        super().wait(within)
        self._take()
        return Finished(self.popen.returncode, self.stdout, self.stderr)

    def _read(self) -> None:
        while True:
            wait_read(self._ours)
            self._take()

    def _take(self) -> None:
        while select.select([self._ours], [], [], 0)[0]:
            part = os.read(self._ours, 65536)
            self.written += part
            self._stream.feed(part)
