"""A text that says how to install Postage says what works: the registry's name is another's."""

from __future__ import annotations

import re

import pytest

from postage.cli.exits import install_line
from tests.support.programs import ROOT

FOLDERS = ("postage", "docs", "demos", "tools", "benchmarks")
TEXTS = [
    *(path for path in ROOT.glob("*") if path.suffix == ".md" or path.name == "Makefile"),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()),
]
#: ``pip install postage``, and extras of the package by name; ``postage[cli] @ git+...`` is right.
BY_NAME = re.compile(r"pip install [^\n`]*\bpostage\b(?!\S* @ )|\bpostage\[[a-z,{]+\](?! @ )")


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_no_text_installs_postage_by_its_registry_name(folder: str):
    below = [path for path in TEXTS if path.relative_to(ROOT).parts[0] == folder or not folder]
    assert below
    for path in below:
        if path.suffix in {".md", ".py", ".sh", ""} and path.name != "CHANGELOG.md":
            assert not BY_NAME.search(path.read_text()), path


@pytest.mark.parametrize(
    "line",
    [
        "pip install postage",
        "pip install 'postage[cli]'",
        'pip install -U "postage"',
        "needs the extra postage[cli,top]",
    ],
)
def test_the_pattern_finds_what_installs_another_program(line: str):
    assert BY_NAME.search(line)


def test_one_module_knows_how_postage_is_installed():
    modules = (path for path in TEXTS if path.suffix == ".py" and "pip install" in path.read_text())

    assert [each for each in modules if each.is_relative_to(ROOT / "postage")] == [
        ROOT / "postage" / "cli" / "exits.py"
    ]


@pytest.mark.parametrize("extra", ["cli", "reload", "top"])
def test_the_hint_names_an_extra_that_exists(extra: str):
    assert install_line(extra).endswith(f"pip install '.[{extra}]'")
    assert f"\n{extra} = [\n" in (ROOT / "pyproject.toml").read_text()
