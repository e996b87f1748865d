"""Every behaviour of docs/behaviours.md is shown by at least one test that names its slug."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
SLUGS = re.findall(
    r"^### (\S+)$", (TESTS.parent / "docs" / "behaviours.md").read_text(), re.MULTILINE
)


def marked_slugs(tree: ast.AST) -> Iterator[str]:
    """Yield the slugs of every ``pytest.mark.behaviour(…)`` in *tree*, decorator or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.behaviour":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"line {node.lineno}: literals only"
                yield argument.value


def covered_slugs() -> set[str]:
    """Return the slugs marked in the sources of all tests, whichever tests are selected."""
    files = TESTS.rglob("test_*.py")
    return {slug for file in files for slug in marked_slugs(ast.parse(file.read_text(), str(file)))}


def test_the_page_lists_54_behaviours_with_unique_slugs() -> None:
    assert len(SLUGS) == 54
    assert len(set(SLUGS)) == 54


def test_every_behaviour_has_a_test() -> None:
    missing = sorted(set(SLUGS) - covered_slugs())

    assert not missing, f"no test is marked with pytest.mark.behaviour for {missing}"


def test_no_mark_names_an_unknown_behaviour() -> None:
    unknown = sorted(covered_slugs() - set(SLUGS))

    assert not unknown, f"docs/behaviours.md has no {unknown}"
