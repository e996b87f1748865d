"""The classes and constants that docstrings name exist."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

POSTAGE = Path(__file__).parents[2] / "postage"
_NAMED = re.compile(r"(?<!`)`(?:\w+\.)*([A-Z]\w*)(?:\(\))?`(?!`)")
"""A name in single backticks that begins with a capital letter, without the modules before it."""
FOREIGN = {"BlockingSwitchOutError", "DoNotPatch", "InvalidFrameError", "SSLError", "Timeout"}
"""Names of gevent, pika and ssl."""


def docstrings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those of attributes included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def defined_in(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module defines or imports, members of enums included."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)


def test_docstrings_name_only_classes_and_constants_that_exist() -> None:
    trees = {file: ast.parse(file.read_text()) for file in POSTAGE.rglob("*.py")}
    known = FOREIGN.union(dir(builtins), *map(defined_in, trees.values()))

    unknown = [
        f"{file.relative_to(POSTAGE)}:{line}: {name}"
        for file, tree in trees.items()
        for line, text in docstrings_of(tree)
        for name in _NAMED.findall(text)
        if name not in known
    ]

    assert not unknown
