"""Processors that crash: which are restarted, and how the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green
from postage.errors import ChannelRefused, ConnectionClosed, GaveUp, SettingsError
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.recorder import Handles, Recorder
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")


class Fragile(Recorder):
    """Crashes at the beginning of each of its first *crashes* lives."""

    def __init__(self, name: str, eqk: Any, crashes: int = 0) -> None:
        self.crashes, self.lives = crashes, 0
        super().__init__({"name": name}, eqk)

    def step(self) -> None:
        self.lives += 1
        if self.lives <= self.crashes:
            raise ZeroDivisionError(f"life {self.lives}")
        super().step()

    @Handles("command", "stop")
    def stops(self, content: Any) -> None:
        raise StopIteration


def fragile(endpoint: Endpoint, name: str = "rk", crashes: int = 0, **attributes: Any) -> Any:
    """Return such a processor, with a queue and a key of its own."""
    kind = type("Own", (Fragile,), attributes)
    return kind(name, endpoint.at((endpoint.sub(name), name)), crashes)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Run processors under one scheduler; return that and the greenlet of its loop."""
    loops: list[tuple[green.Scheduler, gevent.Greenlet[..., Any]]] = []

    def start(*processors: Any) -> tuple[green.Scheduler, Any]:
        scheduler = green.Scheduler(autoquit=True)
        for processor in processors:
            scheduler.add_microthread(processor)
        loops.append((scheduler, gevent.spawn(lambda: [None for _ in scheduler.main()])))
        return loops[-1]

    yield start
    for scheduler, _ in loops:
        scheduler.stop(1.0)
    gevent.killall([loop for _, loop in loops])


def answers(endpoint: Endpoint, key: str) -> bool:
    return bool(endpoint.producer().rpc_echo("alive", _key=key).value == "alive")


@pytest.mark.parametrize("restart", ["transient", "permanent"])
def test_what_crashes_is_started_again_and_consumes(
    endpoint: Endpoint, start: Any, caplog, restart
):
    processor = fragile(endpoint, crashes=2, restart=restart)
    start(processor)

    assert answers(endpoint, "rk")
    assert (processor.lives, processor.statistics().restarts) == (3, 2)
    crashes = [record for record in caplog.records if "has crashed" in record.message]
    assert [str(record.exc_info[1]) for record in crashes] == ["life 1", "life 2"]
    assert "it is started again in 0 s" in crashes[0].message


def test_others_continue_after_a_crash_and_end_when_it_is_final(
    endpoint: Endpoint, start: Any, caplog
):
    fine = fragile(endpoint, "fine")
    broken = fragile(endpoint, "broken", crashes=99, restart_intensity=2, restart_period=30.0)
    _, loop = start(fine, broken)
    wait_until(lambda: broken.lives == 2, SOON)

    assert answers(endpoint, "fine")
    with pytest.raises(GaveUp, match="Own 'broken' was started again 2 times within 30 s") as error:
        loop.get(timeout=SOON)

    assert (error.value.restarts, error.value.period) == (2, 30.0)
    assert str(error.value.__cause__) == "life 3"
    assert (fine.lives, fine.statistics().state) == (1, "idle")
    assert "it is not started again, and all others end" in caplog.text


def test_a_temporary_processor_is_not_restarted(endpoint: Endpoint, start: Any):
    fine = fragile(endpoint, "fine")
    broken = fragile(endpoint, "broken", crashes=99, restart="temporary")
    _, loop = start(fine, broken)
    wait_until(lambda: broken.lives, SOON)

    assert answers(endpoint, "fine")
    assert (broken.lives, broken.counts["restarts"]) == (1, 0)
    assert not loop.dead


@pytest.mark.parametrize(("restart", "lives"), [("transient", 1), ("permanent", 2)])
def test_a_permanent_processor_ended_by_a_handler_restarts(
    endpoint: Endpoint, start: Any, restart: str, lives: int
):
    processor = fragile(endpoint, restart=restart)
    other = fragile(endpoint, "other")
    start(processor, other)

    endpoint.producer().message_stop()
    ended = lambda: processor.counts["handled"] and processor.statistics().state == "idle"  # noqa: E731
    again = lambda: processor.lives == lives and processor.consumer.consuming  # noqa: E731
    wait_until(ended if lives == 1 else again, SOON)

    assert answers(endpoint, "other")
    assert processor.lives == lives


