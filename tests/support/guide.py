"""The programs of a how-to guide: the files that a page shows, and servers that run them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.support.programs import ROOT, Program

__all__ = ["SOON", "Site", "require", "require_tool", "save_files", "service", "serving"]

FILE = re.compile(r"`([\w./-]+)`[^`]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOON = 30.0
"""Seconds for a program to start, on a busy machine."""


def require(*modules: str) -> None:
    """Skip the tests of a module without these *modules*; fail if ``POSTAGE_REQUIRE_GUIDES=1``."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            _miss(f"{name} is not installed: make guides")


def require_tool(name: str) -> str:
    """Return the path of the program *name*; without it, as `require`."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        _miss(f"the program {name} is not installed")
    assert path is not None
    return path


def _miss(reason: str) -> None:
    if os.environ.get("POSTAGE_REQUIRE_GUIDES") == "1":
        pytest.fail(f"POSTAGE_REQUIRE_GUIDES=1, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def save_files(page: str, folder: Path) -> None:
    """Save the files that docs/howto/*page*.md shows in *folder*: blocks below their names."""
    found = FILE.findall((ROOT / "docs" / "howto" / f"{page}.md").read_text())
    assert found, f"docs/howto/{page}.md shows no file"
    for name, text in found:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


class Site:
    """A web server on *port* that *program* runs."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self.port = program, port

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of the answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SOON)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def answers(self) -> bool:
        """Tell whether the server takes connections."""
        assert self.program.running, self.program.stderr
        try:
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=SOON)) as connection:
                connection.connect()
        except OSError:
            return False
        return True


@contextmanager
def service(target: str, folder: Path) -> Iterator[Program]:
    """Run ``postage run`` *target* in *folder*.

    It ends in order: if it were killed, a message that it has just handled could come again.
    """
    with Program("-m", "postage", "run", target, cwd=folder) as program:
        program.wait_for_line("Running 1 component", SOON)
        yield program
        program.terminate(SOON)


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[Site]:
    """Run a web server, a module with arguments, of which ``{port}`` becomes a free port."""
    (port,) = free_ports(1)
    with Program("-m", *(part.format(port=port) for part in command), cwd=folder) as program:
        site = Site(program, port)
        wait_until(site.answers, SOON)
        yield site
