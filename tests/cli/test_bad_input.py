"""Mistakes in the arguments of commands: each is one line on stderr and an exit code.

Each is found before anything runs, or the broker refuses it, so all of them run in this process.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.support import in_process, postage, running
from tests.support.programs import ROOT, Program

SECRET = "not-the-password"
LONG = "k" * 256

USAGE = {
    ("call", "e", "k", "n", '{"a": '): "SettingsError: '{\"a\": ' is not JSON",
    ("call", "e", "k", "n", "1e999"): "SettingsError: cannot send this as JSON",
    ("call", "e", "k", "n", "--timeout", "1e300"): "Error: Invalid value for '--timeout'",
    ("call", "e", "k", "n", "--retries", "-1"): "Error: Invalid value for '--retries'",
    ("send", "e", "k", "n", "--exchange-type", "odd"): "Error: Invalid value for '--exchange-type'",
    ("tail", "e", "--count", "0"): "Error: Invalid value for '--count'",
    ("ps", "--wait", "0"): "Error: Invalid value for '--wait': '0' is no number of seconds above 0",
    ("ps", "--wait", "soon"): "Error: Invalid value for '--wait'",
    ("describe",): "Error: Missing argument 'NAME'.",
    ("health", "port"): "Error: Invalid value for 'PORT'",
    ("health", "0"): "Error: Invalid value for 'PORT'",
    ("health", "9" * 5000): "Error: Invalid value for 'PORT'",
    ("contract", "check", "-", "-"): "Error: OLD and NEW are both stdin",
    ("health", "::1:8086"): "Error: Invalid value for 'PORT': '::1:8086' is no HOST:PORT; IPv6",
    ("run", "a", "--health", "65536"): "Error: Invalid value for '--health'",
    ("run", "a", "--health", "h:"): "Error: Invalid value for '--health': 'h:' does not end with a",
    ("run", "a", "--health", "http://h:80"): "Error: Invalid value for '--health'",
    ("run", "a", "--health", ":65535", "--workers", "2"): "Error: --health 0.0.0.0:65535: the ",
    ("health", "1", "--timeout", "1e300"): "Error: Invalid value for '--timeout'",
    ("completion", "tcsh"): "Error: Invalid value for '{bash|zsh|fish}'",
    ("broker", "--port", "many"): "Error: Invalid value for '--port'",
    ("check",): "Error: Missing argument 'MODULE[:NAME]...'",
    ("run", "a.py"): "Error: 'a.py' is a file; give the module, as a",
    ("run", "./a/b.py"): "Error: './a/b.py' is a file; give the module, as a.b",
    ("run", "/nowhere/a.py"): "Error: '/nowhere/a.py' is a file; give the module, as a, in its",
}


@pytest.mark.parametrize(
    ("arguments", "line"), USAGE.items(), ids=[" ".join(each)[:60] for each in USAGE]
)
def test_a_mistake_in_usage_is_exit_code_2(capsys, arguments: tuple[str, ...], line: str):
    ended = in_process(capsys, *arguments)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(line)


REFUSED = {
    ("ps", "--url", "amqp://me:SECRET@no-such-host.invalid/"): (3, "BrokerUnreachable: "),
    ("describe", "x", "--url", "amqp://me:SECRET@HOST/"): (3, "AuthenticationFailed: "),
    ("tail", "e", "--url", "amqp://guest:guest@HOST/nowhere"): (3, "VhostRefused: "),
    ("call", "cli-misspelt", "k", "n"): (5, "Error: there is no exchange 'cli-misspelt'; "),
    ("send", "amq.direct", "k", "n", "--exchange-type", "topic"): (5, "TopologyMismatch: "),
    ("call", LONG, "k", "n"): (2, "SettingsError: EXCHANGE must be a text of 0 to 255 bytes"),
    ("tail", "ä" * 128): (2, "SettingsError: EXCHANGE must be a text of 0 to 255 bytes"),
    ("send", "amq.direct", LONG, "n"): (
        2,
        "SettingsError: the key must be a text of 0 to 255 bytes",
    ),
    ("describe", LONG): (2, "SettingsError: the key must be a text of 0 to 255 bytes"),
    ("tail", "amq.direct", LONG): (2, "SettingsError: the key must be a text of 0 to 255 bytes"),
}


@pytest.mark.parametrize(
    ("arguments", "end"), REFUSED.items(), ids=[" ".join(each)[:60] for each in REFUSED]
)
def test_what_a_broker_refuses_is_one_line(broker_env, capsys, monkeypatch, arguments, end):
    host = f"{broker_env.host}:{broker_env.port}"
    monkeypatch.setenv("POSTAGE_URL", broker_env.url)  # which --url replaces
    given = [each.replace("SECRET", SECRET).replace("HOST", host) for each in arguments]
    ended = in_process(capsys, *given)

    code, line = end
    assert (ended.code, ended.stdout) == (code, "")
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1
    assert SECRET not in ended.stderr


def test_a_class_written_as_a_module_is_explained():
    ended = postage("check", "fleet.Echo")

    assert ended.code == 2
    assert ended.stderr == (
        "Error: No module named 'fleet.Echo'; 'fleet' is not a package; "
        "an object in a module is written fleet:Echo\n"
    )


@pytest.fixture
def locked(broker_env):
    with running("run", "locked") as program:
        program.wait_for_line("Running 1 component: Locked.", 20.0)
        yield program


@pytest.mark.behaviour("quit-and-restart")
def test_quit_and_restart_are_refused_without_permission(locked: Program):
    for command in ("quit", "restart"):
        where = ("generic-application-exchange", "locked")
        assert postage("send", *where, command).code == 0
        locked.wait_for_line(f"refused the command {command}")

    assert postage("call", "generic-application-exchange", "locked/rr", "ping").code == 0
    assert locked.running


WRONG_URLS = {
    "rabbit": "must begin with amqp://",
    "amqp://me:SECRET/x@h/": ": a / ? or # in a password",
    "amqp://h:many/": ": port must be a number",
    "amqp://h:99999/": ": port must be from 1 to 65535",
    "amqp://[::1/": ": a host is missing",
    "embedded://me@x": ": embedded:// takes a name",
    "amqp://h/?heartbeet=1": ": unknown option 'heartbeet'",
}


@pytest.mark.parametrize(("url", "text"), WRONG_URLS.items(), ids=range(len(WRONG_URLS)))
def test_the_error_of_a_url_says_where_it_came_from(capsys, monkeypatch, url: str, text: str):
    url = url.replace("SECRET", SECRET)
    monkeypatch.setenv("POSTAGE_URL", "amqp://127.0.0.1:1/")
    option = in_process(capsys, "ps", "--url", url)
    monkeypatch.setenv("POSTAGE_URL", url)
    variable = in_process(capsys, "ps")

    for ended, source in ((option, "--url"), (variable, "POSTAGE_URL")):
        assert ended.code == 2
        assert ended.stderr.startswith(
            (f"SettingsError: {source}{text}", f"SettingsError: {source} {text}")
        )
        assert SECRET not in ended.stderr


ONE_SHOT = {
    ("call", "e", "k", "n"),
    ("send", "e", "k", "n", "--exchange-type", "topic"),
    ("tail", "e"),
    ("ps",),
    ("describe", "someone"),
}


@pytest.mark.parametrize("arguments", sorted(ONE_SHOT), ids=lambda each: each[0])
@pytest.mark.parametrize("url", ["embedded://", "embedded://shop", "embedded://shop/v?heartbeat=9"])
def test_a_command_cannot_use_a_broker_of_its_own(capsys, monkeypatch, arguments, url: str):
    monkeypatch.setenv("POSTAGE_URL", url)
    variable = in_process(capsys, *arguments)
    monkeypatch.delenv("POSTAGE_URL")
    option = in_process(capsys, *arguments, "--url", url)

    for ended in (variable, option):
        assert (ended.code, ended.stdout) == (2, "")
        assert ended.stderr.startswith("Error: embedded://")
        assert "is a broker inside one process, and this command is another" in ended.stderr


@pytest.mark.parametrize("words", ["run a.py", "check fleet", "run fleet --reload"])
def test_a_working_directory_that_was_deleted_is_one_line(tmp_path, words: str):
    command = f"cd {tmp_path}; rmdir {tmp_path}; exec {sys.executable} -m postage {words}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(  # noqa: S602 - our own command
        command, shell=True, check=False, env=env, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Error: the working directory was deleted: change to one that exists\n"
