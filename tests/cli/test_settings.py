"""How the options of the command line reach the components of the user's own modules."""

from __future__ import annotations

import os
from typing import Any

import click
import pytest

from postage.cli.options import set_defaults, use_layers
from postage.cli.running.configuration import RUN_DEFAULTS
from postage.cli.running.process import Plan
from postage.settings import Settings, live
from tests.cli.support import SOON, in_process, postage, running, with_url

NOWHERE = with_url("amqp://127.0.0.1:1/")


def test_url_reaches_a_component_made_by_its_module(broker_env: Any) -> None:
    options = ("--no-wait", "--url", broker_env.url)
    with running("run", "placed:at_import", *options, env=NOWHERE) as program:
        program.wait_for_line("Running 1 component: MessageProcessor.", SOON)


def test_url_reaches_the_workers(broker_env: Any) -> None:
    options = ("--workers", "1", "--no-wait", "--url", broker_env.url)
    with running("run", "placed:at_import", *options, env=NOWHERE) as program:
        program.wait_for_line("Running 1 component: MessageProcessor.", SOON)


def test_settings_of_a_component_beat_url(broker_env: Any) -> None:
    options = ("--no-wait", "--url", broker_env.url)
    ended = postage("run", "placed:WithSettings", *options)

    assert ended.code == 3
    assert "no-such-host.invalid" in ended.stderr


def test_check_contacts_no_broker_of_a_component() -> None:
    ended = postage("check", "placed", env=NOWHERE)

    assert (ended.code, ended.stderr) == (0, ""), ended


def test_options_beat_the_environment_and_leave_it_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTAGE_URL", "amqp://first/v")
    monkeypatch.setenv("POSTAGE_HEARTBEAT", "7")
    with click.Context(click.Command("any")) as ctx:
        set_defaults(ctx, {"POSTAGE_URL": "amqp://second/"})
        inside = Settings.resolve()

    assert (inside.host, inside.heartbeat) == ("second", 7)
    assert Settings.resolve(hup={"host": "third"}).host == "third"
    assert Settings.resolve().host == "first"
    assert os.environ["POSTAGE_URL"] == "amqp://first/v"


def test_a_command_leaves_no_trace(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTAGE_URL", raising=False)
    before = live.layers

    assert in_process(capsys, "ps", "--url", "amqp://127.0.0.1:1/", "--wait", "0.1").code == 3
    assert "POSTAGE_URL" not in os.environ
    assert live.layers is before


@pytest.mark.parametrize(
    ("wait", "variable", "expected"),
    [(None, "", True), (None, "0", False), (True, "0", True), (False, "", False)],
)
def test_a_program_waits_for_its_broker_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, wait: bool | None, variable: str, expected: bool
) -> None:
    monkeypatch.delenv("POSTAGE_WAIT_FOR_BROKER", raising=False)
    if variable:
        monkeypatch.setenv("POSTAGE_WAIT_FOR_BROKER", variable)

    with click.Context(click.Command("any")) as ctx:
        set_defaults(ctx, Plan(targets=(), wait=wait).variables())
        use_layers(ctx, live.layers.below(RUN_DEFAULTS))
        assert Settings.resolve().wait_for_broker is expected
