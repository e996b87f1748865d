"""``postage top``: a terminal shows the fleet, also after a restart of the broker."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import gevent
import pytest

from postage import generic_application, messaging
from postage.cli.fleet.descriptions import COLUMNS
from postage.cli.fleet.terminal import ENDED, pressed_keys
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor
from postage.testing.rabbitmq import RabbitMQNode, free_ports
from tests.cli.support import PROGRAMS, SOON, in_process, postage, running
from tests.support.broker_commands import in_node_thread
from tests.support.programs import ROOT, Program, run_program
from tests.support.terminal import OnTerminal

HOST = socket.gethostname()
ALTERNATE, CURSOR = "?1049", "?25"
"""The private modes by which a program gets a screen of its own, and a cursor."""
WIDE = 160
"""Columns in which the whole table fits."""


def top(*arguments: str, env: dict[str, str] | None = None, **size: int) -> OnTerminal:
    """Return ``postage top`` as a context that runs it on a terminal, by default a wide one."""
    plain = {"TERM": "xterm-256color", "LINES": "", "COLUMNS": ""}
    options = ("--interval", "0.3", *arguments)
    env = os.environ | plain | (env or {})
    size = {"columns": WIDE, **size}
    return OnTerminal("-m", "postage", "top", *options, env=env, cwd=PROGRAMS, **size)


def shows(terminal: OnTerminal, pattern: str, within: float = SOON) -> re.Match[str]:
    """Wait until a line of the screen matches *pattern*; return the match."""
    found: list[re.Match[str]] = []

    def look() -> bool:
        assert terminal.running, terminal.written
        found[:] = filter(None, [re.search(pattern, terminal.stdout, re.MULTILINE)])
        return bool(found)

    try:
        wait_until(look, within)
    except AssertionError:
        raise AssertionError(f"no {pattern!r} in:\n{terminal.stdout}") from None
    return found[0]


def modes(terminal: OnTerminal) -> dict[str, bool]:
    """Return whether each of the private modes is on, by the last escape sequence."""
    switches = re.findall(rb"\x1b\[(\?\d+)([hl])", terminal.written)
    return {mode.decode(): switch == b"h" for mode, switch in switches}


# --- the screen


@pytest.fixture(scope="module")
def fleet(broker_env: Any) -> Iterator[Program]:
    with running("run", "fleet:two") as program:
        program.wait_for_line("Running", SOON)
        yield program


class Boss(messaging.GenericProducer):
    eks = ((generic_application.GenericApplicationExchange, "monitor/rr"),)


def test_it_shows_the_applications_and_their_rates(fleet: Program):
    def work() -> None:
        boss = Boss()
        while True:
            boss.rpc_load()
            gevent.sleep(0.02)

    with top() as terminal:
        shows(
            terminal, r"^postage top @\S+: 2 here, 0 gone, 0\.0 messages a second, as of \d\d:\d\d:"
        )
        assert tuple(terminal.screen.display[2].split()) == COLUMNS
        for number in (0, 1):
            shows(
                terminal, rf"^monitor  {fleet.pid}\.{number}@{HOST}  0\.0 .* blue +fleet\.Monitor$"
            )
        driver = gevent.spawn(work)
        for number in (0, 1):
            shows(terminal, rf"^monitor  {fleet.pid}\.{number}@{HOST}  [1-9]")
        driver.kill()
        shows(terminal, r"2 here, 0 gone, 0\.0 messages a second")


def test_the_documentation_shows_such_a_screen():
    page = (ROOT / "docs" / "cli.md").read_text()

    screen = re.search(r"^    postage top @vm: \d here, .*\n\n    (.*)\n", page, re.MULTILINE)
    assert screen
    assert tuple(screen[1].split()) == COLUMNS


def test_keys_sort_show_help_and_reverse(fleet: Program):
    first, second = (rf"monitor  {fleet.pid}\.{number}@" for number in (0, 1))
    with top("--sort", "key") as terminal:
        shows(terminal, rf"^NAME .*\n{first}.*\n{second}")
        terminal.type(b"r")
        shows(terminal, rf"^NAME .*\n{second}.*\n{first}")
        terminal.type(b"<>")  # by another column and back, which is not reversed
        shows(terminal, rf"^NAME .*\n{first}.*\n{second}")
        column = terminal.screen.display[2].index("KEY")
        wait_until(lambda: terminal.screen.buffer[2][column].underscore, SOON)
        assert not terminal.screen.buffer[2][0].underscore
        terminal.type(b"?")
        shows(terminal, r"^Keys$")
        assert not any("monitor" in line for line in terminal.screen.display)
        terminal.type(b"x")
        shows(terminal, rf"^NAME .*\n{first}.*\n{second}")
        terminal.type(b"?q")
        assert terminal.wait(SOON).code == 0


def test_an_unknown_column_is_exit_code_2(capsys: Any):
    ended = in_process(capsys, "top", "--sort", "colour")

    assert ended.code == 2
    assert "--sort" in ended.stderr


@pytest.mark.parametrize("options", [(), ("--no-color",)])
def test_what_deserves_a_look_is_coloured(run_processor: RunProcessor, options: tuple[str, ...]):
    app = run_processor(Odd, {"name": "coloured"})
    app.counts["failed"] = 3
    with top("coloured", *options, env={"NO_COLOR": "", "COLORTERM": ""}) as terminal:
        shows(terminal, r"^coloured .* 3 ")
        column = terminal.screen.display[2].index("FAILED")
        assert terminal.screen.display[3][column] == "3"
        colour = terminal.screen.buffer[3][column].fg

    assert colour == ("default" if options else "red")
    assert bool(re.findall(rb"\x1b\[31m", terminal.written)) is not bool(options)


def test_it_takes_a_key(fleet: Program):
    with top("nobody") as terminal:
        shows(terminal, r"^postage top nobody: 0 here, 0 gone")


class Odd(generic_application.GenericApplication):
    """Has a name with control characters and with the markup of rich."""


def test_an_app_that_has_gone_shows_without_control_characters(run_processor: RunProcessor):
    name = "odd\x1b[2J[red]\u202e"
    with top(name) as terminal:
        run_processor(Odd, {"name": name})
        row = shows(terminal, r"^odd\?\[2J\[red\]\?  .*").group()
        assert "gone" not in row
        run_processor.stop()
        shows(terminal, r"^odd\?\[2J\[red\]\?  .* gone ")
        shows(terminal, r"0 here, 1 gone")


def test_it_survives_a_resize(fleet: Program):
    with top(columns=WIDE - 10, lines=30) as terminal:
        shows(terminal, r"fleet\.Monitor$")
        terminal.resize(20, 4)
        shows(terminal, r"^NAME  KEY .*…\n\.\.\. and 2 more$")
        terminal.resize(WIDE, 30)
        shows(terminal, r"fleet\.Monitor$")
        terminal.resize(10, 1)
        shows(terminal, r"^postage t…$")
        terminal.resize(WIDE, 30)
        shows(terminal, r"fleet\.Monitor$")


def test_it_redraws_without_clearing(fleet: Program):
    """A screen that is cleared before it is drawn flickers."""
    with top() as terminal:
        shows(terminal, r"fleet\.Monitor$")
        wait_until(lambda: terminal.written.count(b"\x1b[H") > 5, SOON)

    cleared = re.findall(rb"\x1b\[\d?[JK]", terminal.written)
    assert not cleared
    assert terminal.written.count(b"\x1b[?1049h") == 1


@pytest.mark.parametrize(
    "environment", [{"TERM": "vt100"}, {"NO_COLOR": "1", "LC_ALL": "C"}], ids=str
)
def test_it_needs_neither_colour_nor_unicode(fleet: Program, environment):
    with top(env=environment, columns=50) as terminal:
        shows(terminal, r"^monitor ")

    assert not re.findall(rb"\x1b\[[34]\d", terminal.written)


# --- how it ends


ENDS: dict[str, Callable[[OnTerminal], object]] = {
    "q": lambda terminal: terminal.type(b"q"),
    "Q": lambda terminal: terminal.type(b"Q"),
    "Ctrl-C": lambda terminal: terminal.type(b"\x03"),
    "Ctrl-backslash": lambda terminal: terminal.type(b"\x1c"),
    "SIGTERM": lambda terminal: terminal.popen.terminate(),
    "SIGHUP": lambda terminal: terminal.popen.send_signal(signal.SIGHUP),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_terminal_is_restored_at_every_end(fleet: Program, end: Callable[..., object]):
    with top() as terminal:
        before = terminal.settings
        shows(terminal, r"fleet\.Monitor$")
        assert modes(terminal) == {ALTERNATE: True, CURSOR: False}
        assert terminal.settings != before
        terminal.type(b"x\x1b[A")  # no key of ours
        end(terminal)
        assert terminal.wait(SOON).code == 0
        assert modes(terminal) == {ALTERNATE: False, CURSOR: True}
        assert terminal.settings == before


@pytest.mark.limit(10)
def test_a_key_discarded_by_ctrl_c_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    """The kernel reports a key, Ctrl-C discards it, and only then do we read."""
    ours, theirs = pty.openpty()
    with open(theirs) as terminal:  # noqa: PTH123 - it is a descriptor
        monkeypatch.setattr(sys, "stdin", terminal)
        keys: list[str] = []
        with pressed_keys(keys.append):
            assert os.read(theirs, 1) == b""
            os.write(ours, b"k")
            wait_until(lambda: keys == ["k"], SOON)
            os.close(ours)
            wait_until(lambda: keys == ["k", ENDED], SOON)


def test_it_can_be_suspended(fleet: Program):
    def is_stopped() -> bool:
        stat = Path(f"/proc/{terminal.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    with top() as terminal:
        before = terminal.settings
        shows(terminal, r"fleet\.Monitor$")
        terminal.type(b"\x1a")  # Ctrl-Z
        wait_until(is_stopped, SOON)
        wait_until(lambda: modes(terminal) == {ALTERNATE: False, CURSOR: True}, SOON)
        assert terminal.settings == before
        terminal.screen.reset()
        terminal.popen.send_signal(signal.SIGCONT)
        shows(terminal, r"fleet\.Monitor$")
        assert modes(terminal) == {ALTERNATE: True, CURSOR: False}
        terminal.type(b"q")
        assert terminal.wait(SOON).code == 0


# --- a broker that is restarted


class KillableBroker(Protocol):
    """A broker that a test may kill."""

    url: str

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Embedded(Program):
    """``postage broker``, always on the same port."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        super().__init__("-m", "postage", "broker", "--port", str(port))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"

    def start(self) -> None:
        super().start()
        self.wait_for_line("is ready", SOON)


