"""The configuration file of ``postage run``: what it may say, and what beats it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from postage.cli.commands.run import command
from postage.cli.running.config_file import ConfigFile
from postage.settings import Settings, live
from tests.cli.support import SOON, in_process
from tests.support.programs import run_program

Write = Callable[..., Path]


@contextmanager
def parsed(*arguments: str) -> Iterator[click.Context]:
    """Parse the command line of ``postage run``, and let its settings be in use."""
    with command.make_context("run", list(arguments)) as ctx:
        yield ctx


# --- where the file is


def test_the_file_in_the_working_directory_is_read(write: Write):
    write("[run]\nworkers = 3")

    with parsed() as ctx:
        assert ctx.params["workers"] == 3


def test_a_byte_order_mark_is_no_part_of_the_file(write: Write):
    write("\ufeff[run]\nworkers = 3")

    with parsed() as ctx:
        assert ctx.params["workers"] == 3


def test_the_table_of_a_project_is_read(write: Write):
    write("[tool.postage.run]\nworkers = 3\n[tool.postage.settings]\nvhost = 'v'", "pyproject.toml")

    with parsed() as ctx:
        assert (ctx.params["workers"], Settings.resolve().vhost) == (3, "v")


def test_a_file_of_its_own_hides_the_project(write: Write):
    write("[tool.postage.run]\nworkers = 3", "pyproject.toml")
    write("")

    with parsed() as ctx:
        assert ctx.params["workers"] is None


def test_a_named_file_hides_both(write: Write):
    write("[tool.postage.run]\nworkers = 3", "pyproject.toml")
    write("[run]\nworkers = 4")
    other = write("[run]\nworkers = 5", "etc/other.toml")

    for given, expected in {other: 5, Path("etc/other.toml"): 5, Path("pyproject.toml"): 3}.items():
        with parsed("--config", str(given)) as ctx:
            assert ctx.params["workers"] == expected


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool.other]\nrun = 1"])
def test_a_project_without_the_table_has_no_file(write: Write, text: str):
    write(text, "pyproject.toml")

    with parsed() as ctx:
        assert ctx.obj.file == ConfigFile()


def test_help_and_completion_work_beside_a_broken_file(write: Write, capsys, monkeypatch):
    write("[run]\nworkers = ")

    assert in_process(capsys, "run", "--help").code == 0
    monkeypatch.setenv("_POSTAGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "postage run --wo")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run_program("-m", "postage", cwd=Path.cwd()).stdout == "plain,--workers\n"


# --- what it says

OPTIONS: dict[str, tuple[str, Any]] = {
    "workers": ("2", 2),
    "concurrency": ("'${N}'", 7),
    "shutdown-timeout": ("1", 1.0),
    "shutdown_timeout": ("1.5", 1.5),
    "remote-control": ("['ops', 'deploy']", ["ops", "deploy"]),
    "remote_control": ("'own-user'", "own-user"),
    "log-level": ("'debug'", "debug"),
    "log-json": ("true", True),
    "reload": ("'yes'", True),
    "health": ("8086", "127.0.0.1:8086"),
}


@pytest.mark.parametrize("key", OPTIONS)
def test_each_option_may_stand_in_the_file(write: Write, monkeypatch, key: str):
    text, value = OPTIONS[key]
    monkeypatch.setenv("N", "7")
    write(f"[run]\n{key} = {text}")

    with parsed() as ctx:
        found = ctx.params[key.replace("-", "_")]
        assert (str(found) if key == "health" else found) == value


def test_the_file_knows_each_option_of_the_command():
    others = {"config", "no_remote_control", "worker", "url", "embedded", "wait", "targets"}
    names = {each.name for each in command.params} - others

    assert names == {key.replace("-", "_") for key in OPTIONS}


SETTINGS: dict[str, tuple[str, Any]] = {
    "host": ("'h'", "h"),
    "port": ("7", 7),
    "user": ("'u'", "u"),
    "password": ("'p'", "p"),
    "vhost": ("'v'", "v"),
    "heartbeat": ("'${N}'", 7),
    "connect_timeout": ("2.5", 2.5),
    "operation-timeout": ("2", 2.0),
    "late_after": ("0", 0.0),
    "memory": ("1000000", 1_000_000),
    "discovery": ("false", False),
    "tls": ("true", True),
    "cacertfile": ("'ca.pem'", "ca.pem"),
    "certfile": ("'me.pem'", "me.pem"),
    "keyfile": ("'me.key'", "me.key"),
    "verify": ("'no'", False),
    "server_name_indication": ("'h'", "h"),
    "auth_mechanism": ("'external'", "EXTERNAL"),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_each_setting_may_stand_in_the_file(write: Write, monkeypatch, key: str):
    text, value = SETTINGS[key]
    monkeypatch.setenv("N", "7")
    write(f"[run]\nurl = 'amqps://'\n[settings]\n{key} = {text}")

    with parsed():
        name = key.replace("-", "_")
        found = live.find(name)
        assert found is not None
        assert found.origin == f"postage.toml: settings.{key}"
        assert getattr(Settings.resolve(), name) == value


def test_the_file_knows_each_setting():
    """But what other keys say."""
    names = {each.name for each in fields(Settings)} - {"other_hosts", "wait_for_broker"}

    assert names == {key.replace("-", "_") for key in SETTINGS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[run]\nurl = 'amqp://a:b@h:1/v?heartbeat=3'", ("h", 1, "a", "b", "v", 3)),
        ("[run]\nurl = 'amqp://a:${P}@h'", ("h", 5672, "a", "p@s/s:w", "/", 60)),
        ("[run]\nembedded = true", ("embedded://", 5672, "guest", "guest", "/", 60)),
        ("[run]\nembedded = false", ("localhost", 5672, "guest", "guest", "/", 60)),
        ("[settings]\npassword = '${P}'\nport = 1", ("localhost", 1, "guest", "p@s/s:w", "/", 60)),
        ("[run]\nurl-file = 'u'", ("h", 5672, "a", "from-file", "/", 60)),
        ("[settings]\npassword-file = 'p'", ("localhost", 5672, "guest", "from-file", "/", 60)),
    ],
)
def test_the_file_leads_to_the_broker(write: Write, monkeypatch, text: str, expected):
    monkeypatch.setenv("P", "p@s/s:w")
    write("from-file\n", "p")
    write("amqp://a:from-file@h\n", "u")
    write(text)

    with parsed():
        names = ("host", "port", "user", "password", "vhost", "heartbeat")
        assert tuple(getattr(Settings.resolve(), name) for name in names) == expected


@pytest.mark.parametrize(("text", "waits"), [("", True), ("wait = false", False)])
def test_a_program_waits_for_its_broker_unless_the_file_says_no(write: Write, text, waits):
    write(f"[run]\n{text}")

    with parsed():
        assert Settings.resolve().wait_for_broker is waits


# --- what beats it


def test_the_line_beats_the_environment_which_beats_the_file(write: Write, monkeypatch):
    write("[run]\nurl = 'amqp://alice:b@file/v'\n[settings]\nheartbeat = 3\nconnect_timeout = 4")

    with parsed():
        assert Settings.resolve().host == "file"
    monkeypatch.setenv("POSTAGE_PASSWORD", "mine")
    with parsed():
        found = Settings.resolve()
        assert (found.host, found.user, found.password) == ("file", "alice", "mine")
    monkeypatch.setenv("POSTAGE_URL", "amqp://environment?heartbeat=5")
    with parsed():
        found = Settings.resolve()
        assert (found.host, found.user, found.vhost) == ("environment", "guest", "/")
        assert (found.heartbeat, found.connect_timeout) == (5, 4.0)
    with parsed("--url", "amqp://line"):
        assert (Settings.resolve().host, Settings.resolve().heartbeat) == ("line", 3)
    assert Settings.resolve().host == "environment"


@pytest.mark.parametrize(
    ("line", "arguments", "name", "value"),
    [
        ("workers = 3", ("--workers", "1"), "workers", 1),
        ("reload = true", ("--no-reload",), "reload", False),
        ("log-json = true", ("--no-log-json",), "log_json", False),
        ("log-level = 'debug'", ("--log-level", "error"), "log_level", "error"),
        ("remote-control = 'ops'", ("--remote-control", "on"), "remote_control", "on"),
    ],
)
def test_options_of_the_command_line_beat_the_file(write: Write, line, arguments, name, value):
    write(f"[run]\n{line}")

    with parsed(*arguments) as ctx:
        assert ctx.params[name] == value


def test_no_remote_control_beats_the_rule_of_the_file(write: Write, capsys):
    write("[run]\nremote-control = 'ops'")
    both = ("--no-remote-control", "--remote-control", "ops")

    assert "--no-remote-control: give one" in in_process(capsys, "run", "a", *both).stderr
    ended = run_program("-m", "postage", "run", "no_such", both[0], cwd=Path.cwd(), within=SOON)
    assert "No module named 'no_such'" in ended.stderr


def test_no_secret_is_in_the_repr_of_what_the_file_says(write: Write, monkeypatch):
    monkeypatch.setenv("P", "not-the-password")
    write("[run]\nurl = 'amqp://a:${P}@h'\n[settings]\npassword = 'not-the-password'")

    with parsed() as ctx:
        things = (ctx.obj, ctx.obj.file, live.layers, live.layers.url(), live.find("password"))
        assert "not-the-password" not in repr(things)


def test_what_is_replaced_needs_no_variable(write: Write, monkeypatch):
    """A developer has no password of the broker that another URL replaces."""
    write("[run]\nworkers = '${N}'\nurl = 'amqp://a:${P}@h'\n[settings]\npassword = '${P}'")
    monkeypatch.setenv("POSTAGE_PASSWORD", "mine")

    with parsed("--workers", "1", "--url", "embedded://"):
        assert Settings.resolve().embedded == ""


def test_targets_of_the_command_line_replace_those_of_the_file(write: Write):
    write("[run]\ntargets = ['no_such_module_of_file']\nurl = 'embedded://'")

    for arguments, named in {(): "no_such_module_of_file", ("no_such_one",): "no_such_one"}.items():
        ended = run_program("-m", "postage", "run", *arguments, cwd=Path.cwd(), within=SOON)
        assert ended.code == 2
        assert f"No module named '{named}'" in ended.stderr


def test_a_command_leaves_no_layer(write: Write, capsys):
    write("[run]\nworkers = 'x'")
    before = live.layers

    assert in_process(capsys, "run", "a").code == 2
    assert in_process(capsys, "run", "a", "--no-such-option").code == 2
    assert live.layers is before
