"""The command `postage web`: its options, and the map as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from postage import messaging
from postage.cli.exits import install_line
from postage.testing.processors import RunProcessor
from postage.testing.rabbitmq import free_ports
from tests.support.programs import run_program


class Desk(messaging.Exchange):
    name = "web-desk"


class Clerk(messaging.MessageProcessor):
    """Files letters."""

    @messaging.MessageHandler("command", "file")
    def file(self, content: Any) -> None:
        pass


class Sender(messaging.GenericProducer):
    eks = ((Desk, "clerk"),)


def test_the_map_is_printed_as_json(broker_env: Any, run_processor: RunProcessor) -> None:
    run_processor(Clerk, {"name": "clerk"}, [(Desk, [("web-clerk", "clerk")])])
    Sender({"name": "sender"}).message_file()

    ended = run_program("-m", "postage", "web", "--json", "--interval", "0.5")

    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["edges"].keys() == {"message sender>@web-desk", "message @web-desk>clerk"}
    assert found["edges"]["message @web-desk>clerk"]["total"] == 1
    assert found["components"]["clerk"]["queues"] == ["web-clerk"]
    assert found["components"]["sender"]["kind"] == "program"
    assert [*found["handlers"]] == ["clerk/file"]


def test_without_a_broker_the_map_is_not_printed() -> None:
    (port,) = free_ports(1)
    url = f"amqp://guest:guest@127.0.0.1:{port}/"

    ended = run_program("-m", "postage", "web", "--json", "--interval", "0.1", "--url", url)

    assert (ended.code, ended.stdout) == (3, "")
    assert "no AMQP 0-9-1 broker answered" in ended.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--write", "--port", "0"), "POSTAGE_WEB_TOKEN must have at least 16 characters"),
        (("--host", "no.such.host.invalid"), "cannot serve the console on no.such.host.invalid"),
        (("--host", ""), "--host must be an address"),
        (("--allow-host", "http://x.example/"), "--allow-host must be a name such as"),
    ],
)
def test_what_cannot_be_used_is_told(words: tuple[str, ...], told: str) -> None:
    token = "secret" if "--write" in words else "long-enough-for-a-token"
    env = os.environ | {"POSTAGE_WEB_TOKEN": token}

    ended = run_program("-m", "postage", "web", *words, env=env)

    assert (ended.code, told in ended.stderr, "secret" in ended.stderr) == (2, True, False)


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    env = os.environ | {"POSTAGE_WEB_TOKEN_FILE": str(tmp_path / "token")}

    ended = run_program("-m", "postage", "web", "--write", "--port", "0", env=env)

    told = "SettingsError: POSTAGE_WEB_TOKEN_FILE must have at least 16 characters\n"
    assert (ended.code, ended.stderr) == (2, told)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_without_flask_it_says_what_to_install(words: list[str]) -> None:
    call = f"import sys; sys.modules['flask'] = None; sys.argv[1:] = {['web', *words]}"

    ended = run_program("-c", f"{call}\nfrom postage.cli import main\nsys.exit(main())")

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == f"Error: `postage web` needs Flask: {install_line('web')}\n"
