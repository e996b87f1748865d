"""Python programs as child processes with a time limit, while the greenlets of a test go on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from postage.testing.polling import wait_until
from postage.testing.processes import kill_group, orphan_proof

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finished:
    """How a program ended and what it wrote."""

    code: int
    stdout: str
    stderr: str


class Program:
    """``with Program("demos/x.py", "argument") as program:`` starts it; leaving the block ends it.

    The arguments are those of the Python interpreter (so ``"-c", code`` and ``"-m", module`` work),
    the working directory is *cwd*, by default the project's root, *env* defaults to the environment
    of the tests, which inside `broker_env` names the broker.  Waiting methods switch to the hub and
    raise AssertionError, with all that the program wrote, when their time is over.
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
        """What the program wrote to its standard output so far."""
        return self._path("stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What the program wrote to its standard error so far."""
        return self._path("stderr").read_text(errors="replace")

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The process, for what this class does not offer."""
        assert self._popen is not None, f"{self!r} has not been started"
        return self._popen

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self.popen.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self.popen.poll() is None

    def start(self) -> None:
        """Start the program; it is killed with this process, however this process ends."""
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
        """Return the first whole line, of either stream, that contains *text*."""
        self._wait(lambda: self._line(text) or not self.running, within, f"line {text!r}")
        line = self._line(text)
        assert line is not None, self._story(f"ended without writing a line with {text!r}")
        return line

    def wait(self, within: float = 10.0) -> Finished:
        """Wait for the end of the program, of its own accord or because of a signal sent before."""
        self._wait(lambda: not self.running, within, "end")
        return Finished(self.popen.returncode, self.stdout, self.stderr)

    def terminate(self, within: float = 10.0) -> Finished:
        """Ask the program to end (SIGTERM) and wait until it has."""
        self.popen.terminate()
        return self.wait(within)

    def kill(self) -> None:
        """End the program and its own children at once (SIGKILL); fine when it has ended."""
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
    """Run a Python program to its end, as `Program` does, and return how it ended."""
    with Program(*args, env=env, cwd=cwd) as program:
        return program.wait(within)
