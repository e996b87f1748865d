"""The pages of the API reference: directives for Sphinx, made of what the packages list as public.

A public name has its docstring on one page: that of its group in ``postage.__all__``, or else that
of its module.  Other modules that have the name, such as `postage.messaging`, point there.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PAGE = ROOT / "docs" / "api.md"
#: The public modules, in the order of the table on the page.
MODULES = re.findall(r"^\| `(postage[.\w]*)` \|", PAGE.read_text(), re.MULTILINE)

#: Bases of other libraries, and of Python: their members are documented there.
FOREIGN = (
    "object, BaseException, Exception, OSError, ValueError, LookupError, TypeError, Enum, str, "
    "int, tuple, dict, Protocol, Generic, ABC, Greenlet, Thread"
)


def groups() -> dict[str, list[str]]:
    """Return the names of ``postage.__all__`` by the comments above them."""
    source = (ROOT / "postage" / "__init__.py").read_text()
    listed = source.split("__all__ = [", 1)[1].split("\n]", 1)[0]
    found: dict[str, list[str]] = {"The package": []}
    for line in listed.splitlines():
        if (comment := re.fullmatch(r"\s*# (.*)", line)) is not None:
            found[comment[1].partition(":")[0]] = names = []
        else:
            names = next(reversed(found.values()))
            names += re.findall(r'"(\w+)"', line)
    return found


def pages() -> dict[str, str]:
    """Return the text of each page, in reStructuredText, by its name."""
    texts = {
        _slug(title): _page(title, _described("postage", names))
        for title, names in groups().items()
    }
    others = (module for module in MODULES if module != "postage")
    texts |= {module: _page(f"``{module}``", _of_module(module)) for module in others}
    return {**texts, "commands": COMMANDS}


COMMANDS = """\
The command line, generated
===========================

.. click:: postage.cli.app:postage
   :prog: postage
   :nested: full
"""


def public_names(module: str) -> list[str]:
    """Return the names that *module* lists."""
    return list(importlib.import_module(module).__all__)


def _page(title: str, body: Iterator[str]) -> str:
    return "\n".join([title, "=" * len(title), "", *body])


def _of_module(module: str) -> Iterator[str]:
    yield f".. automodule:: {module}\n"
    elsewhere = set(public_names("postage"))
    shared = [name for name in public_names(module) if name in elsewhere]
    if shared:
        yield "These names are the same as in ``postage``:\n"
        yield ", ".join(f":py:obj:`{name} <postage.{name}>`" for name in shared) + ".\n"
    yield from _described(module, [name for name in public_names(module) if name not in elsewhere])


def _described(module: str, names: list[str]) -> Iterator[str]:
    yield f".. py:currentmodule:: {module}\n"
    for name in names:
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            yield f".. autoclass:: {module}.{name}\n   :members:\n   :undoc-members:"
            yield f"   :inherited-members: {FOREIGN}\n   :show-inheritance:\n"
        elif inspect.isroutine(value):
            yield f".. autofunction:: {module}.{name}\n"
        else:
            yield f".. py:data:: {name}"
            yield f"   :value: {value!r}\n" if isinstance(value, (str, int)) else ""
            yield from (f"   {line}" for line in _docs_of_data().get(name, "").splitlines())
            yield ""


@functools.cache
def _docs_of_data() -> dict[str, str]:
    """Return the texts below assignments, by the names that are assigned, of all modules."""
    found = {}
    for path in (ROOT / "postage").rglob("*.py"):
        body = ast.parse(path.read_text()).body
        for node, after in itertools.pairwise(body):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and (text := _text_of(after)):
                for each in ast.walk(node):
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                        found[each.id] = inspect.cleandoc(text)
    return found


def _text_of(node: ast.stmt) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return node.value.value if is_text and isinstance(node.value.value, str) else ""


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
