"""The monitor names the code that holds a hub, and keeps its connections alive."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.hub
import pytest

from postage import messaging
from postage.green.amqp import hub_monitor as monitor_module
from postage.green.amqp.blocker import blocking_frame
from postage.green.amqp.hub_monitor import HubMonitor
from postage.testing.polling import wait_until
from tests.support.programs import Finished, run_program
from tests.support.stopwatch import Stopwatch

SOON = 10.0
LATE_AFTER = 0.2


class Monitored:
    """A connection as the monitor sees it."""

    def __init__(self, interval: float = 0.2) -> None:
        self.loop = gevent.get_hub().loop
        self.interval = interval
        self.written, self.is_needed = 0, True
        self.beats: list[float] = []

    def beat(self) -> None:
        self.beats.append(time.monotonic())

    def send_waiting(self) -> bool:
        return False


@pytest.fixture
def monitor() -> Iterator[HubMonitor]:
    """A monitor for this test alone."""
    monitor = HubMonitor()
    yield monitor
    monitor._at_exit()


@pytest.fixture
def connection(monitor: HubMonitor) -> Iterator[Monitored]:
    """A connection that the monitor keeps alive."""
    connection = Monitored()
    monitor.add(connection, LATE_AFTER)
    yield connection
    monitor.discard(connection)


def hold(seconds: float) -> None:
    """Compute in pure Python, so that no other greenlet runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def lines(caplog: pytest.LogCaptureFixture, level: int, about: str = "(hold)") -> list[str]:
    """Return what the monitor logged about `hold`; a stop of the machine is not part of it."""
    records = [r for r in caplog.records if "hub_monitor" in r.name and r.levelno == level]
    texts = [record.getMessage() for record in records]
    return [text for text in texts if about in text]


# --- one incident


