"""The command ``postage`` as a process, run in the folder of the modules that it imports."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent.monkey
import pytest

from postage.cli import main
from postage.testing.polling import wait_until
from tests.support.programs import ROOT, Finished, Program, run_program

PROGRAMS = ROOT / "tests" / "cli" / "programs"
#: Seconds for a process to start, connect and print something, on a busy machine.
SOON = 20.0


def running(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path = PROGRAMS) -> Program:
    """Return ``postage ...`` as a context that runs it."""
    return Program("-m", "postage", *arguments, env=env, cwd=cwd)


def postage(*arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run ``postage ...`` and wait for its end."""
    return run_program("-m", "postage", *arguments, env=env, cwd=PROGRAMS)


def together(*commands: Sequence[str]) -> list[Finished]:
    """Run several commands at the same time, and wait for the end of all."""
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(running(*arguments)) for arguments in commands]
        return [program.wait(SOON) for program in programs]


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> Finished:
    """Run ``postage ...`` in this process, which is faster: for commands that end at once.

    Not for those that import the user's code, because they patch the standard library before.
    """
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert not gevent.monkey.is_anything_patched(), arguments
    return Finished(code, *capsys.readouterr())


def answer_of(*arguments: str) -> Any:
    """Return the JSON that ``postage ...`` prints; the command must succeed."""
    ended = postage(*arguments)
    assert (ended.code, ended.stderr) == (0, ""), ended
    return json.loads(ended.stdout)


def with_url(url: str) -> dict[str, str]:
    """Return an environment in which only *url* names the broker."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("POSTAGE_")}
    return inherited | {"POSTAGE_URL": url}


def children(pid: int) -> dict[int, str]:
    """Return the children of a process, each with its state: ``Z`` is a zombie."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found[int(stat.parent.name)] = state
    return found


def wait_for_end(pids: list[int], within: float = SOON) -> None:
    """Wait until all processes have ended."""
    wait_until(lambda: not any(map(runs, pids)), within, f"the end of {pids}")


def runs(pid: int) -> bool:
    """Tell whether the process *pid* runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
