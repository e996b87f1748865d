"""A queue that is never answered, under the load of several processes: the others go on."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from pika import spec

from postage.testing.polling import wait_until
from tests.faults.catalogue import PROGRAMS
from tests.faults.fault_env import FaultEnv
from tests.support.deaf_proxy import deaf_proxy
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.stopwatch import Stopwatch

LIMIT = 5.0
"""Seconds within which the other queues must be consumed again."""
_numbers = itertools.count()


@pytest.mark.slow
@pytest.mark.limit(120)
@pytest.mark.parametrize(
    "methods",
    [(spec.Queue.Declare, spec.Queue.Bind), (spec.Basic.Consume,)],
    ids=["declare", "consume"],
)
@pytest.mark.parametrize("kind", ["embedded", "rabbitmq"])
def test_a_queue_without_an_answer_holds_up_no_other(
    kind: str, env: FaultEnv, methods: Any
) -> None:
    endpoint = Endpoint(f"unanswered-{next(_numbers)}")
    with deaf_proxy(env.broker.port) as deaf, env.raw() as raw:
        url = env.url.replace(f":{env.ports[0]}/", f":{deaf.port}/")
        receiver = Program(
            f"{PROGRAMS}/receiver.py",
            endpoint.queue,
            *("a", "dead", "b"),
            env={**os.environ, "POSTAGE_URL": url},
        )
        senders = Program(f"{PROGRAMS}/senders.py", endpoint.queue, "0", "optional", "a", "b")
        with receiver, senders:
            wait_until(lambda: all(map(raw.exists, map(endpoint.sub, ("a", "b")))), 20.0)
            wait_until(lambda: receiver.stdout.count("\n") > 100, 20.0)
            deaf.ignore(endpoint.sub("dead"), *methods)
            deaf.cut()
            watch = Stopwatch()
            wait_until(lambda: raw.consumers(endpoint.sub("a")) == 0, LIMIT)
            before = receiver.stdout.count("\n")
            wait_until(lambda: receiver.stdout.count("\n") > before + 100, LIMIT)
            assert watch.own < LIMIT
            wait_until(lambda: "does not answer about queue" in receiver.stderr, LIMIT)
            assert senders.running
