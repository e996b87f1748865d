"""SIGTERM under load: each message is acknowledged after its handler, or requeued."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from postage.testing.polling import wait_until
from tests.faults.catalogue import PROGRAMS, written
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.raw import Raw, raw_to
from tests.support.stopwatch import Stopwatch

SENDERS = 20
#: How many messages have been handled when the signal is sent.
MOMENTS = [50, 120, 333]
MANY = [25 + 40 * number for number in range(20)]

FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}
ALLOWED = 1.0

Message = tuple[int, int]
_numbers = itertools.count(1)


class Senders:
    """Greenlets that publish numbered messages; `sent` are the confirmed ones."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.sent: set[Message] = set()
        self._over = False
        self._endpoint = endpoint
        self._greenlets = [gevent.spawn(self._send, number) for number in range(SENDERS)]

    def _send(self, publisher: int) -> None:
        producer = self._endpoint.producer(eks=[(self._endpoint.exchange, "notes")])
        for number in itertools.count():
            if self._over:
                return
            producer.message_note([publisher, number])
            self.sent.add((publisher, number))
            gevent.sleep(0.02)

    def stop(self) -> None:
        self._over = True
        gevent.joinall(self._greenlets, timeout=10, raise_error=True)


@pytest.fixture
def endpoint(broker_env: Any) -> Endpoint:
    return Endpoint(f"sigterm-{next(_numbers)}")


@contextmanager
def raw_at(broker_env: Any, endpoint: Endpoint) -> Iterator[Raw]:
    """Declare the queue of *endpoint* with plain pika, and yield the connection."""
    queue = endpoint.sub("notes")
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.channel.exchange_declare(**endpoint.exchange.parameters)
        raw.declare(queue)
        raw.channel.queue_bind(queue, endpoint.queue, "notes")
        yield raw


def queued(raw: Raw, queue: str) -> Iterator[Message]:
    """Take the messages out of *queue*, and yield them."""
    while (got := raw.channel.basic_get(queue, auto_ack=True))[0] is not None:
        publisher, number = json.loads(got[2])["content"]["parameters"]
        yield publisher, number


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [*MOMENTS, *(pytest.param(each, marks=pytest.mark.soak) for each in MANY)]
)
def test_every_message_is_acknowledged_or_requeued(
    moment: int, endpoint: Endpoint, broker_env: Any
) -> None:
    program = f"{PROGRAMS}/worker.py", endpoint.queue, "0.1", "10"
    with raw_at(broker_env, endpoint), Program(*program) as child:
        senders = Senders(endpoint)
        wait_until(lambda: child.stdout.count("done") >= moment, 30, f"{moment} are handled")
        child.popen.send_signal(signal.SIGTERM)
        ended = child.wait(15)
        senders.stop()
        begun, done = (set(written(child, word)) for word in ("begun", "done"))

    with raw_at(broker_env, endpoint) as raw:
        left = list(queued(raw, endpoint.sub("notes")))

    assert ended.code == 0, ended.stderr
    assert begun == done, "each handler that had started has finished"
    assert len(set(left)) == len(left), "no message is in the queue twice"
    assert not done & set(left), "handled messages are acknowledged"
    assert senders.sent == done | set(left), "all others are requeued"


@pytest.mark.slow
def test_an_endless_handler_ends_at_the_shutdown_timeout(
    endpoint: Endpoint, broker_env: Any
) -> None:
    allowed = 2.0
    program = f"{PROGRAMS}/worker.py", endpoint.queue, "1e6", str(allowed)
    with raw_at(broker_env, endpoint), Program(*program) as child:
        endpoint.producer(eks=[(endpoint.exchange, "notes")]).message_note([0, 0])
        child.wait_for_line("begun 0 0", 15)
        told = Stopwatch()
        child.popen.send_signal(signal.SIGTERM)
        ended = child.wait(15)
        took, own = told.seconds, told.own

    with raw_at(broker_env, endpoint) as raw:
        assert list(queued(raw, endpoint.sub("notes"))) == [(0, 0)], "requeued"
    assert ended.code == 0, ended.stderr
    assert took > allowed - 0.5
    assert own < allowed + 1.0


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_message_that_cannot_be_parked_is_requeued(
    times: int, endpoint: Endpoint, broker_env: Any
) -> None:
    """Its parking queue is full; the program still ends in time, after one signal or two."""
    program = f"{PROGRAMS}/worker.py", endpoint.queue, "0", str(ALLOWED)
    notes = endpoint.sub("notes")
    with raw_at(broker_env, endpoint) as raw, Program(*program) as child:
        raw.declare(f"{notes}.parked", arguments=FULL)
        for _ in range(5):
            raw.put(notes, b"no message")
        child.wait_for_line("malformed", 15)
        told = Stopwatch()
        for _ in range(times):
            child.popen.send_signal(signal.SIGTERM)
        ended = child.wait(15)
        own = told.own
        wait_until(lambda: raw.count(notes) == 5, 10)
        assert raw.count(f"{notes}.parked") == 0
        # A second signal that is seen apart from the first one ends the process at once.
        assert ended.code in (0, 128 + signal.SIGTERM)[:times], ended.stderr
    assert own < ALLOWED + 1.0
