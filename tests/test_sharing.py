"""Tests shared among several processes: the reports of all of them reach the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.definitions import VHOSTS
from tests.support.programs import run_program

TESTS = """
import logging
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(number, record_property):
    record_property("fault_run", f"run {number}")
    logging.getLogger("test").warning("half a pair: \\ud800")

def test_that_is_not_for_here():
    pytest.skip("not here")

def test_that_fails():
    assert "\\ud800" == "whole"
"""


def test_reports_travel_whatever_is_in_them(tmp_path: Path) -> None:
    file = tmp_path / "test_shared.py"
    file.write_text(TESTS)
    options = ("--config-file=pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider")

    finished = run_program(
        "-m", "pytest", *options, "-p", "tests.conftest", "-n", "2", str(file), within=60.0
    )

    assert finished.code == 1, finished.stdout + finished.stderr
    assert "1 failed, 2 passed, 1 skipped" in finished.stdout
    assert ": not here" in finished.stdout
    assert all(f"run {number}" in finished.stdout for number in range(2))


def test_one_process_can_run_all_modules(request: pytest.FixtureRequest) -> None:
    """Each module takes a virtual host; of two processes, one may run far more than half."""
    names = ((each.path, getattr(each, "fixturenames", ())) for each in request.session.items)
    modules = {path for path, fixtures in names if "vhost" in fixtures}

    assert len(modules) < len(VHOSTS)