def test_a_late_hub_gets_heartbeats_and_two_lines_in_the_log(
    connection: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gevent.sleep(0.01)  # the hub answers: the test has held it since the monitor was made
    began = time.monotonic()
    hold(1.0)
    wait_until(lambda: lines(caplog, logging.INFO), SOON)
    held = time.monotonic() - began  # on a busy machine it is longer

    (late,), (back,) = lines(caplog, logging.WARNING), lines(caplog, logging.INFO)
    assert f"{__file__}:" in late
    assert "(hold), called from " in late
    assert "docs/heartbeats.md" in late
    (said,) = re.findall(r"run again, after (\d\.\d) s", back)
    assert 0.9 <= float(said) <= held + 0.05
    assert connection.beats[-1] < began + held + 0.1


def test_a_late_hub_gets_a_heartbeat_each_half_of_its_time(connection: Monitored) -> None:
    def comes_in_time() -> bool:
        connection.beats.clear()
        began = time.monotonic()
        hold(1.0)
        first, *_ = beats = list(connection.beats)
        gevent.sleep(0.3)
        return 7 <= len(beats) <= 11 and began < first < began + 0.2

    assert any(comes_in_time() for _ in range(5)), "on a busy machine the monitor may be late, too"


def test_the_line_in_the_log_comes_while_the_hub_is_held(
    connection: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    end = time.monotonic() + SOON
    while not lines(caplog, logging.WARNING, ""):
        assert time.monotonic() < end


def test_each_incident_has_its_own_log_lines(
    connection: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for count in (1, 2):
        hold(0.5)
        wait_until(lambda n=count: len(lines(caplog, logging.INFO)) == n, SOON)
    assert len(lines(caplog, logging.WARNING)) == 2


def test_a_hub_that_answers_causes_no_action(
    monitor: HubMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connection = Monitored(interval=60)
    monitor.add(connection, 1.0)
    (seen,) = monitor._hubs.values()
    for _ in range(3):
        before = seen._pinged
        wait_until(lambda pinged=before: seen._pinged > pinged, SOON)
    monitor.discard(connection)
    assert not connection.beats
    assert not lines(caplog, logging.WARNING, "") + lines(caplog, logging.INFO, "")


def test_no_heartbeat_where_none_was_agreed(
    monitor: HubMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Monitored(interval=0)
    monitor.add(connection, LATE_AFTER)
    hold(0.5)
    wait_until(lambda: lines(caplog, logging.WARNING), SOON)
    monitor.discard(connection)
    assert not connection.beats


def test_a_log_that_waits_does_not_hold_up_the_heartbeats(connection: Monitored) -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()
            release.wait(SOON)

    logger, handler = logging.getLogger("postage.green.amqp.hub_monitor"), Slow()
    logger.addHandler(handler)
    try:
        end = time.monotonic() + SOON
        while not (entered.is_set() and len(connection.beats) >= 7):
            assert time.monotonic() < end
    finally:
        release.set()
        logger.removeHandler(handler)


def test_one_late_hub_does_not_hide_another(monitor: HubMonitor, connection: Monitored) -> None:
    answers: list[int] = []

    def other() -> None:
        mine = Monitored()
        monitor.add(mine, LATE_AFTER)
        (seen,) = (w for loop, w in monitor._hubs.items() if loop is mine.loop)
        gevent.sleep(1.0)  # its hub goes on answering
        answers.append(seen._answered > seen._pinged - 1)
        monitor.discard(mine)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=other)
    thread.start()
    hold(0.8)
    thread.join(SOON)
    assert answers == [True]
    assert connection.beats


# --- its own life


def threads_of(monitor: HubMonitor) -> int:
    """Return how many native threads run *monitor*."""
    count = 0
    for frame in sys._current_frames().values():
        stack = [frame]
        while stack[-1].f_back is not None:
            stack.append(stack[-1].f_back)
        count += stack[-1].f_code.co_name == "_run" and stack[-1].f_locals["self"] is monitor
    return count


def test_its_thread_runs_while_it_has_a_connection(monitor: HubMonitor) -> None:
    first, second = Monitored(), Monitored()
    assert repr(monitor) == "<HubMonitor of 0 hubs, idle>"
    for connection in (first, second):
        monitor.add(connection, LATE_AFTER)
    assert repr(monitor) == "<HubMonitor of 1 hubs, running>"
    wait_until(lambda: threads_of(monitor) == 1, SOON)
    monitor.discard(first)
    assert "running" in repr(monitor)
    monitor.discard(second)
    monitor.discard(second)
    assert "idle" in repr(monitor)
    wait_until(lambda: threads_of(monitor) == 0, SOON)


def test_a_destroyed_loop_is_no_longer_monitored(
    monitor: HubMonitor, connection: Monitored
) -> None:
    def short_lived() -> None:
        monitor.add(Monitored(), LATE_AFTER)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=short_lived)
    thread.start()
    thread.join(SOON)
    wait_until(lambda: len(monitor._hubs) == 1, SOON)
    hold(0.5)
    assert connection.beats, "the other hubs are monitored as before"


def test_a_forked_child_has_its_own_monitor(monitor: HubMonitor, connection: Monitored) -> None:
    for _ in range(10):
        child = os.fork()
        if not child:
            try:
                connection.beats.clear()  # those that the parent's monitor gave before the fork
                gevent.hub.reinit()
                fresh = Monitored()
                clean = "0 hubs, idle" in repr(monitor)
                monitor.add(fresh, LATE_AFTER)
                deadline = time.monotonic() + SOON
                while not fresh.beats and time.monotonic() < deadline:
                    hold(0.2)
                os._exit(0 if clean and fresh.beats and not connection.beats else 1)
            finally:
                os._exit(2)
        deadline = time.monotonic() + 2 * SOON
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            gevent.sleep(0.01)
        assert status == 0
    connection.beats.clear()
    hold(0.5)
    assert connection.beats, "the parent's monitor goes on"


PROGRAM = """
import sys, time
if "patch" in sys.argv:
    from postage import green
    green.patch_all()
import logging, gevent
from postage.green.amqp.hub_monitor import hub_monitor as monitor

class Monitored:
    interval, beats, written, is_needed = 0.1, 0, 0, True
    loop = gevent.get_hub().loop
    def beat(self):
        self.beats += 1
    def send_waiting(self):
        return False

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
held = Monitored()
monitor.add(held, 0.1)
gevent.sleep(0.01)

def hold():
    end = time.monotonic() + 10
    while held.beats < 4 and time.monotonic() < end:
        pass
"""
ENDINGS = {
    "idle": "",
    "held": "hold()\nprint(held.beats)",
    "error": "raise SystemExit(3)",
    "forgotten": "monitor.discard(held)",
    "in a greenlet": "gevent.spawn(time.monotonic).join()",
}


@pytest.mark.parametrize("patch", ["", "patch"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_never_delays_or_spoils_the_end_of_a_program(ending: str, patch: str) -> None:
    watch = Stopwatch()
    finished: Finished = run_program("-c", PROGRAM + ENDINGS[ending], patch)
    assert finished.code == (3 if ending == "error" else 0)
    assert not finished.stderr
    assert watch.own < 5
    if ending == "held":
        assert "WARNING No other greenlet has run for" in finished.stdout
        # Another native thread writes the warning, before or after the number.
        (beats,) = [int(line) for line in finished.stdout.splitlines() if line.isdigit()]
        assert beats >= 4


def test_a_greenlet_may_hold_the_lock_of_the_log() -> None:
    code = PROGRAM + (
        "root = logging.getLogger().handlers[0]\n"
        "root.acquire()\n"  # as a greenlet that waits in the middle of writing to the log
        "hold()\n"
        "beats = held.beats\n"
        "root.release()\n"
        "gevent.sleep(0.3)\n"
        "print(beats)\n"
    )
    finished = run_program("-c", code, "patch")
    assert (finished.code, finished.stderr) == (0, "")
    assert "WARNING No other greenlet has run for" in finished.stdout
    assert int(finished.stdout.split()[-1]) >= 4


# --- what holds the hub


class Exchange(messaging.Exchange):
    name = "monitored"


def inner() -> str | None:
    return blocking_frame(gevent.get_hub().thread_ident)


def test_outside_of_handlers_it_names_the_line_and_its_caller() -> None:
    found = inner()
    assert found is not None
    assert found.startswith(f"{__file__}:")
    assert "(inner), called from " in found


def in_a_native_thread(call: Callable[[], Any]) -> Any:
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(call()))
    thread.start()
    thread.join(SOON)
    return got[0]


def test_a_waiting_hub_is_not_reported() -> None:
    hub = gevent.get_hub()
    found = gevent.event.AsyncResult()

    def look() -> None:
        # A greenlet is running until it waits for `found`; then there is the hub alone.
        while blocking_frame(hub.thread_ident) is not None:
            time.sleep(0.001)
        hub.loop.run_callback_threadsafe(found.set, True)

    thread = threading.Thread(target=look)
    gevent.spawn(thread.start)
    # In the main greenlet the hub has no frames of its own below it.
    assert found.get(timeout=SOON)
    thread.join(SOON)


def test_a_thread_that_has_ended_is_not_reported() -> None:
    assert blocking_frame(in_a_native_thread(threading.get_ident)) is None


def test_the_question_is_asked_more_often_for_short_heartbeats(monitor: HubMonitor) -> None:
    connection = Monitored(interval=1)
    monitor.add(connection, 1.0)
    (seen,) = monitor._hubs.values()
    assert seen.tick == 0.25
    connection.interval = 60
    assert seen.tick == monitor_module.TICK
    monitor.discard(connection)
