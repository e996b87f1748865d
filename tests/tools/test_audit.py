"""``make check`` fails for a known vulnerability, and says so if it could not ask."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tools.audit import main

OLD = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}, {"id": "X-2", "fix_versions": []}],
}
SOUND = {"name": "sound", "version": "3", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}
OURS = {"name": "postage", "skip_reason": "distribution marked as editable"}


def printing(text: str, code: int = 0, stream: str = "stdout") -> list[str]:
    """Return a command that prints *text* in place of pip-audit."""
    return [sys.executable, "-c", f"import sys; sys.{stream}.write({text!r}); sys.exit({code})"]


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_finding_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(printing(report(SOUND, OLD, UNKNOWN, OURS), code=1)) == 1

    assert capsys.readouterr().out.splitlines() == [
        "audit: the index said nothing about 1 packages: unknown",
        "audit: old 1.0 has PYSEC-1, mended in 1.1, 2.0",
        "audit: old 1.0 has X-2, mended in no version yet",
    ]


def test_no_finding_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(printing(report(SOUND, OURS))) == 0
    assert capsys.readouterr().out == "audit: no vulnerability is known of the other 1\n"


def test_packages_that_the_index_does_not_know_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(printing(report(*[UNKNOWN] * 7, SOUND))) == 0
    assert capsys.readouterr().out.splitlines() == [
        "audit: the index said nothing about 7 packages: " + "unknown, " * 4 + "unknown...",
        "audit: no vulnerability is known of the other 1",
    ]


@pytest.mark.parametrize(
    ("command", "limit", "reason"),
    [
        (printing("a\nConnectionError: no way", 1, "stderr"), 20, "ConnectionError: no way"),
        (printing("<html>", 0), 20, "it printed nothing"),
        (printing("{}", 0), 20, "it printed nothing"),
        ([sys.executable, "-c", "input()"], 0.0, "no answer within 0 s"),
    ],
    ids=["error", "page", "empty", "slow"],
)
def test_an_index_out_of_reach_passes_and_says_so(
    command: list[str], limit: float, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command, limit) == 0
    assert capsys.readouterr().out == f"audit: nothing was looked up: {reason}\n"


def test_an_audit_that_is_not_installed_fails() -> None:
    assert main([sys.executable, "-m", "pip_audit_that_is_missing"]) == 1
