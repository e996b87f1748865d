"""Python programs as child processes; the greenlets of the test run meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from postage.testing.polling import wait_until
from postage.testing.processes import kill_group, orphan_proof

ROOT = Path(__file__).resolve().parents[2]
CRASHES = {-getattr(signal, name) for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")}
"""Exit codes that no program may have, also where a test looks at its output only."""


@dataclass(frozen=True)
class Finished:
    """The exit code and the output of a program."""

    code: int
    stdout: str
    stderr: str


class Program:
    """``with Program("demos/x.py", "argument") as program:`` runs it until the end of the block.

    The arguments are those of the Python interpreter (so ``"-c", code`` and ``"-m", module`` work).
    The working directory is *cwd*, by default the project's root.  *env* is by default the
    environment of the tests, in which the fixture `broker_env` names the broker.  Methods that wait
    switch to the hub; after their time limit they raise AssertionError with all that was written.
    """

    def __init__(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.args = args
        self._cwd = cwd
        ours = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        self._env = dict(os.environ if env is None else env) | ours
        self._folder = tempfile.TemporaryDirectory(prefix="postage-program-")
        self._popen: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Program {' '.join(self.args)[:80]!r}>"

    def __enter__(self) -> Program:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def stdout(self) -> str:
        """The standard output so far."""
        return self._path("stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """The standard error so far."""
        return self._path("stderr").read_text(errors="replace")

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        assert self._popen is not None, f"{self!r} has not been started"
        return self._popen

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    @property
    def running(self) -> bool:
        """Whether the program still runs."""
        return self.popen.poll() is None

    def start(self) -> None:
        """Start the program; the kernel kills it when this process ends, in any way."""
        with self._path("stdout").open("wb") as out, self._path("stderr").open("wb") as err:
            self._popen = subprocess.Popen(
                orphan_proof([sys.executable, *self.args]),
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def wait_for_line(self, text: str, within: float = 10.0) -> str:
        """Wait for a whole line, of either stream, that contains *text*, and return it."""
        self._wait(lambda: self._line(text) or not self.running, within, f"line {text!r}")
        line = self._line(text)
        assert line is not None, self._story(f"ended without writing a line with {text!r}")
        return line

    def wait(self, within: float = 10.0) -> Finished:
        """Wait until the program has ended, and not by a crash; sends no signal."""
        self._wait(lambda: not self.running, within, "end")
        assert self.popen.returncode not in CRASHES, self._story("crashed")
        return Finished(self.popen.returncode, self.stdout, self.stderr)

    def terminate(self, within: float = 10.0) -> Finished:
        """Send SIGTERM and wait until the program has ended."""
        self.popen.terminate()
        return self.wait(within)

    def kill(self) -> None:
        """Kill the program and its children (SIGKILL); no error if they have ended."""
        if self._popen is not None:
            kill_group(self._popen.pid)
            self._popen.wait()

    def _line(self, text: str) -> str | None:
        whole = (written[: written.rfind("\n") + 1] for written in (self.stdout, self.stderr))
        lines = (line for part in whole for line in part.splitlines())
        return next((line for line in lines if text in line), None)

    def _wait(self, check: Callable[[], object], within: float, what: str) -> None:
        try:
            wait_until(check, within, what)
        except AssertionError as late:
            raise AssertionError(self._story(str(late))) from None

    def _story(self, what: str) -> str:
        state = "running" if self.running else f"ended with exit code {self.popen.returncode}"
        streams = f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        return f"{self!r} ({state}): {what}\n{streams}"

    def _path(self, stream: str) -> Path:
        return Path(self._folder.name, stream)


def run_program(
    *args: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    within: float = 30.0,
) -> Finished:
    """Run a Python program to its end, as `Program` does; return its exit code and output."""
    with Program(*args, env=env, cwd=cwd) as program:
        return program.wait(within)
