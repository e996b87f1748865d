"""docs/tutorial.md, followed word for word in shells, in an environment of its own.

The only difference: the broker listens on a free port, as 5672 may be taken here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from postage.testing.rabbitmq import free_ports
from tests.support.programs import ROOT
from tests.support.shell import Shell

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
STEP = re.compile(
    r"(?P<text>.*?)^```(?P<kind>console|python)\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL
)
#: What `pip install .` needs of a checkout.
CHECKOUT = ("postage", "docs", "pyproject.toml", "setup.cfg", "README.md", "LICENSE", "MANIFEST.in")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy, because building leaves files behind."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in CHECKOUT:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


class Reader:
    """Types what the page says, and saves what it shows."""

    def __init__(self, home: Path, start: Path, shells: ExitStack) -> None:
        self._home, self._start, self._stack = home, start, shells
        self._shells: dict[str, Shell] = {}
        [self._port] = free_ports(1)

    def follow(self, text: str, kind: str, block: str) -> None:
        """Follow one block of the page; *text* stands above it."""
        if kind == "python":
            self._save(text, block)
            return
        shell = self._shell(re.findall(r"[Ss]hell (\d)", text)[-1])
        for command, expected in entries(block):
            if command == "^C":
                shell.interrupt()
            elif command:
                typed = command.replace("postage broker", f"postage broker --port {self._port}")
                shell.type(typed)
            for line in expected:
                shell.wait_for(line.replace(":5672", f":{self._port}"))
            if command and not is_staying(command):
                shell.wait_for_prompt()

    def _save(self, text: str, code: str) -> None:
        """Write the file that the text above *code* names last, or the line in it."""
        path = self._home / "shop" / re.findall(r"`(\w+\.py)`", text)[-1]
        if (line := re.search(r"change the line that begins with\n?\s*`(\w+)`", text)) is None:
            path.write_text(code)
        else:
            path.write_text(re.sub(rf"^{line[1]}.*\n", code, path.read_text(), flags=re.MULTILINE))

    def _shell(self, number: str) -> Shell:
        if number not in self._shells:
            env = {"HOME": str(self._home), "POSTAGE_PORT": str(self._port)}
            shell = Shell(self._start if number == "1" else self._home, env)
            self._shells[number] = self._stack.enter_context(shell)
        return self._shells[number]


def is_staying(command: str) -> bool:
    return command.startswith(("postage broker", "postage run"))


def entries(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block of the console, with the lines that it prints.

    A block without a command is what a shell prints later.
    """
    command, lines = "", list[str]()
    for line in block.splitlines():
        if line.startswith("$ ") or line == "^C":
            if command or lines:
                yield command, lines
            command, lines = line.removeprefix("$ "), []
        elif line != "…":
            lines.append(line)
    yield command, lines


@pytest.mark.slow
@pytest.mark.limit(300)  # most of it is pip, which shares the network and the processors
def test_the_tutorial_works_word_for_word(tmp_path: Path, checkout: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as shells:
        reader = Reader(home, checkout, shells)
        for step in STEP.finditer(PAGE):
            reader.follow(step["text"], step["kind"], step["block"])

    saved = {path.name for path in (home / "shop").glob("*.py")}
    assert saved == {
        *("shop_shared.py", "stock.py", "shop_events.py", "orders.py"),
        *("bank.py", "payments.py", "test_stock.py"),
    }


def test_commands_are_told_from_what_they_print() -> None:
    assert list(entries("^C\n$ postage run a\n…one…\n$ ls\na\n")) == [
        ("^C", []),
        ("postage run a", ["…one…"]),
        ("ls", ["a"]),
    ]
    assert list(entries("later\n")) == [("", ["later"])]
