"""``postage run --workers 4`` at work: no call is lost, and no process is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.cli.support import SOON, children, running, wait_for_end
from tests.support.endpoints import exchange
from tests.support.programs import Program
from tests.support.stopwatch import Stopwatch

WORKERS, CALLS = 4, 12


class Caller(messaging.GenericProducer):
    eks = ((exchange("cli-fleet", "topic"), "echo"),)
    rpc_timeout, max_retry = SOON, 0


@pytest.fixture
def parent(broker_env) -> Iterator[Program]:
    with running("run", "fleet:Echo", "--workers", str(WORKERS)) as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == WORKERS, SOON)
        pids = list(children(program.pid))
        yield program
    wait_for_end(pids)


def waiting(caller: Caller) -> int:
    """Return how many calls wait in all workers: the queue serves them in turn."""
    return sum(caller.rpc_waiting().value for _ in range(WORKERS))


def test_sigterm_to_the_parent_drains_them_all(parent: Program):
    caller, workers = Caller(), list(children(parent.pid))
    calls = [caller.rpc_wait.later(1) for _ in range(CALLS)]
    wait_until(lambda: waiting(caller) == CALLS, SOON)
    ended = parent.terminate(SOON)

    assert ended.code == 0
    assert not any(call.ready() and not call.get() for call in calls)
    gevent.joinall(calls, timeout=SOON)
    assert [call.get().value for call in calls] == ["done"] * CALLS
    assert ended.stderr.count("All components have ended.") == WORKERS
    wait_for_end(workers)


def test_a_killed_worker_is_replaced_and_no_call_is_lost(parent: Program):
    caller, before = Caller(), set(children(parent.pid))
    calls = [caller.rpc_wait.later(1) for _ in range(CALLS)]
    wait_until(lambda: waiting(caller) == CALLS, SOON)
    watch = Stopwatch()
    os.kill(victim := min(before), signal.SIGKILL)
    wait_until(lambda: parent.stderr.count("Running 1 component") == WORKERS + 1, SOON)
    taken = watch.own

    after = children(parent.pid)
    assert len(after) == WORKERS
    assert victim not in after
    assert "Z" not in after.values()
    assert taken < 2
    gevent.joinall(calls, timeout=SOON)
    assert [call.get().value for call in calls] == ["done"] * CALLS