class RabbitMQ(RabbitMQNode):
    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        in_node_thread(super().start)

    def kill(self) -> None:
        in_node_thread(super().kill)


@pytest.fixture
def killable(_postage_chosen: str) -> Iterator[KillableBroker]:
    with RabbitMQ() if _postage_chosen == "rabbitmq" else Embedded() as broker:
        yield broker


@pytest.mark.limit(120)
def test_it_survives_a_restart_of_the_broker(killable: KillableBroker):
    at = ("--url", killable.url)
    with running("run", "fleet:two", *at) as fleet, top(*at) as terminal:
        fleet.wait_for_line("Running", SOON)
        shows(terminal, r"2 here, 0 gone")

        killable.kill()
        trouble = shows(terminal, r"^Trying again: .*").group()
        assert "lost" in trouble or "BrokerUnreachable" in trouble
        shows(terminal, r"^monitor .*\nmonitor ")  # as last seen
        killable.start()

        shows(terminal, r"2 here, 0 gone.*\n\nNAME .*\nmonitor .*\nmonitor ", 60.0)
        terminal.type(b"q")
        assert terminal.wait(SOON).code == 0
        assert b"Traceback" not in terminal.written


def test_it_can_be_ended_while_there_is_no_broker(broker_env: Any):
    with Embedded() as broker, top("--url", broker.url) as terminal:
        shows(terminal, r"0 here, 0 gone")
        broker.kill()
        shows(terminal, r"^Trying again: ")
        terminal.type(b"q")
        assert terminal.wait(SOON).code == 0


