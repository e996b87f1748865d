"""The time limit of every test works, wherever the test hangs, and shows the stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import Finished, run_program

HANGING = """
import threading

import gevent
import pytest
from gevent.event import Event

def sleeper():
    gevent.sleep(1000)

def spinner():
    while True:
        pass

@pytest.mark.limit(0.3)
def test_wait_in_the_hub():
    gevent.spawn(sleeper)
    Event().wait()

@pytest.mark.limit(0.3)
def test_compute():
    gevent.spawn(sleeper)
    gevent.sleep(0)
    spinner()

@pytest.mark.limit(0.3)
def test_compute_in_a_greenlet():
    gevent.spawn(sleeper)
    gevent.spawn(spinner).join()

@pytest.mark.limit(0.3)
def test_wait_for_a_native_lock():
    gevent.spawn(sleeper)
    gevent.sleep(0)
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def test_something_else():
    pass
"""


def run_hanging(test: str, folder: Path) -> Finished:
    """Run one of the hanging tests, and the harmless last one, with the conftest of this suite."""
    file = folder / "test_hanging.py"
    file.write_text(HANGING)
    chosen = f"{test} or test_something_else"
    options = ("--config-file=pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider")
    return run_program("-m", "pytest", *options, "-p", "tests.conftest", "-k", chosen, str(file))


@pytest.mark.parametrize(
    "test",
    [
        "test_wait_in_the_hub",
        "test_compute",
        "test_compute_in_a_greenlet",
        "test_wait_for_a_native_lock",
    ],
)
def test_a_hanging_test_shows_all_stacks_and_ends_the_run(test: str, tmp_path: Path) -> None:
    finished = run_hanging(f"({test} and not {test}_)", tmp_path)

    assert finished.code == 1, finished.stdout
    assert f"{test} hung for more than 0.3 s" in finished.stderr
    assert "in sleeper" in finished.stderr, "the greenlets' stacks are missing"
    assert f"in {test}" in finished.stderr, "the main thread's stack is missing"
    assert "1 failed" in finished.stdout
    assert "passed" not in finished.stdout