@pytest.mark.parametrize("told", ["quit", "stop_consuming", "stop"])
def test_what_was_told_to_end_is_not_started_again(endpoint: Endpoint, start: Any, told: str):
    processor = fragile(endpoint, restart="permanent")
    _, loop = start(processor)
    assert answers(endpoint, "rk")

    if told == "quit":
        endpoint.producer().message_quit()
    else:
        getattr(processor, told)()
    loop.get(timeout=SOON)

    assert processor.lives == 1


def test_a_scheduler_ends_at_once_while_a_restart_is_due(endpoint: Endpoint, start: Any):
    processor = fragile(endpoint, crashes=99, restart_intensity=99, restart_period=1e9)
    scheduler, loop = start(processor)
    wait_until(lambda: processor.lives == 6, SOON)  # the next pause takes more than three seconds
    lives = processor.lives

    with gevent.Timeout(0.5):
        scheduler.stop()
        loop.get()

    assert processor.lives == lives


def test_a_processor_restarts_until_its_queue_exists(endpoint: Endpoint, start: Any, raw: Raw):
    raw.declare(endpoint.queue)
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    processor = Fragile("rk", endpoint.at((as_it_is, "rk")))
    fine = fragile(endpoint, "fine")
    start(processor, fine)
    assert answers(endpoint, "rk")

    raw.channel.queue_delete(endpoint.queue)
    wait_until(lambda: processor.counts["restarts"] >= 2, SOON)
    assert answers(endpoint, "fine")
    raw.declare(endpoint.queue)

    wait_until(lambda: processor.consumer.consuming, SOON)
    assert answers(endpoint, "rk")


def test_the_last_error_is_the_cause_when_it_gives_up(endpoint: Endpoint, start: Any, raw: Raw):
    raw.declare(endpoint.queue)
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    processor = Fragile("rk", endpoint.at((as_it_is, "rk")))
    processor.restart_intensity = 1
    _, loop = start(processor)
    assert answers(endpoint, "rk")

    raw.channel.queue_delete(endpoint.queue)

    with pytest.raises(GaveUp) as error:
        loop.get(timeout=SOON)
    assert isinstance(error.value.__cause__, ChannelRefused)
    assert error.value.__cause__.misses(endpoint.queue)


def test_what_our_own_side_closes_ends_the_loop_at_once(endpoint: Endpoint, start: Any):
    processor = fragile(endpoint)
    _, loop = start(processor)
    assert answers(endpoint, "rk")

    green.close()

    with pytest.raises(ConnectionClosed):
        loop.get(timeout=SOON)
    assert processor.lives == 1


def test_an_unknown_policy_is_an_error_before_anything_runs(endpoint: Endpoint):
    with pytest.raises(SettingsError, match="not 'forever'"):
        green.Scheduler().add_microthread(fragile(endpoint, restart="forever"))


def test_a_crash_while_it_ends_is_logged_and_keeps_nobody(endpoint: Endpoint, start: Any, caplog):
    class Crooked(Fragile):
        def step(self) -> None:
            self.start_consuming()
            raise ZeroDivisionError("at the end")

    processor = Crooked("crooked", endpoint.eqk)
    scheduler, loop = start(processor)
    assert answers(endpoint, "rk")

    scheduler.stop()
    loop.get(timeout=SOON)

    assert "has crashed; it is not started again" in caplog.text


def test_a_policy_that_becomes_invalid_ends_the_loop(endpoint: Endpoint, start: Any):
    processor = fragile(endpoint, crashes=1)
    _, loop = start(processor)
    type(processor).restart = "forever"  # an assignment to the processor would be refused
    with pytest.raises(SettingsError, match="restart must be one of"):
        loop.get(timeout=SOON)


def test_values_of_the_class_are_checked_again_when_it_is_added(endpoint: Endpoint):
    processor = fragile(endpoint)
    type(processor).restart_intensity = "many"
    with pytest.raises(SettingsError, match="restart_intensity must be an int"):
        green.Scheduler().add_microthread(processor)
