"""A program on a terminal of its own: what stands on the screen, what is typed, how large it is."""

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
    """Has a terminal of *columns* and *lines* for its three streams, which also controls it."""

    def __init__(self, *args: str, columns: int = 100, lines: int = 24, **options: Any) -> None:
        super().__init__(*args, **options)
        self.written = b""
        """All that it wrote, escape sequences included."""
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
        """The lines that stand on the screen."""
        return "".join(f"{line.rstrip()}\n" for line in self.screen.display)

    @property
    def stderr(self) -> str:
        """Nothing: it goes to the terminal."""
        return ""

    @property
    def settings(self) -> list[Any]:
        """How the terminal treats what is typed, as `termios.tcgetattr` has it."""
        return termios.tcgetattr(self._theirs)

    def start(self) -> None:
        """Start it as the leader of a session that has the terminal."""
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
        """End it at once, also before it leads a session."""
        if self._popen is not None:
            self._popen.kill()
        super().kill()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window larger or smaller; the kernel tells the program."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait(self, within: float = 10.0) -> Finished:
        """Wait for its end, and for all that it has written."""
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
