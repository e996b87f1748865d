"""Microthreads and the scheduler that runs them."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage import microthreads
from postage.errors import ExitScheduler
from postage.testing.polling import wait_until
from tests.support.instructions import instructions
from tests.support.programs import run_program
from tests.support.running import SOON


class Steps(microthreads.MicroThread):
    """Notes what happens to it; ends as told after *count* steps."""

    def __init__(self, log: list[Any], name: str, count: int, end: type[BaseException]) -> None:
        self.log, self.name, self.count, self.end = log, name, count, end

    def create(self):
        self.log.append((self.name, "create"))

    def step(self):
        if not self.count:
            raise self.end
        self.count -= 1
        self.log.append((self.name, "step"))


def run(scheduler: microthreads.MicroScheduler) -> None:
    """Run the loop of a classic program to its end."""
    for _ in scheduler.main():
        pass


@pytest.mark.behaviour("microthreads")
def test_create_runs_once_and_step_until_stop_iteration():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler(autoquit=True)
    scheduler.add_microthread(Steps(log, "one", 3, StopIteration))
    assert log == [("one", "create")]

    run(scheduler)

    assert log == [("one", "create")] + [("one", "step")] * 3


@pytest.mark.behaviour("microthreads")
def test_stop_iteration_ends_that_microthread_alone():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler(autoquit=True)
    scheduler.add_microthread(Steps(log, "short", 1, StopIteration))
    scheduler.add_microthread(Steps(log, "long", 50, StopIteration))

    run(scheduler)

    assert log.count(("short", "step")) == 1
    assert log.count(("long", "step")) == 50


@pytest.mark.behaviour("microthreads")
def test_microthreads_take_turns():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler(autoquit=True)
    for name in ("a", "b"):
        scheduler.add_microthread(Steps(log, name, 20, StopIteration))

    run(scheduler)

    steps = [name for name, what in log if what == "step"]
    assert "ab" in "".join(steps[:10])
    assert "ba" in "".join(steps[:10])


@pytest.mark.behaviour("microthreads")
def test_exit_scheduler_ends_all():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(Steps(log, "ends", 2, ExitScheduler))
    scheduler.add_microthread(Steps(log, "endless", -1, StopIteration))

    run(scheduler)  # returns, although the second would go on for ever

    assert log.count(("ends", "step")) == 2
    assert log.count(("endless", "step")) >= 1


@pytest.mark.behaviour("microthreads")
def test_the_loop_gets_a_turn_after_each_turn_of_a_microthread():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(Steps(log, "endless", -1, StopIteration))
    seen = []

    for _ in scheduler.main():
        seen.append(len(log))
        if len(seen) == 10:
            break

    assert seen == sorted(seen)
    assert seen[-1] > seen[1]


@pytest.mark.behaviour("microthreads")
def test_an_empty_scheduler_idles_until_somebody_comes():
    log: list[Any] = []
    scheduler = microthreads.MicroScheduler()
    turns = gevent.spawn(lambda: [None for _ in scheduler.main()])
    assert turns.join(0.25) is None
    assert not turns.dead

    scheduler.add_microthread(Steps(log, "late", 2, ExitScheduler))
    turns.get(timeout=SOON)

    assert log == [("late", "create"), ("late", "step"), ("late", "step")]
    assert len(turns.value) < 20  # it idled; it did not spin


@pytest.mark.behaviour("microthreads")
def test_autoquit_ends_a_scheduler_that_has_nothing_to_run():
    run(microthreads.MicroScheduler(autoquit=True))


@pytest.mark.behaviour("microthreads")
def test_one_microthread_may_wait_while_others_run():
    log: list[Any] = []

    class Waits(microthreads.MicroThread):
        def step(self):
            gevent.sleep(0.2)
            log.append("waited")
            raise ExitScheduler

    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(Waits())
    scheduler.add_microthread(Steps(log, "other", -1, StopIteration))

    run(scheduler)

    assert log.count(("other", "step")) > 10


@pytest.mark.behaviour("microthreads")
def test_an_error_of_a_microthread_is_raised_in_the_loop():
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(Steps([], "broken", 1, ZeroDivisionError))

    with pytest.raises(ZeroDivisionError):
        run(scheduler)


@pytest.mark.behaviour("microthreads")
def test_a_microthread_may_be_a_classic_generator():
    class Classic(microthreads.MicroThread):
        def main(self):
            for number in range(3):
                log.append(number)
                yield 1

    log: list[int] = []
    scheduler = microthreads.MicroScheduler(autoquit=True)
    scheduler.add_microthread(Classic())

    run(scheduler)

    assert log == [0, 1, 2]


@pytest.mark.behaviour("microthreads")
def test_a_microthread_can_be_added_by_another_one():
    log: list[Any] = []

    class Adds(microthreads.MicroThread):
        def step(self):
            scheduler.add_microthread(Steps(log, "added", 2, StopIteration))
            raise StopIteration

    scheduler = microthreads.MicroScheduler(autoquit=True)
    scheduler.add_microthread(Adds())
    loop = gevent.spawn(run, scheduler)

    wait_until(lambda: log.count(("added", "step")) == 2, SOON)
    loop.get(timeout=SOON)


IDLE = """
import time
from postage import messaging, microthreads

scheduler = microthreads.MicroScheduler()
scheduler.add_microthread(messaging.MessageProcessor({}, [(messaging.Exchange, [("idle", "k")])]))
began, used = time.monotonic(), time.process_time()
for _ in scheduler.main():
    if time.monotonic() - began > 2:
        break
print(time.process_time() - used)
"""


@pytest.mark.behaviour("microthreads")
@pytest.mark.usefixtures("broker_env")
def test_an_idle_program_does_not_burn_cpu():
    finished = run_program("-c", IDLE)

    assert finished.code == 0, finished.stderr
    assert float(finished.stdout) < 0.05 * 2


def test_a_turn_of_the_loop_takes_constant_time():
    def crowd(count: int) -> microthreads.MicroScheduler:
        scheduler = microthreads.MicroScheduler()
        for _ in range(count):
            scheduler.add_microthread(microthreads.MicroThread())
        return scheduler

    def cost(scheduler: microthreads.MicroScheduler) -> int:
        turns = scheduler.main()
        costs = [instructions(lambda: next(turns)) for _ in range(20)]
        turns.close()
        return min(costs)

    assert cost(crowd(1000)) == cost(crowd(10))
