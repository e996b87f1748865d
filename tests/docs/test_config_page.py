"""docs/cli.md: the configuration file that it shows can be used, and names every key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from postage.cli.commands.run import command
from tests.cli.support import in_process
from tests.support.programs import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text()
SECTION = PAGE.split("### The configuration file")[1].split("\n### ")[0]
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What `postage config show` says of the example."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POSTAGE_URL", raising=False)
    monkeypatch.setenv("SHOP_PASSWORD", "p@ss/word")
    (tmp_path / "postage.toml").write_text(EXAMPLE)
    ended = in_process(capsys, "config", "show", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    return json.loads(ended.stdout)["values"]


def test_the_example_can_be_used(shown) -> None:
    written = set(re.findall(r"^([\w-]+) =", EXAMPLE, re.MULTILINE))
    used = {key.partition(".")[2] for key, each in shown.items() if each["source"] == "file"}

    assert written <= used
    assert shown["settings.host"]["value"] == "rabbit1:5672,rabbit2:5672"
    assert shown["run.url"]["value"] == "amqp://shop:***@rabbit1,rabbit2/shop"


def test_the_lines_of_config_show_are_those_of_the_example(shown) -> None:
    block = SECTION.partition("    KEY ")[2]
    rows = re.findall(r"^    (run\.\S+) +(.*?) {2,}(.*)$", block, re.MULTILINE)

    assert rows
    for key, text, origin in rows:
        value = shown[key]["value"]
        value = str(value).lower() if isinstance(value, bool) else value
        expected = ", ".join(value) if isinstance(value, list) else str(value)
        assert (text, origin) == (expected, shown[key]["origin"] or "default")


@pytest.mark.parametrize("option", command.params, ids=lambda option: str(option.name))
def test_each_option_of_run_is_on_the_page(option) -> None:
    running = PAGE.split("## Running")[1].split("## Calling")[0]
    if getattr(option, "hidden", False) or option.name == "targets":
        return

    assert all(f"`{name}" in running for name in [*option.opts, *option.secondary_opts])


def test_each_key_of_a_file_is_on_the_page() -> None:
    for key in ("url-file", "user-file", "password-file", "embedded = true", "wait = false"):
        assert f"`{key}`" in SECTION
