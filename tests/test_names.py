"""The names of tests are short enough to be read in a list of results."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONGEST = 60


@pytest.mark.parametrize(
    "file", sorted(TESTS.rglob("test_*.py")), ids=lambda file: str(file.relative_to(TESTS))
)
def test_names_of_tests_have_at_most_60_characters(file: Path) -> None:
    nodes = ast.walk(ast.parse(file.read_text()))
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]

    too_long = [name for name in names if name.startswith("test_") and len(name) > LONGEST]

    assert not too_long
