"""docs/log.md has each warning and error that the code logs, by its text, and no other."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import ROOT

HEADINGS = re.findall(r"^### (.*)$", (ROOT / "docs" / "log.md").read_text(), re.MULTILINE)
METHODS = {"warning", "error", "exception", "critical", "log", "_log"}
#: Most modules have none, and need not be parsed.
CALLED = re.compile(rf"\.({'|'.join(METHODS)})\b")
#: Texts that a function gets from its caller, or that are made of parts.
PASSED_ON = {
    "hup has unknown keys, …: it has …",
    "… has no handler for the message …",
    "… takes messages of the type …, which no message class here has",
}


class Texts:
    """The texts that the functions of a module log at the level WARNING or above."""

    def __init__(self, path: Path) -> None:
        self._module = ast.parse(path.read_text())

    def __iter__(self) -> Iterator[str]:
        functions = (n for n in ast.walk(self._module) if isinstance(n, ast.FunctionDef))
        for function in functions:
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and (template := self._template(call)) is not None:
                    yield from self._values(template, function)

    def _template(self, call: ast.Call) -> ast.expr | None:
        """Return the expression of the text that *call* logs."""
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in METHODS:
            return None
        if "log" not in ast.unparse(call.func):
            return None
        if call.func.attr not in {"log", "_log"}:
            return call.args[0]
        is_low = ast.unparse(call.args[0]) in {"logging.DEBUG", "logging.INFO"}
        return None if is_low else call.args[1] if len(call.args) > 1 else None

    def _values(self, node: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
        """Yield the texts that *node* may be in *function*."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.IfExp):
            yield from self._values(node.body, function)
            yield from self._values(node.orelse, function)
        elif isinstance(node, ast.Name):
            for value in self._assigned(node.id, function):
                yield from self._values(value, function)

    def _assigned(self, name: str, function: ast.FunctionDef) -> Iterator[ast.expr]:
        for scope in (ast.walk(function), self._module.body):
            for node in scope:
                if isinstance(node, ast.Assign):
                    pairs = [(target, node.value) for target in node.targets]
                    if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
                    for target, value in pairs:
                        if isinstance(target, ast.Name) and target.id == name:
                            yield value


def as_heading(text: str) -> str:
    """Return *text* as the page writes it: … for what differs, no reason, no full stop."""
    text = re.sub(r"%[-.\d]*[a-z]", "…", text).replace("……", "…")
    text = re.sub(r"…(?=\w)", "… ", text)  # `%son` is a name that may be empty, with its space
    return re.sub(r"(: …)+$", "", text.removesuffix("."))


@functools.cache
def logged() -> set[str]:
    paths = [path for path in (ROOT / "postage").rglob("*.py") if CALLED.search(path.read_text())]
    found = {as_heading(text) for path in paths for text in Texts(path)}
    return {text for text in found if re.search(r"[a-z]", text)}


@pytest.mark.parametrize("text", sorted(logged() | PASSED_ON))
def test_a_record_has_a_section(text: str) -> None:
    assert text in HEADINGS


def test_each_section_is_of_a_record() -> None:
    assert sorted(set(HEADINGS) - logged() - PASSED_ON) == []
    assert len(set(HEADINGS)) == len(HEADINGS)


def test_texts_are_found_in_all_forms(tmp_path: Path) -> None:
    """By a name, of the function or the module, by a condition, and as a part of a tuple."""
    source = """
WHOLE = "whole %s."
def f(self, x):
    text, extra = "of a tuple: %r", {}
    logger.warning(text, x)
    logger.error("a" if x else "b")
    logger.info("none")
    self._log(logging.WARNING, WHOLE, x)
    self._log(logging.DEBUG, "none")
"""
    (tmp_path / "module.py").write_text(source)

    found = [as_heading(text) for text in Texts(tmp_path / "module.py")]

    assert found == ["of a tuple", "a", "b", "whole …"]
