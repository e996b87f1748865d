"""Processors and consumers that run in greenlets during a block of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from postage import messaging
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor

SOON = 10.0
"""Seconds for anything that takes a few round trips to the broker."""


def warm(producer: messaging.GenericProducer) -> None:
    """Make a first call, after which calls to the same key share one reply queue."""
    assert producer.rpc_echo("warm").value == "warm"


@contextmanager
def running(*processors: messaging.MessageProcessor) -> Iterator[None]:
    """Run *processors* during the block; then stop them, and raise the error that has ended one.

    Unlike the fixture ``run_processor``, it accepts handlers that fail, which is what many tests
    are about.
    """
    with RunProcessor() as run_processor:
        for processor in processors:
            run_processor(processor)
        yield
        run_processor.stop()
        run_processor.errors.clear()


@contextmanager
def consuming(consumer: messaging.GenericConsumer) -> Iterator[list[Any]]:
    """Acknowledge the messages of *consumer*, and collect them in the list that the block gets.

    An item is the arguments of a classic callback: channel, method, header, body.
    """
    got: list[Any] = []

    def take(*message: Any) -> None:
        got.append(message)
        consumer.ack(message[1])

    run = gevent.spawn(consumer.start_consuming, take)
    wait_until(lambda: run.dead or consumer.consuming, SOON)
    try:
        yield got
    finally:
        consumer.stop_consuming()
        run.join(SOON)
        run.kill()
    run.get(block=False)
