"""One of a hundred processors that fails all the time, and what the other ninety-nine notice."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green
from tests.support.endpoints import Endpoint
from tests.support.recorder import Handles, Recorder
from tests.support.running import SOON

# It judges by the clock: not for a run among others.
pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("broker_env")]

PROCESSORS, CALLERS = 100, 20
ROUNDS, LENGTH = 20, 1.0
"""Rounds, every second one in trouble, and the seconds of each."""
FAILURES = 100
"""Handler errors a second, while there is trouble."""


class Failing(Recorder):
    """Crashes whenever it is started in times of trouble; so do its handlers."""

    restart_intensity = 10_000

    def __init__(self, eqk: Any, trouble: gevent.event.Event) -> None:
        self.trouble = trouble
        super().__init__({"name": "failing"}, eqk)

    def step(self) -> None:
        run = gevent.spawn(self.start_consuming)
        try:
            self.trouble.wait()
            run.join(0.1)
        finally:
            self.stop_consuming()
            run.join()
        raise ZeroDivisionError("a crash")

    @Handles("command", "fail")
    def fails(self, content: Any) -> None:
        raise ZeroDivisionError("of a handler")


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


@pytest.mark.limit(120)
def test_a_crash_loop_does_not_slow_99_other_processors(endpoint: Endpoint, caplog):
    caplog.set_level(logging.CRITICAL)  # thousands of tracebacks that no test reads
    trouble = gevent.event.Event()
    others = [
        Recorder({"name": key}, endpoint.at((endpoint.sub(key), key)))
        for key in map(str, range(PROCESSORS - 1))
    ]
    failing = Failing(endpoint.at((endpoint.sub("failing"), "failing")), trouble)
    loop = gevent.spawn(green.run, failing, *others)
    call = endpoint.producer().rpc_echo
    latencies: dict[bool, list[float]] = {False: [], True: []}
    over = gevent.event.Event()

    def caller(first: int) -> None:
        for number in itertools.count(first, CALLERS):
            if over.is_set():
                return
            began, before = time.perf_counter(), trouble.is_set()
            assert call(number, _key=str(number % len(others))).value == number
            if trouble.is_set() is before:
                latencies[before].append(time.perf_counter() - began)

    def fail() -> None:
        producer = endpoint.producer(confirm=False)
        while not over.wait(1 / FAILURES):
            if trouble.is_set():
                producer.message_fail(_key="failing")

    everybody = [*(gevent.spawn(caller, first) for first in range(CALLERS)), gevent.spawn(fail)]
    for number in range(ROUNDS):
        trouble.set() if number % 2 else trouble.clear()
        gevent.sleep(LENGTH)
    over.set()
    gevent.joinall(everybody, timeout=SOON, raise_error=True)

    assert not loop.dead
    assert failing.counts["restarts"] >= 3
    assert failing.counts["failed"] >= FAILURES * LENGTH / 2
    quiet, troubled = p99(latencies[False]), p99(latencies[True])
    assert troubled < 3 * quiet, f"p99 {quiet * 1e3:.1f} ms, with trouble {troubled * 1e3:.1f} ms"
    loop.kill()
