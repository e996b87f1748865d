"""docs/design.md lists the files on the way of a message as they are, and the ways are short."""

from __future__ import annotations

import functools
import os
import re

import pytest

from tests.support.programs import ROOT, run_program
from tests.support.sources import PACKAGE, Module

PAGE = (ROOT / "docs" / "design.md").read_text()
PROGRAM = "tests/docs/programs/way.py"
#: How many files a reader needs who follows one message.
MOST = {"call": 12, "delivery": 10, "reply": 8, "publish": 10}

#: A file that is chosen by a class attribute of users, and the file that has the attribute.
CHOSEN_BY_USERS = {"encoding.py": "green/consumer.py"}

each_way = pytest.mark.parametrize("name", MOST)


def listed(name: str) -> list[str]:
    """Return the files that the page lists under the heading of a way, without `postage/`."""
    section = re.search(rf"^### .*\(`{name}`\)\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/design.md has no heading for the way {name!r}"
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section.group(1), re.MULTILINE)


@functools.cache
def imports(file: str) -> set[str]:
    """Return the files of the package that *file* imports."""
    known = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    names = {"postage." + path.removesuffix(".py").replace("/", "."): path for path in known}
    module = Module("postage." + file.removesuffix(".py").replace("/", "."), PACKAGE / file)
    return {names[i.target] for i in module.imports(frozenset(names)) if i.target in names}


@each_way
def test_a_way_is_short(name: str) -> None:
    assert 0 < len(listed(name)) <= MOST[name]


@each_way
def test_the_files_are_those_whose_code_runs(name: str) -> None:
    env = {**os.environ, "POSTAGE_URL": "embedded://way"}

    finished = run_program(PROGRAM, name, env=env)

    assert finished.code == 0, finished.stderr
    assert sorted(finished.stdout.split()) == sorted(listed(name)), finished.stdout


@each_way
def test_each_file_is_joined_to_one_before_it_by_an_import(name: str) -> None:
    files = listed(name)

    for place, file in enumerate(files[1:], 1):
        before = set(files[:place])
        user = CHOSEN_BY_USERS.get(file, file)
        assert user == file or file in imports(user)
        named = {name for other in before for name in imports(other)}
        joined = imports(file) & before or named & {file, user}

        assert joined, f"{file} neither imports nor is imported by {sorted(before)}"
