"""``postage config show``: each value with what sets it, and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from postage.settings import Settings
from tests.cli.support import in_process
from tests.support.programs import run_program

Write = Callable[..., Path]
SECRET = "not-the-password"


def shown(capsys: Any, *arguments: str) -> dict[str, Any]:
    ended = in_process(capsys, "config", "show", "--json", *arguments)
    assert (ended.code, ended.stderr) == (0, ""), ended
    assert SECRET not in ended.stdout
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def value(found: dict[str, Any], key: str) -> tuple[Any, str, str | None]:
    return tuple(found["values"][key][name] for name in ("value", "source", "origin"))  # type: ignore[return-value]


def test_without_file_and_variables_all_are_defaults(write: Write, capsys):
    found = shown(capsys)

    assert found["file"] is None
    assert {each["source"] for each in found["values"].values()} == {"default"}
    assert value(found, "run.workers") == (None, "default", None)
    assert value(found, "run.log-level") == ("info", "default", None)
    assert value(found, "run.wait") == (True, "default", None)
    assert value(found, "settings.heartbeat") == (60, "default", None)


def test_each_setting_is_shown(write: Write, capsys):
    names = {key.partition(".")[2] for key in shown(capsys)["values"] if key.startswith("settings")}

    assert names == {each.name for each in fields(Settings)} - {"other_hosts", "wait_for_broker"}


def test_each_value_is_shown_with_what_sets_it(write: Write, capsys, monkeypatch):
    monkeypatch.setenv("N", "3")
    monkeypatch.setenv("POSTAGE_HEARTBEAT", "9")
    monkeypatch.setenv("POSTAGE_PASSWORD_FILE", str(write(SECRET, "secret")))
    write(
        "[run]\ntargets = ['shop.orders', 'shop:Stock']\nworkers = '${N}'\nhealth = ':8086'\n"
        "url = 'amqps://alice@h1,h2:5673/lab?late_after=0'\nremote_control = ['ops', 'deploy']\n"
        "[settings]\nheartbeat = 5\nconnect-timeout = 4\n"
    )
    found = shown(capsys)

    assert found["file"] == "postage.toml"
    for key, expected in {
        "run.targets": (["shop.orders", "shop:Stock"], "file", "postage.toml: run.targets"),
        "run.workers": (3, "file", "postage.toml: run.workers"),
        "run.health": ("0.0.0.0:8086", "file", "postage.toml: run.health"),
        "run.remote-control": (["ops", "deploy"], "file", "postage.toml: run.remote_control"),
        "run.embedded": (False, "default", None),
        "settings.host": ("h1:5671,h2:5673", "file", "postage.toml: run.url"),
        "settings.tls": (True, "file", "postage.toml: run.url"),
        "settings.vhost": ("lab", "file", "postage.toml: run.url"),
        "settings.late_after": (0.0, "file", "postage.toml: run.url: late_after"),
        "settings.heartbeat": (9, "environment", "POSTAGE_HEARTBEAT"),
        "settings.password": ("***", "environment", "POSTAGE_PASSWORD_FILE"),
        "settings.connect_timeout": (4.0, "file", "postage.toml: settings.connect-timeout"),
    }.items():
        assert value(found, key) == expected, key


@pytest.mark.parametrize(
    ("variable", "url", "shown_url"),
    [
        ("", f"amqp://a:{SECRET}@h/v", "amqp://a:***@h/v"),
        ("", "amqp://a:${P}@h", "amqp://a:***@h"),
        ("", "amqp://a:${P} ${P}@h", "amqp://a:***@h"),
        ("", "${WHOLE}", "amqp://b:***@whole"),
        (f"amqp://c:{SECRET}@environment", "amqp://a:${P}@h", "amqp://c:***@environment"),
    ],
)
def test_no_password_of_a_url_is_shown(write: Write, capsys, monkeypatch, variable, url, shown_url):
    monkeypatch.setenv("P", SECRET)
    monkeypatch.setenv("WHOLE", f"amqp://b:{SECRET}@whole")
    if variable:
        monkeypatch.setenv("POSTAGE_URL", variable)
    write(f"[run]\nurl = '{url}'\n[settings]\npassword = '{SECRET}'")

    assert value(shown(capsys), "run.url")[0] == shown_url
    ended = in_process(capsys, "config", "show")
    assert (ended.code, SECRET in ended.stdout) == (0, False)


def test_a_broker_inside_is_shown(write: Write, capsys, monkeypatch):
    write("[run]\nembedded = true")
    key = "postage.toml: run.embedded"
    found = shown(capsys)
    assert value(found, "run.embedded") == (True, "file", key)
    assert value(found, "settings.host") == ("embedded://", "file", key)
    assert value(found, "run.url") == (None, "default", None)

    monkeypatch.setenv("POSTAGE_URL", "amqp://other")
    found = shown(capsys)
    assert value(found, "run.embedded") == (False, "default", None)
    assert value(found, "run.url") == ("amqp://other", "environment", "POSTAGE_URL")


def test_the_table_is_for_people(write: Write):
    path = write("[tool.postage.run]\nworkers = 2\nlog-json = true\n", "etc/pyproject.toml")
    ended = run_program("-m", "postage", "config", "show", "--config", str(path), cwd=path.parent)
    lines = ended.stdout.splitlines()

    assert (ended.code, ended.stderr) == (0, "")
    assert lines[0].split() == ["KEY", "VALUE", "SET", "BY"]
    cells = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines}
    assert cells["run.workers"] == ["2", f"{path}: tool.postage.run.workers"]
    assert cells["run.log-json"] == ["true", f"{path}: tool.postage.run.log-json"]
    assert cells["run.health"] == ["-", "default"]
