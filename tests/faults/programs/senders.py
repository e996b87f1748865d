"""Publishes and calls: ``senders.py ENDPOINT PUBLISHER MANDATORY KEY...``, until SIGTERM.

It sends 200 notes and 50 calls a second, to the keys in turn, and prints which notes are confirmed,
and the outcome of each call.
"""

from __future__ import annotations

import itertools
import logging
import random
import signal
import sys
from typing import Any

from postage import green

green.patch_all()

import gevent  # noqa: E402 - after patching

from postage.errors import PublishFailed  # noqa: E402 - after patching
from tests.support.endpoints import Endpoint  # noqa: E402 - after patching
from tests.support.stopwatch import Stopwatch  # noqa: E402 - after patching

ENDPOINT, PUBLISHER, MANDATORY = Endpoint(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "mandatory"
KEYS, NOTERS, CALLERS = sys.argv[4:], 20, 5
numbers = itertools.count()


def repeat(step: Any) -> None:
    gevent.sleep(random.uniform(0, 0.1))
    while not stopping:
        watch = Stopwatch()
        sys.stdout.write(step(producer()) + f" {watch.own:.2f}\n")
        sys.stdout.flush()
        gevent.sleep(max(0.0, 0.1 - watch.seconds))


def producer() -> Any:
    return ENDPOINT.producer(mandatory=MANDATORY, rpc_timeout=5, max_retry=1)


def publish(to: Any) -> str:
    number = next(numbers)
    try:
        to.message_note([PUBLISHER, number], _key=KEYS[number % len(KEYS)])
    except PublishFailed as exc:
        return f"refused {type(exc).__name__} {number}"
    return f"confirmed {PUBLISHER} {number}"


def call(to: Any) -> str:
    number = next(numbers)
    value = to.rpc_echo(number, _key=KEYS[number % len(KEYS)]).value
    return f"called {'answered' if value == number else value}"


logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
logging.getLogger("postage").setLevel(logging.DEBUG)
stopping: list[int] = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
steps = [publish] * NOTERS + [call] * CALLERS
gevent.joinall([gevent.spawn(repeat, step) for step in steps], raise_error=True)
