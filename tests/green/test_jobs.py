"""Periodic jobs of processors."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import green
from postage.errors import ExitScheduler
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

BEAT = 0.01
"""Seconds between two turns."""


class Ticking(Recorder):
    """Its job does what the test wants it to."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.turns = self.now = self.most = 0
        self.gate = gevent.event.Event()
        self.gate.set()
        self.error: BaseException | None = None
        super().__init__(*args, **kwds)

    @green.every(BEAT)
    def tick(self) -> None:
        self.turns += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.now -= 1

    @Handles("command", "hold")
    def hold(self, content: Any) -> None:
        self.seen.append("holds")
        self.gate.wait()


def turns(processor: Ticking, count: int) -> None:
    """Wait for so many more turns."""
    wanted = processor.turns + count
    wait_until(lambda: processor.turns >= wanted, SOON, f"{count} turns")


def test_a_job_runs_while_its_processor_does(endpoint: Endpoint):
    processor = at(endpoint, Ticking)
    with running(processor):
        turns(processor, 3)
        assert endpoint.producer().rpc_echo("and handlers do").value == "and handlers do"
    ended = processor.turns

    assert_stays(lambda: processor.turns == ended, 5 * BEAT)
    assert processor.statistics().jobs == ended


def test_a_job_never_overlaps_itself(endpoint: Endpoint):
    processor = at(endpoint, Ticking)
    processor.gate.clear()
    with running(processor):
        wait_until(lambda: processor.turns, SOON)  # it may have had its first turn by now
        assert_stays(lambda: processor.turns == 1, 10 * BEAT)
        processor.gate.set()
        turns(processor, 2)

    assert processor.most == 1


def test_a_running_job_finishes_before_its_processor_ends(endpoint: Endpoint):
    processor = at(endpoint, Ticking)
    processor.gate.clear()
    run = gevent.spawn(processor.start_consuming)
    turns(processor, 1)

    processor.stop_consuming()
    wait_until(lambda: processor.statistics().state == "draining", SOON)
    assert processor.now == 1
    processor.gate.set()
    run.get(timeout=SOON)

    assert (processor.now, processor.counts["jobs"]) == (0, 1)


def test_an_endless_job_is_killed_after_the_shutdown_timeout(endpoint: Endpoint):
    processor = at(endpoint, Ticking)
    processor.shutdown_timeout = 0.1
    processor.gate.clear()
    run = gevent.spawn(processor.start_consuming)
    turns(processor, 1)

    processor.stop_consuming()
    run.get(timeout=SOON)

    assert processor.now == 0


def test_a_job_counts_against_the_concurrency(endpoint: Endpoint):
    class OneByOne(Ticking):
        concurrency = 1

    processor = at(endpoint, OneByOne)
    with running(processor):
        processor.gate.clear()
        endpoint.producer().message_hold()
        wait_until(lambda: processor.seen or processor.now, SOON)
        assert_stays(lambda: len(processor.seen) + processor.now == 1, 5 * BEAT)
        processor.gate.set()


def test_a_job_that_raises_is_logged_counted_and_runs_again(endpoint: Endpoint, caplog):
    processor = at(endpoint, Ticking)
    processor.error = ZeroDivisionError("of a job")
    with running(processor):
        turns(processor, 3)

    assert processor.counts["failed_jobs"] >= 2
    assert "Ticking.tick failed on one of its turns." in caplog.messages
    assert caplog.records[0].exc_info[1] is processor.error


@pytest.mark.parametrize("error", [StopIteration(), ExitScheduler()])
def test_a_job_can_end_its_processor_as_a_handler_can(endpoint: Endpoint, error: BaseException):
    processor = at(endpoint, Ticking)
    processor.error = error

    gevent.spawn(green.run, processor).get(timeout=SOON)

    assert processor.turns == 1
    assert processor.counts["failed_jobs"] == 0


def test_jobs_go_on_while_the_connection_is_lost(endpoint: Endpoint, proxy: Any, broker_env: Any):
    hup = broker_env.hup | {"port": proxy.port}
    processor = Ticking({"name": "ticking"}, endpoint.eqk, hup)
    with running(processor):
        proxy.cut()
        turns(processor, 3)
        wait_until(lambda: processor.consumer.consuming, SOON)
