"""The modules of the package as syntax trees: their imports, classes and calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "postage"


@dataclass(frozen=True)
class Import:
    """The absolute target of an import statement, and its line."""

    target: str
    line: int


@dataclass(frozen=True)
class Module:
    """One module of the package."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """The source text."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, str(self.path))

    @property
    def package(self) -> str:
        """The package that relative imports of this module refer to."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def imports(self, known: frozenset[str]) -> Iterator[Import]:
        """Yield every import, at any depth; ``from a import b`` is ``a.b`` if *known* has it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield Import(inner if inner in known else base, node.lineno)

    def classes(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the line of each class."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node.name, node.lineno

    def calls_of(self, name: str) -> Iterator[int]:
        """Yield the line of each call of the plain *name*."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield node.lineno

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        anchor = self.package.split(".")
        anchor = anchor[: len(anchor) - node.level + 1]
        return ".".join([*anchor, *([node.module] if node.module else [])])


def modules() -> list[Module]:
    """Return all modules of the package, sorted by name."""
    return [Module(_name(path), path) for path in sorted(PACKAGE.rglob("*.py"))]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
