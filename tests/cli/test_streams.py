"""The streams of commands: full disks, pipes without a reader, closed streams, terminals."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.cli.support import PROGRAMS, SOON, postage, running, with_url
from tests.support.endpoints import exchange
from tests.support.programs import ROOT, Program
from tests.support.raw import raw_to

#: Every command that prints results, with arguments for which it has some.
COMMANDS = {
    "help": ("--help",),
    "help of run": ("run", "--help"),
    "call": ("call", "cli-fleet", "echo", "echo", "5"),
    "ps": ("ps", "monitor", "--wait", "0.3"),
    "describe": ("describe", "monitor"),
    "tail": ("tail", "cli-fleet", "unheard"),
    "health": ("health", "PORT"),
    "check": ("check", "fleet"),
    "broker": ("broker", "--port", "0"),
    "completion": ("completion", "zsh"),
    "holding": ("run", "holding:Plain"),
    "stubs": ("contract", "stubs", "-"),
    "top": ("top", "monitor"),
}
FULL = "Error: cannot write to stdout: No space left on device\n"


@pytest.fixture(scope="module", autouse=True)
def fleet(broker_env) -> Iterator[Program]:
    with running("run", "fleet", "--health", "0") as program:
        program.wait_for_line("Running 2 components", SOON)
        yield program


class Started:
    """Commands as processes with streams of their own; the end of the block kills them."""

    def __init__(self, fleet: Program) -> None:
        self._port = fleet.stderr.partition("http://127.0.0.1:")[2].partition("/")[0]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Started:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(
        self, what: str, *, through: Sequence[str] = (), **streams: Any
    ) -> subprocess.Popen[str]:
        words = [self._port if word == "PORT" else word for word in COMMANDS[what]]
        given = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE} | streams
        env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        command = [*through, sys.executable, "-m", "postage", *words]
        popen = subprocess.Popen(command, text=True, cwd=PROGRAMS, env=env, **given)
        self._stack.enter_context(popen)
        self._stack.callback(popen.kill)
        return popen


@pytest.fixture
def start(fleet: Program) -> Iterator[Started]:
    with Started(fleet) as started:
        yield started


def end_of(popen: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of *popen*; return its exit code, and its stderr."""
    wait_until(lambda: popen.poll() is not None, SOON)
    return popen.returncode, popen.stderr.read() if popen.stderr else ""


def test_a_full_disk_is_a_line_and_exit_code_1(start: Started):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - no path of anybody's
        what = ("help", "ps", "check", "broker")
        ends = [end_of(popen) for popen in [start(each, stdout=full) for each in what]]

    assert ends == [(1, FULL)] * len(what)


def test_a_full_disk_ends_tail(start: Started, broker_env):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - as above
        popen = start("tail", stdout=full)
    assert popen.stderr is not None
    assert popen.stderr.readline().startswith("Listening")
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.send("cli-fleet", "unheard", b"1")

    assert end_of(popen) == (1, FULL)


def test_a_closed_pipe_is_no_error(start: Started):
    """For `tail`, which prints over time, see test_tail.py."""
    reading, writing = os.pipe()
    os.close(reading)
    what = ("help of run", "call", "health", "describe", "completion")
    all_ = [start(each, stdout=writing) for each in what]
    os.close(writing)

    assert [end_of(popen) for popen in all_] == [(0, "")] * len(what)


def test_closed_streams_are_no_error(start: Started):
    shell = ("sh", "-c", 'exec "$@" <&- >&-', "sh")
    what = ("help", "ps", "call", "tail")
    *ends, of_tail = [end_of(popen) for popen in [start(each, through=shell) for each in what]]

    assert ends == [(0, "")] * len(ends)
    assert of_tail == (0, "Listening to 'cli-fleet' by 'unheard'.\n")


@pytest.mark.parametrize("what", ["help", "ps"])
def test_nothing_is_coloured_on_a_terminal(start: Started, what: str):
    ours, theirs = pty.openpty()
    popen = start(what, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    printed = all_of(ours)

    assert end_of(popen)[0] == 0
    assert len(printed.splitlines()) > 1
    assert "\x1b" not in printed


def all_of(terminal: int) -> str:
    """Read *terminal* until every other process has closed it; close it too."""
    parts = []
    with os.fdopen(terminal, "rb", buffering=0) as opened:
        while True:
            wait_until(lambda: bool(select.select([opened], [], [], 0)[0]), SOON)
            try:
                parts.append(opened.read(65536))
            except OSError:  # Linux reports it when all others have closed the terminal
                return b"".join(parts).decode()


class Caller(messaging.GenericProducer):
    eks = ((exchange("cli-fleet", "topic"), "echo"),)


@pytest.fixture
def interrupt() -> Iterator[None]:
    """Let SIGINT end programs, also if a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_call_without_a_word(fleet: Program, interrupt: None):
    """The signal itself ends it, so that a shell ends its loop as well."""
    with running("call", "cli-fleet", "echo", "wait", "30") as program:
        wait_until(lambda: Caller().rpc_waiting().value == 1, SOON)
        program.popen.send_signal(signal.SIGINT)
        ended = program.wait(SOON)

    assert (ended.code, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_ends_the_wait_for_a_broker(interrupt: None):
    with running("run", "fleet:Echo", env=with_url("amqp://127.0.0.1:1/")) as program:
        program.wait_for_line("No connection for consuming", SOON)
        program.popen.send_signal(signal.SIGINT)
        ended = program.wait(SOON)

    assert ended.code == -signal.SIGINT
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_a_full_or_closed_stderr_keeps_the_exit_code(stderr: str):
    command = f"{sys.executable} -m postage run nosuch {stderr}"

    assert subprocess.run(command, shell=True, check=False, cwd=PROGRAMS).returncode == 2  # noqa: S602


CLOSED = ("sh", "-c", 'exec "$@" <&- >&-', "sh")


def test_what_needs_stdin_says_so(start: Started):
    ends = [end_of(popen) for popen in [start(each, through=CLOSED) for each in ("top", "stubs")]]

    assert [code for code, _ in ends] == [2, 2]
    assert ends[0][1].startswith("Error: `postage top` needs a terminal")
    assert ends[1][1] == "Error: stdin is closed, so no contract can be read from it\n"


def test_tail_without_stderr_prints_messages_alone(start: Started, broker_env):
    shell = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    popen = start("tail", through=shell, stdout=subprocess.PIPE)
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        while not select.select([popen.stdout], [], [], 0.1)[0]:
            raw.send("cli-fleet", "unheard", b"1")
    assert popen.stdout is not None
    assert popen.stdout.readline().startswith('{"exchange": "cli-fleet", ')


class Holder(messaging.GenericProducer):
    eks = ((exchange("cli-holding", "direct"), "plain"),)
    rpc_timeout, max_retry = SOON, 0


def test_a_flight_record_that_nobody_reads_harms_no_handler(start: Started):
    reading, writing = os.pipe()
    popen, holder = start("holding", stderr=writing), Holder()
    os.close(writing)
    wait_until(lambda: holder.rpc_hold(0).value == "done", SOON)
    os.close(reading)
    call = holder.rpc_hold.later(0.5)
    while not call.ready():
        popen.send_signal(signal.SIGUSR1)
        gevent.sleep(0.05)

    assert call.get().value == "done"


def test_letters_that_stdout_lacks_are_escaped():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = postage("explain", env=env)

    assert (ended.code, ended.stderr) == (0, "")
    assert "The connection for \\u2026 is lost; reconnecting\n" in ended.stdout
