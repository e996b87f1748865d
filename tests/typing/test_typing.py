"""Type checkers accept the programs of users, and find their mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.typing.tools import demand

pytestmark = pytest.mark.slow  # either checker reads all of Postage

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHOP = ROOT / "demos" / "shop"
ACCEPTED = sorted([*HERE.glob("accepted*.py"), *SHOP.glob("*.py")])
REFUSED = sorted(HERE.glob("refused*.py"))

Findings = dict[Path, dict[int, set[str]]]
"""The codes that a checker has found, by file and line."""


def output(checker: str, *options: str) -> str:
    """Return what *checker* prints about the files."""
    demand(checker)
    finished = subprocess.run(
        [sys.executable, "-m", checker, *options, *map(str, [*ACCEPTED, *REFUSED])],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(SHOP)},  # pyproject.toml tells pyright
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr  # 2: it has crashed
    return finished.stdout


def by_mypy() -> Findings:
    found: Findings = defaultdict(lambda: defaultdict(set))
    for line in output("mypy", "--strict", "--no-error-summary", "--no-pretty").splitlines():
        match = re.fullmatch(r"(.*?):(\d+): error: .*  \[([\w-]+)\]", line)
        if match:
            found[ROOT / match[1]][int(match[2])].add(match[3])
    return found


def by_pyright() -> Findings:
    found: Findings = defaultdict(lambda: defaultdict(set))
    printed = output("basedpyright", "--outputjson", "--pythonpath", sys.executable)
    for each in json.loads(printed)["generalDiagnostics"]:
        if each["severity"] == "error":
            line = each["range"]["start"]["line"] + 1
            found[Path(each["file"])][line].add(each["rule"])
    return found


@pytest.fixture(scope="module", params=[by_mypy, by_pyright], ids=["mypy", "pyright"])
def checked(request: pytest.FixtureRequest) -> tuple[Callable[[], Findings], Findings]:
    """One of the checkers, and what it has found."""
    return request.param, request.param()


@pytest.mark.limit(300)
@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_programs_of_users_are_accepted(checked, path):
    _, found = checked

    assert not found[path], f"{path}: {dict(found[path])}"


@pytest.mark.limit(300)
@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_each_mistake_is_found_and_nothing_else(checked, path):
    checker, found = checked
    place = [by_mypy, by_pyright].index(checker)
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    expected = {
        number: match[1].split(", ")[place]
        for number, line in lines
        if (match := re.search("  # refused: (.*)", line))
    }

    assert len(expected) > 25
    assert expected.keys() == found[path].keys()
    wrong = {n: found[path][n] for n, code in expected.items() if code not in found[path][n]}
    assert not wrong
