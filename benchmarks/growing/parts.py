"""What the programs have in common: an exchange, a caller, and processors that run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent

from benchmarks.growing import EXCHANGE
from postage import green, messaging


class Growing(messaging.Exchange):
    """Of this benchmark alone."""

    name = EXCHANGE


class Caller(messaging.GenericProducer):
    """Calls by a key, once, and for as long as it takes."""

    eks = [(Growing, "nokey")]  # noqa: RUF012 - the classic form
    rpc_timeout = 200
    max_retry = 0


def wait_for_line() -> None:
    """Let others work until a line, or the end, comes on standard input."""
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


def wait_until_consuming(*processors: messaging.MessageProcessor) -> None:
    """Wait until the broker has a consumer for every queue of theirs; each is asked a few times."""
    for each in processors:
        while not each.consumer.consuming:
            gevent.sleep(0.002)


@contextmanager
def running(*processors: messaging.MessageProcessor) -> Iterator[None]:
    """Have *processors* consume inside the block."""
    scheduler = green.Scheduler()
    for each in processors:
        scheduler.add_microthread(each)
    loop = gevent.spawn(_run, scheduler)
    wait_until_consuming(*processors)
    yield
    scheduler.stop()
    loop.get()


def _run(scheduler: green.Scheduler) -> None:
    for _ in scheduler.main():
        pass


def wait_for_all(calls: Sequence[gevent.Greenlet[..., Any]], ends: Callable[[Any], bool]) -> None:
    """Wait for *calls*; raises `AssertionError` where one has not ended as it should."""
    gevent.joinall(calls)
    others = [each.get() for each in calls if not ends(each.get())]
    if others:
        raise AssertionError(f"{len(others)} of {len(calls)} calls ended by {others[0]!r}")
