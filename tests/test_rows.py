"""Every row of the list of behaviours is shown to hold by at least one test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROWS = range(1, 55)


def marked_rows(tree: ast.AST) -> Iterator[int]:
    """Yield the numbers of every ``pytest.mark.row(…)`` in *tree*, decorator or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"line {node.lineno}: numbers only"
                yield int(ast.literal_eval(argument))


def covered_rows() -> set[int]:
    """Return the rows marked anywhere in the suite; read from the source, whatever is selected."""
    files = Path(__file__).parent.rglob("test_*.py")
    return {row for file in files for row in marked_rows(ast.parse(file.read_text(), str(file)))}


def test_every_row_has_a_test() -> None:
    missing = sorted(set(ROWS) - covered_rows())

    assert not missing, f"no test is marked with pytest.mark.row for {missing}"


def test_no_mark_names_a_row_that_does_not_exist() -> None:
    unknown = sorted(covered_rows() - set(ROWS))

    assert not unknown, f"rows go from 1 to 54; marked: {unknown}"
