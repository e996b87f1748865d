"""Workflow, pre-commit hooks and the list for releases name targets and files that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.programs import ROOT

tomllib = pytest.importorskip("tomllib", reason="it is new in Python 3.11")

MAKEFILE = (ROOT / "Makefile").read_text()
#: In a block, between backquotes, as a step of CI; "to make sure" is no command.
COMMAND = re.compile(r"(?:^    |`|: |\" )make ([a-z]+)", re.MULTILINE)
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXTS = {
    name: (ROOT / name).read_text()
    for name in (".github/workflows/ci.yml", ".ci/run", "RELEASING.md", "CONTRIBUTING.md")
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_target_of_make_exists(name: str) -> None:
    named = set(COMMAND.findall(TEXTS[name]))

    assert named
    assert named <= TARGETS


def test_the_workflow_has_every_supported_python() -> None:
    versions = WORKFLOW["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    classifiers = " ".join(PROJECT["project"]["classifiers"])

    assert versions == re.findall(r"Python :: (3\.\d+)", classifiers)


def test_groups_of_developers_are_installed_by_make() -> None:
    installed = set(re.findall(r"--group (\w+)", MAKEFILE))

    assert set(PROJECT["dependency-groups"]) == installed
    assert not set(PROJECT["project"]["optional-dependencies"]) & installed


def test_the_hooks_run_tools_of_the_checkout() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]

    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    for hook in hooks:
        assert hook["entry"].startswith(".venv/bin/")
        for path in re.findall(r"tests/[\w/.]+", hook["entry"]):
            assert (ROOT / path).exists()
