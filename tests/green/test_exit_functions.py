"""What runs after Postage's own exit function, and children that end without one, can send."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.endpoints import Endpoint
from tests.support.programs import Finished, run_program
from tests.support.raw import Raw
from tests.support.stopwatch import Stopwatch

PROGRAM = "tests/green/programs/exiting.py"
SENT = {
    "atexit": ["last", "exit0", "exit1", "exit2"],
    "first use in atexit": ["exit0", "exit1", "exit2"],
    "logging.shutdown": ["last", "flushed"],
    "weakref.finalize": ["last", "finalized"],
    "executor": ["last", "executed"],
    "threading.excepthook": ["last", "hooked"],
}
CHILDREN = {
    "fork": ["last", "0", "1", "2"],
    "spawn": ["last", "0", "1", "2"],
    "forkserver": ["last", "0", "1", "2"],
    "process pool": ["last", "a", "b", "c"],
}


def run(way: str, queue: str, *, confirm: bool) -> Finished:
    """Run the program; assert that it ends soon, and with nothing on stderr."""
    watch = Stopwatch()
    ended = run_program(PROGRAM, way, queue, str(int(confirm)))
    assert (ended.code, watch.own < 15) == (0, True), ended
    return ended


@pytest.fixture
def queue(raw: Raw, endpoint: Endpoint) -> str:
    """A queue that gets what the program sends."""
    raw.channel.exchange_declare(**endpoint.exchange.parameters)
    raw.channel.queue_declare(endpoint.queue, durable=True)
    raw.channel.queue_bind(endpoint.queue, endpoint.queue, "rk")
    return endpoint.queue


def notes(raw: Raw, queue: str, count: int) -> list[Any]:
    """Take *count* messages; return their parameters, sorted."""
    return sorted(raw.take(queue).value["content"]["parameters"] for _ in range(count))


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("way", SENT)
def test_what_runs_at_the_end_can_send(way: str, confirm: bool, raw: Raw, queue: str) -> None:
    ended = run(way, queue, confirm=confirm)
    assert notes(raw, queue, len(SENT[way])) == sorted(SENT[way])
    assert "Error" not in ended.stderr
    assert all(float(line.split()[-1]) < 5 for line in ended.stdout.splitlines())


@pytest.mark.parametrize("way", CHILDREN)
def test_children_send_what_they_have_written(way: str, raw: Raw, queue: str) -> None:
    run(way, queue, confirm=False)
    assert notes(raw, queue, len(CHILDREN[way])) == sorted(CHILDREN[way])


def test_a_forked_child_of_a_connected_parent_sends(raw: Raw, queue: str) -> None:
    run("fork", queue, confirm=True)
    assert notes(raw, queue, 5) == ["0", "1", "2", "last", "parent"]


def test_what_is_deleted_with_the_modules_is_refused_at_once(raw: Raw, queue: str) -> None:
    ended = run("__del__", queue, confirm=True)
    assert ended.stdout == "deleted ConnectionClosed 0.0\n"
    assert notes(raw, queue, 1) == ["last"]
