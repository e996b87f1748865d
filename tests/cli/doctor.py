"""``postage doctor`` as a process, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from tests.cli.support import postage

__all__ = ["Found", "doctor"]


class Found(NamedTuple):
    """The exit code, and the diagnoses by the names of their checks."""

    code: int
    checks: dict[str, dict[str, str]]
    stdout: str
    stderr: str

    def named(self, start: str) -> dict[str, str]:
        """Return the only diagnosis whose name begins with *start*."""
        (found,) = [each for name, each in self.checks.items() if name.startswith(start)]
        return found

    def failed(self) -> list[str]:
        """Return the names of the checks that have failed."""
        return [name for name, each in self.checks.items() if each["rating"] == "failed"]


def doctor(*arguments: str, env: Mapping[str, str] | None = None) -> Found:
    """Run ``postage doctor --json``, and return what it has found."""
    ended = postage("doctor", "--json", *arguments, env=env)
    assert "Traceback" not in ended.stderr, ended
    checks = json.loads(ended.stdout)["checks"]
    return Found(ended.code, {each["name"]: each for each in checks}, ended.stdout, ended.stderr)
