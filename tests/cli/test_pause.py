"""``postage pause`` and ``postage resume``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postage.generic_application import GenericApplication
from postage.testing.processors import RunProcessor
from tests.cli.support import postage

pytestmark = pytest.mark.usefixtures("broker_env")


class Mail(GenericApplication):
    """Sends mail."""


def made(run_processor: RunProcessor, name: str, **attributes: Any) -> Any:
    return run_processor(type("Mail", (Mail,), attributes)({"name": name}))


def test_an_application_is_paused_and_goes_on(run_processor: RunProcessor):
    apps = [made(run_processor, "mail") for _ in range(2)]

    ended = postage("pause", "mail", "--wait", "0.5")

    assert (ended.code, ended.stderr) == (0, "")
    assert [line.split()[2] for line in ended.stdout.splitlines()] == ["STATE", "paused", "paused"]
    assert [each.is_paused for each in apps] == [True, True]
    assert postage("pause", "mail", "--wait", "0.5").code == 0  # again

    ended = postage("resume", "mail", "--json", "--wait", "0.5")

    assert (ended.code, ended.stderr) == (0, "")
    assert {each["statistics"]["state"] for each in json.loads(ended.stdout)} == {"consuming"}
    assert [each.is_paused for each in apps] == [False, False]


def test_one_that_must_not_obey_is_named(run_processor: RunProcessor):
    app = made(run_processor, "stubborn", remote_control="off")

    ended = postage("pause", "stubborn", "--wait", "0.5")

    assert (ended.code, app.is_paused) == (4, False)
    assert "some did not obey" in ended.stderr
    assert "consuming" in ended.stdout


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_nobody_listens(run_processor: RunProcessor, command: str):
    made(run_processor, "somebody")

    ended = postage(command, "nobody", "--wait", "0.2")

    assert ended.code == 4
    assert "no generic application listens to the key 'nobody'" in ended.stderr


def test_a_key_of_any_one_is_refused():
    ended = postage("pause", "mail/rr")

    assert ended.code == 2
    assert "reaches one application, and nobody knows which: write 'mail'" in ended.stderr
