"""``postage tail``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pika.exceptions
import pytest

from postage.testing.polling import wait_until
from tests.cli.support import PROGRAMS, SOON, postage, running, together
from tests.support.endpoints import exchange
from tests.support.programs import ROOT, Program
from tests.support.raw import Raw, raw_to
from tests.support.terminal import OnTerminal


@pytest.fixture
def raw(broker_env) -> Any:
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


def make(raw: Raw, kind: str) -> str:
    """Make an exchange of that type; return its name."""
    made = exchange(f"cli-tail-{kind}", kind)
    raw.channel.exchange_declare(**made.parameters)
    return made.name


def lines(program: Program) -> list[Any]:
    return [json.loads(line) for line in program.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["topic", "fanout", "headers"])
def test_it_prints_all_messages(raw: Raw, kind: str):
    name = make(raw, kind)
    with running("tail", name, "--count", "3") as program:
        program.wait_for_line("Listening", SOON)
        raw.send(name, "a", b'{"x": 1}', message_id="17")
        raw.send(name, "b.c", "no JSON, ä".encode())
        raw.send(name, "", b"\xff")
        ended = program.wait(SOON)

    assert ended.code == 0
    assert lines_of(ended.stdout) == [
        {"exchange": name, "key": "a", "message_id": "17", "body": {"x": 1}},
        {"exchange": name, "key": "b.c", "text": "no JSON, ä"},
        {"exchange": name, "key": "", "base64": "/w=="},
    ]


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_direct_exchange_needs_the_key(raw: Raw):
    name = make(raw, "direct")

    ended = postage("tail", name)

    assert ended.code == 2
    assert ended.stderr == f"Error: exchange {name!r} is direct: give the KEY to listen to\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_by_the_key_and_takes_no_message_from_others(raw: Raw, number: int):
    name = make(raw, "direct")
    raw.declare("cli-tail-others")
    raw.channel.queue_bind("cli-tail-others", name, "yes")
    with running("tail", name, "yes") as program:
        program.wait_for_line("Listening", SOON)
        raw.send(name, "no", b"1")
        raw.send(name, "yes", b"2")
        program.wait_for_line('"body": 2', SOON)
        program.popen.send_signal(number)
        ended = program.wait(SOON)

    assert (ended.code, ended.stdout.count("\n")) == (0, 1)
    assert raw.take("cli-tail-others").body == b"2"


def tail_into_a_pipe(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "postage", "tail", name]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, cwd=PROGRAMS)


@pytest.mark.parametrize("more", [True, False])
def test_it_ends_when_its_output_is_closed(raw: Raw, more: bool):
    """Also when nothing more comes that could not be written."""
    name = make(raw, "topic")
    tail = tail_into_a_pipe(name)
    assert tail.stdout is not None
    assert tail.stderr is not None
    try:
        assert tail.stderr.readline().startswith("Listening")
        raw.send(name, "key", b"1")
        assert json.loads(tail.stdout.readline())["body"] == 1
        tail.stdout.close()
        if more:
            for _ in range(10):
                # RabbitMQ 4.3 refuses what was routed to a queue that has just been deleted.
                with contextlib.suppress(pika.exceptions.NackError):
                    raw.send(name, "key", b"2")
        wait_until(lambda: tail.poll() is not None, SOON)
        assert (tail.returncode, tail.stderr.read()) == (0, "")
    finally:
        tail.kill()
        tail.wait()
        tail.stderr.close()


UNHEARD = {
    ("cli-misspelt",): (5, "Error: there is no exchange 'cli-misspelt'; --exchange-type TYPE"),
    ("cli-misspelt", "key"): (5, "Error: there is no exchange 'cli-misspelt'"),
    ("fleet:Echo",): (2, "Error: fleet:Echo is no exchange class"),
    (): (2, "Error: Missing argument 'EXCHANGE'"),
}


def test_an_exchange_that_cannot_be_listened_to(broker_env):
    ends = together(*(("tail", *arguments) for arguments in UNHEARD))

    for ended, (code, line) in zip(ends, UNHEARD.values(), strict=True):
        assert (ended.code, ended.stdout) == (code, "")
        assert ended.stderr.splitlines()[-1].startswith(line)


# --- on a terminal


def on_terminal(*arguments: str, env: dict[str, str] | None = None, columns: int) -> OnTerminal:
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "", "NO_COLOR": ""} | (env or {})
    return OnTerminal("-m", "postage", "tail", *arguments, env=env, cwd=PROGRAMS, columns=columns)


BODY = {
    "type": "command",
    "name": "sell",
    "category": "message",
    "version": "2",
    "fingerprint": {"name": "clerk\x1b[2J", "host": "vm"},
    "content": {"parameters": {"item": "x" * 500}},
    "_reserved": {},
}


def test_on_a_terminal_a_message_is_one_line_in_colour(raw: Raw):
    name = make(raw, "topic")
    with on_terminal(name, "--count", "2", columns=100) as terminal:
        terminal.wait_for_line("Listening", SOON)
        raw.send(name, "orders.new", json.dumps(BODY).encode())
        raw.send(name, "binary", b"\xff")
        assert terminal.wait(SOON).code == 0

    first, second = terminal.stdout.splitlines()[1:3]
    where = rf"\d\d:\d\d:\d\d  {name} orders\.new  command sell"
    assert re.fullmatch(rf"{where}  clerk\\x1b\[2J@vm  {{'item': 'x+\.\.\.", first)
    assert len(first) == 100
    assert second.endswith(f"  {name} binary  -  -  /w==")
    assert b"\x1b[36m" in terminal.written
    assert b"\x1b[2J" not in terminal.written


@pytest.mark.parametrize(
    ("options", "env"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})]
)
def test_colours_can_be_refused(raw: Raw, options: list[str], env: dict[str, str]):
    name = make(raw, "topic")
    with on_terminal(name, "--count", "1", *options, env=env, columns=60) as terminal:
        terminal.wait_for_line("Listening", SOON)
        raw.send(name, "key", "ä 漢字".encode())
        assert terminal.wait(SOON).code == 0

    assert b"\x1b[" not in terminal.written
    assert f"  {name} key  -  -  ".encode() in terminal.written


def test_a_terminal_shows_json_on_request(raw: Raw):
    name = make(raw, "topic")
    with on_terminal(name, "--json", "--count", "1", columns=200) as terminal:
        terminal.wait_for_line("Listening", SOON)
        raw.send(name, "key", b'{"x": 1}')
        assert terminal.wait(SOON).code == 0

    found = json.loads(terminal.stdout.splitlines()[1])
    assert found == {"exchange": name, "key": "key", "body": {"x": 1}}
