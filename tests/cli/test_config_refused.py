"""Configuration files that cannot be used: one line that names the file, and quotes no secret."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postage.cli.exits import install_line
from postage.cli.running.config_file import MOST_IN_FILE, MOST_IN_TABLES
from tests.cli.support import PROGRAMS, in_process
from tests.support.programs import run_program

Write = Callable[..., Path]
SECRET = "not-the-password"
COMMANDS = [("run", "no_such_module"), ("config", "show")]
both = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)

RUN, SETTINGS = "[run]\n", "[settings]\n"
URL = f"{RUN}url = 'amqp://a:{SECRET}@h'\n"
REFUSED = {
    # the form of the file
    "run = 5": ": run must be a table",
    "[[run]]": ": run must be a table",
    "[runs]": ": runs is unknown; did you mean run?",
    "[zzz]": ": zzz is unknown; known are run, settings",
    f"password = {SECRET}": " is no TOML: Invalid value (at line 1, column 12)",
    f"password = '{SECRET}": " is no TOML: ",
    f"'{SECRET}'": " is no TOML: ",
    f"a = {'9' * 5000}": " is no TOML: ",
    f"a = {'[' * 20_000}": " is no TOML: it nests too deep",
    # keys
    "workers = 1": ": workers is unknown; did you mean run.workers?",
    f"{RUN}wokers = 1": ": run.wokers is unknown; did you mean run.workers?",
    f"{RUN}heartbeat = 1": ": run.heartbeat is unknown; did you mean settings.heartbeat?",
    f"{RUN}log_jsn = 1": ": run.log_jsn is unknown; did you mean run.log-json?",
    f"{RUN}worker = '0:1'": ": run.worker is unknown; did you mean run.workers?",
    f"{RUN}xyzzy = 1": ": run.xyzzy is unknown; known are targets, url, embedded, wait, workers",
    f"{SETTINGS}wait_for_broker = true": (
        ": settings.wait_for_broker is unknown; did you mean run.wait?"
    ),
    f"{SETTINGS}other_hosts = []": ": settings.other_hosts is unknown; did you mean settings.host?",
    f"{RUN}log-json = true\nlog_json = true": (
        ": run.log_json and postage.toml: run.log-json are the same key: remove one"
    ),
    # types
    f"{RUN}workers = true": ": run.workers must be a number",
    f"{RUN}workers = [1]": ": run.workers must be a number",
    f"{RUN}workers = 2024-01-01": ": run.workers must be a number",
    f"{RUN}targets = 'a'": ": run.targets must be a list of texts",
    f"{RUN}targets = [1]": ": run.targets must be a list of texts",
    f"{RUN}log-json = 1": ": run.log-json must be true or false",
    f"{RUN}log-json = 'maybe'": ": run.log-json must be true or false",
    f"{RUN}log-level = 1": ": run.log-level must be a text",
    f"{RUN}remote-control = true": ": run.remote-control must be a text, or a list of texts",
    f"{RUN}url = ['{SECRET}']": ": run.url must be a text",
    f"{SETTINGS}password = ['{SECRET}']": ": settings.password must be a text",
    f"{SETTINGS}heartbeat = true": ": settings.heartbeat must be a number",
    # values
    f"{RUN}workers = 'four'": ": run.workers: 'four' is not a valid integer range",
    f"{RUN}workers = 2.5": ": run.workers: '2.5' is not a valid integer range",
    f"{RUN}workers = 0": ": run.workers: 0 is not in the range 1<=x<=1000",
    f"{RUN}shutdown-timeout = inf": ": run.shutdown-timeout: 'inf' is no number of seconds above",
    f"{RUN}health = 65536": ": run.health: '65536' does not end with a port from 0 to 65535",
    f"{RUN}log-level = 'loud'": ": run.log-level: 'loud' is not one of 'debug', 'info'",
    f"{RUN}remote-control = ['a', '']": ": run.remote-control: a user in the rule must be",
    f"{SETTINGS}heartbeat = 2.5": ": settings.heartbeat must be an int from 0 to 65535",
    f"{SETTINGS}verify = 'maybe'": ": settings.verify must be true or false",
    f"{RUN}url = 'http://a:{SECRET}@h'": ": run.url must begin with amqp://",
    f"{RUN}url = 'amqp://a:{SECRET}/x@h'": ": run.url: a / ? or # in a password is written %2F",
    f"{URL}embedded = true": ": run.url and postage.toml: run.embedded name two brokers",
    f"{URL}url-file = '/x'": ": run.url and postage.toml: run.url-file set the same thing",
    f"{RUN}url-file = '/nowhere'": ": run.url-file: cannot read '/nowhere': No such file",
    f"{SETTINGS}password-file = '.'": ": settings.password-file: '.' is no regular file",
    f'{SETTINGS}password-file = "a\\u0000b"': ": settings.password-file: cannot read 'a\\x00b'",
    # references
    f"{RUN}workers = '${{NONE}}'": ": run.workers: the environment variable NONE is not set",
    f"{RUN}workers = '${{}}'": ": run.workers: ${ begins no reference such as ${NAME}",
    f"{RUN}url = 'amqp://a:${{NONE}}@h'": ": run.url: the environment variable NONE is not set",
    f"{SETTINGS}password = '${{NONE}}'": ": settings.password: the environment variable NONE is",
    f"{RUN}workers = '${{P}}'": ": run.workers: '${P}' stands for a value that cannot be used here",
    f"{RUN}log-level = '${{P}}'": ": run.log-level: '${P}' stands for a value that cannot be used",
    f"{RUN}log-json = '${{P}}'": ": run.log-json must be true or false",
    f"{RUN}url = '${{P}}'": ": run.url must begin with amqp://",
    f"{RUN}url = '${{P}}://h'": ": run.url must begin with amqp://",
    f"{RUN}url = 'amqp://h:${{P}}/'": ": run.url: port must be a number",
    f"{RUN}url = 'amqp://h?${{P}}=1'": ": run.url: unknown option; known: heartbeat",
    f"{RUN}url = 'amqp://h?heartbeat=${{P}}'": ": run.url: heartbeat: this is no heartbeat",
    f"{SETTINGS}heartbeat = '${{P}}'": ": settings.heartbeat: this is no heartbeat that can",
    f"{SETTINGS}port = '${{P}}'": ": settings.port: port must be from 1 to 65535",
    f"{SETTINGS}vhost = '{'${P}' * 20}'": ": settings.vhost: this is no vhost that can be used",
}
"""What the file says, and how the line about it goes on after the name of the file."""


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:50])
def test_a_wrong_file_is_one_line_that_names_the_place(write: Write, capsys, monkeypatch, text):
    monkeypatch.setenv("P", SECRET)
    write(text)

    ended = in_process(capsys, "config", "show")

    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"SettingsError: postage.toml{REFUSED[text]}")
    assert SECRET not in ended.stderr


PROCESSES = [("run", "fleet:Echo"), ("run", "fleet:Echo", "--workers", "2"), ("config", "show")]


@pytest.mark.parametrize("command", PROCESSES, ids=" ".join)
@pytest.mark.parametrize(
    "text",
    [
        f"password = '{SECRET}",
        f"{RUN}wokers = '{SECRET}'",
        f"{RUN}log-level = '${{P}}'",
        f"{RUN}url = 'amqp://a:${{P}}@h?heartbeat=${{P}}'",
        f"{SETTINGS}password-file = 'secret'",
    ],
)
def test_a_process_prints_no_secret(write: Write, monkeypatch, command, text: str):
    monkeypatch.setenv("P", SECRET)
    write(SECRET * 10_000, "secret")
    folder = write(text).parent
    shutil.copy(PROGRAMS / "fleet.py", folder)

    ended = run_program("-m", "postage", *command, cwd=folder)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("SettingsError: postage.toml")
    assert SECRET not in ended.stderr


def make_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


ODD = {
    "folder": (Path.mkdir, "postage.toml is no regular file"),
    "pipe": (os.mkfifo, "postage.toml is no regular file"),
    "dangling link": (
        lambda path: path.symlink_to("nowhere"),
        "cannot read postage.toml: No such file or directory",
    ),
    "no UTF-8": (
        make_bytes(f"a = '{SECRET}\udcff'".encode(errors="surrogateescape")),
        "postage.toml is no TOML: it is not UTF-8",
    ),
    "huge": (
        make_bytes(f"a = '{SECRET * MOST_IN_FILE}'".encode()),
        f"postage.toml has more than {MOST_IN_FILE} bytes",
    ),
}


@both
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_file_of_text_is_refused(write: Write, capsys, command, name: str):
    make, line = ODD[name]
    make(Path("postage.toml"))

    ended = in_process(capsys, *command)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == f"SettingsError: {line}\n"


@both
@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
        (".", ". is no regular file"),
        ("", "--config names no file"),
        ("pyproject.toml", "pyproject.toml has no table [tool.postage]"),
    ],
)
def test_a_named_file_must_exist(write: Write, capsys, command, given: str, line: str):
    write("[tool.other]", "pyproject.toml")

    ended = in_process(capsys, *command, "--config", given)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"SettingsError: {line}")


@both
def test_the_table_of_a_project_must_be_one(write: Write, capsys, command):
    write(f"tool.postage = '{SECRET}'", "pyproject.toml")

    ended = in_process(capsys, *command)

    assert ended.code == 2
    assert ended.stderr == "SettingsError: pyproject.toml: tool.postage must be a table\n"


def test_a_target_that_is_none_is_named(write: Write, capsys):
    write(f"{RUN}targets = ['a', 'b/c.py', '${{P}}']")

    ended = in_process(capsys, "run")

    assert ended.code == 2
    assert ended.stderr.startswith("SettingsError: postage.toml: run.targets: ")


def test_without_a_target_the_command_says_where_it_may_stand(write: Write, capsys):
    ended = in_process(capsys, "run")

    assert ended.code == 2
    assert ended.stderr.splitlines()[-1] == (
        "Error: Missing argument 'MODULE[:NAME]...', and no configuration file names targets."
    )


def test_the_port_of_the_last_worker_must_exist(write: Write, capsys):
    write(f"{RUN}targets = ['a']\nhealth = 65535\nworkers = 2")

    ended = in_process(capsys, "run")

    assert (ended.code, ended.stderr) == (
        2,
        "Error: postage.toml: run.health 127.0.0.1:65535: the last worker would need port 65536\n",
    )


def test_tables_that_no_variable_can_hold_are_refused(write: Write, capsys):
    """Of workers; a single process can have them."""
    targets = ["no_such_module"] * (MOST_IN_TABLES // len("no_such_module"))
    path = write(f"{RUN}targets = {targets}\nworkers = 1\nembedded = true")

    ended = run_program("-m", "postage", "run", cwd=path.parent)

    line = "the tables of Postage have more than 100000 characters as JSON"
    assert (ended.code, ended.stderr) == (2, f"SettingsError: postage.toml: {line}\n")


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="Python has a parser of its own")
def test_without_a_parser_the_command_says_what_to_install(write: Write, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomli", None)
    write(f"{RUN}workers = 2")

    ended = in_process(capsys, "config", "show")

    assert ended.code == 2
    assert ended.stderr == f"Error: reading postage.toml needs tomli: {install_line('cli')}\n"
