"""Processors and consumers that run in greenlets beside the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from postage import messaging
from postage.testing.polling import wait_until

#: Seconds for whatever is only a few round trips to the broker away.
SOON = 10.0


def value(result: Any) -> Any:
    """Return the value in a result message."""
    return result.value


def text(result: Any) -> str:
    """Return the message for people in a result message."""
    found: str = result.message
    return found


def warm(producer: messaging.GenericProducer) -> None:
    """Make a first call: later ones to the same key share one reply queue."""
    assert value(producer.rpc_echo("warm")) == "warm"


@contextmanager
def running(*processors: messaging.MessageProcessor) -> Iterator[list[gevent.Greenlet]]:
    """Run *processors* while the block lasts; then let them finish, and raise what ended one."""
    runs = [gevent.spawn(processor.start_consuming) for processor in processors]
    for processor, run in zip(processors, runs, strict=True):
        wait_until(lambda p=processor, r=run: r.dead or " consuming" in repr(p.consumer), SOON)
    try:
        yield runs
    finally:
        for processor in processors:
            processor.stop_consuming()
        finished = gevent.joinall(runs, timeout=SOON)
        gevent.killall(runs)
    assert len(finished) == len(runs), "a processor did not stop"
    for run in runs:
        run.get(block=False)


@contextmanager
def consuming(consumer: messaging.GenericConsumer) -> Iterator[list[Any]]:
    """Have *consumer* collect what comes, acknowledged, in the list that the block gets.

    The items are those of a classic callback: channel, method, header, body.
    """
    got: list[Any] = []

    def take(*message: Any) -> None:
        got.append(message)
        consumer.ack(message[1])

    run = gevent.spawn(consumer.start_consuming, take)
    wait_until(lambda: run.dead or " consuming" in repr(consumer), SOON)
    try:
        yield got
    finally:
        consumer.stop_consuming()
        run.join(SOON)
        run.kill()
    run.get(block=False)
