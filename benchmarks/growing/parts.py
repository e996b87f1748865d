"""The common parts of the programs: an exchange, a caller, and running processors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent

from benchmarks.growing import EXCHANGE
from postage import green, messaging


class Growing(messaging.Exchange):
    """The exchange of this benchmark."""

    name = EXCHANGE


class Caller(messaging.GenericProducer):
    """Calls by a key, with one try and a very long timeout."""

    eks = [(Growing, "nokey")]  # noqa: RUF012 - the classic form
    rpc_timeout = 200
    max_retry = 0


def wait_for_line() -> None:
    """Let other greenlets run until a line, or the end, is read from standard input."""
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


def wait_until_consuming(*processors: messaging.MessageProcessor) -> None:
    """Wait until the broker has a consumer for each of their queues, asking a few times."""
    for each in processors:
        while not each.consumer.consuming:
            gevent.sleep(0.002)


@contextmanager
def running(*processors: messaging.MessageProcessor) -> Iterator[None]:
    """Run *processors* inside the block."""
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
    """Wait for *calls*; raise `AssertionError` if one has not ended as it should."""
    gevent.joinall(calls)
    others = [each.get() for each in calls if not ends(each.get())]
    if others:
        raise AssertionError(f"{len(others)} of {len(calls)} calls ended by {others[0]!r}")
