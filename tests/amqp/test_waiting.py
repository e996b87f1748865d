"""Waiting with a limit, and objects that one greenlet makes for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from postage.errors import OperationTimeout
from postage.green.amqp.waiting import Answer, SharedResource
from tests.support.attempts import outcomes, spawned
from tests.support.stopwatch import Stopwatch

SOON = 5.0


class Thing:
    """The object that a `SharedResource` makes in these tests."""

    alive = True


class Maker:
    """Makes objects as slowly as a test wants, and counts its calls."""

    def __init__(self) -> None:
        self.go = Event()
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> Thing:
        self.calls += 1
        self.go.wait()
        if self.error is not None:
            raise self.error
        return Thing()


def wanting(resource: SharedResource[Thing], count: int) -> list[gevent.Greenlet]:
    """Start *count* greenlets that want the object, and let them wait."""
    runs = [spawned(resource.get) for _ in range(count)]
    gevent.idle()
    return runs


def test_one_makes_it_for_all() -> None:
    make = Maker()
    resource = SharedResource(make)
    runs = wanting(resource, 10)
    assert resource.current is None
    make.go.set()
    things = outcomes(runs, SOON)
    assert isinstance(things[0], Thing)
    assert [thing is things[0] for thing in things] == [True] * 10
    assert resource.get() is resource.current is things[0]
    assert make.calls == 1


def test_a_failure_is_shared_and_the_next_one_tries_again() -> None:
    make = Maker()
    make.error = OSError("no")
    resource = SharedResource(make)
    runs = wanting(resource, 10)
    make.go.set()
    assert outcomes(runs, SOON) == [make.error] * 10
    assert make.calls == 1
    make.error = None
    assert isinstance(resource.get(), Thing)
    assert make.calls == 2


def test_an_ended_thing_is_made_again() -> None:
    make = Maker()
    make.go.set()
    resource = SharedResource(make)
    first = resource.get()
    first.alive = False
    assert resource.current is None
    assert resource.get() is not first
    assert make.calls == 2


@pytest.mark.parametrize("end", [gevent.GreenletExit, gevent.Timeout, KeyError])
def test_a_maker_that_is_killed_is_replaced_by_one_that_waits(end: type[BaseException]) -> None:
    make = Maker()
    resource = SharedResource(make)
    first = gevent.spawn(suppressed(resource.get, end))
    gevent.idle()
    runs = wanting(resource, 5)
    assert make.calls == 1
    first.kill(end)
    if issubclass(end, Exception):  # an error of making it: all share it
        assert [type(error) for error in outcomes(runs, SOON)] == [end] * 5
        return
    make.go.set()
    things = outcomes(runs, SOON)
    assert {type(thing) for thing in things} == {Thing}
    assert len(set(map(id, things))) == 1
    assert make.calls == 2


def suppressed(call: Callable[[], Any], kind: type[BaseException]) -> Callable[[], None]:
    """Return *call* wrapped so that it expects the error *kind*."""

    def run() -> None:
        with pytest.raises(kind):
            call()

    return run


def test_killing_a_waiter_does_not_affect_the_others() -> None:
    make = Maker()
    resource = SharedResource(make)
    runs = wanting(resource, 3)
    runs[1].kill()
    make.go.set()
    first, _, third = outcomes(runs, SOON)
    assert first is third
    assert make.calls == 1


# --- answers


def test_the_answer() -> None:
    answer: Answer[str] = Answer()
    gevent.spawn(answer.set_result, "yes")
    assert answer.get("asking", SOON) == "yes"
    assert answer.get("asking", 0) == "yes"


def test_the_first_answer_stays() -> None:
    answer: Answer[str] = Answer()
    answer.set_result("first")
    answer.set_exception(KeyError("second"))
    answer.set_result("third")
    assert answer.get("asking", 0) == "first"


def test_the_error() -> None:
    answer: Answer[str] = Answer()
    gevent.spawn(answer.set_exception, KeyError("no"))
    with pytest.raises(KeyError):
        answer.get("asking", SOON)


@pytest.mark.parametrize("limit", [0, 0.05])
def test_the_limit(limit: float) -> None:
    watch = Stopwatch()
    with pytest.raises(OperationTimeout, match=f"no answer to asking within {limit} s") as late:
        Answer[str]().get("asking", limit)
    assert watch.seconds >= limit
    assert watch.own < limit + 1
    assert (late.value.operation, late.value.seconds) == ("asking", limit)


def test_a_limit_from_outside_passes_through() -> None:
    with pytest.raises(gevent.Timeout) as over, gevent.Timeout(0.02) as ours:
        Answer[str]().get("asking", SOON)
    assert over.value is ours