# --- errors


def test_without_rich_it_says_what_to_install():
    code = (
        "import sys; sys.modules['rich'] = None; from postage.cli import main\n"
        "sys.exit(main(['top']))"
    )
    ended = run_program("-c", code)

    assert (ended.code, ended.stdout) == (2, "")
    assert (
        ended.stderr
        == "Error: `postage top` needs rich: in a checkout of Postage, pip install '.[top]'\n"
    )


def test_without_a_terminal_it_names_ps_instead():
    ended = postage("top")

    assert (ended.code, ended.stdout) == (2, "")
    assert re.fullmatch(r"Error: .* needs a terminal.*`postage ps` .*\n", ended.stderr)


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_is_exit_code_2(name: str):
    with top(env={"TERM": name}) as terminal:
        assert terminal.wait(SOON).code == 2

    assert re.fullmatch(rb"Error: TERM=\w*: .* `postage ps` .*\r\n", terminal.written)


def test_without_a_broker_it_is_a_line_and_exit_code_3():
    with top("--url", "amqp://me:secret@127.0.0.1:1/") as terminal:
        assert terminal.wait(SOON).code == 3

    assert re.fullmatch(rb"BrokerUnreachable: [^\r\n]*\r\n", terminal.written)
    assert b"secret" not in terminal.written


@pytest.mark.parametrize("interval", ["0", "-1", "often", "inf"])
def test_an_interval_that_cannot_be_waited_is_exit_code_2(capsys: Any, interval: str):
    ended = in_process(capsys, "top", "--interval", interval)

    assert ended.code == 2
    assert "--interval" in ended.stderr
