"""Handlers that compute for five heartbeats: the connections live on, and the log says where.

``POSTAGE_COMPUTING_RUNS=20`` runs each case as often as the promise was made for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from tests.support.certificates import Certificates
from tests.support.programs import Finished, Program

Run = tuple[int, Finished]
"""The process id of a program, and how it ended."""
RUNS = int(os.environ.get("POSTAGE_COMPUTING_RUNS", "2"))
WITHIN = 60.0 + 3 * RUNS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,  # tests/faults/test_computing.py runs once in every suite
    pytest.mark.needs_rabbitmq("TLS, and a log of missed heartbeats"),
]

PROGRAM = """
import logging, os, sys, time
import gevent
from postage import green, messaging

form = "%(levelname)s %(name)s %(message)s"
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format=form)
logging.getLogger("pika").setLevel(logging.CRITICAL)
NAME = f"computing-{os.getpid()}"

class Exchange(messaging.Exchange):
    name = "computing"

class Producer(messaging.GenericProducer):
    eks = [(Exchange, NAME)]

class Worker(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "compute")
    def compute(self, content):
        if self.counts["begun"]:
            self.stop_consuming()  # it came again, since its connection was lost
            return
        self.counts["begun"] += 1
        print("begins", flush=True)
        end = time.monotonic() + 10
        while time.monotonic() < end:  # it
            pass  # it
        print("ends", flush=True)
        gevent.spawn_later(3, producer.message_stop)

    @messaging.MessageHandler("command", "stop")
    def stop(self, content):
        print("stops", flush=True)
        self.stop_consuming()

queue = {"name": NAME, "flags": {"auto_delete": True}}
worker = Worker({"name": "worker"}, [(Exchange, [(queue, NAME)])])
producer = Producer()
producer.message_compute()
green.run(worker)
"""
LINES = [n for n, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# it")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates for the node and the programs."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def node(rabbitmq: RabbitMQNode, certificates: Certificates) -> Iterator[RabbitMQNode]:
    """A node whose log holds only these connections."""
    with RabbitMQNode(tls=certificates.broker) as node:
        yield node


@pytest.fixture(scope="module")
def runs(node: RabbitMQNode, certificates: Certificates) -> dict[str, list[Run]]:
    """The program, run many times at once: without and with TLS, with and without the monitor."""
    plain = f"amqp://127.0.0.1:{node.port}?heartbeat=2"
    tls = f"amqps://127.0.0.1:{node.tls_port}?heartbeat=2&cacertfile={certificates.ca}"
    urls = {
        "plain": [plain] * RUNS,
        "tls": [tls] * RUNS,
        "plain, unmonitored": [f"{plain}&late_after=0"],
        "tls, unmonitored": [f"{tls}&late_after=0"],
    }
    with ExitStack() as stack:
        programs = {
            kind: [stack.enter_context(program(url)) for url in urls[kind]] for kind in urls
        }
        return {
            kind: [(each.pid, each.wait(WITHIN)) for each in programs[kind]] for kind in programs
        }


def program(url: str) -> Program:
    """Return the program for the broker at *url*, without the environment of other tests."""
    clean = {key: text for key, text in os.environ.items() if not key.startswith("POSTAGE_")}
    return Program("-c", PROGRAM, env=clean | {"POSTAGE_URL": url})


def missed(node: RabbitMQNode) -> set[int]:
    """Return the ids of the processes that missed heartbeats, by the log of the broker."""
    pattern = r"postage (\d+) \w+\):\n.* missed heartbeats from client"
    return {int(pid) for pid in re.findall(pattern, node.log_text())}


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_handler_that_computes_keeps_its_connections(
    node: RabbitMQNode, runs: dict[str, list[Run]], kind: str
) -> None:
    for pid, finished in runs[kind]:
        said = finished.stdout
        assert (finished.code, finished.stderr) == (0, ""), said
        assert [said.count(word) for word in ("begins", "ends", "stops")] == [1, 1, 1], said
        assert " lost" not in said
        assert pid not in missed(node)
        (late,) = re.findall(r"WARNING .* (handler .*) \(compute\)", said)
        assert late in [f"handler Worker.compute of Worker 'worker' at <string>:{n}" for n in LINES]
        assert re.search(r"INFO postage\.green\S+ .* run again, after (9|10)\.\d s", said)


@pytest.mark.parametrize("kind", ["plain, unmonitored", "tls, unmonitored"])
def test_without_the_monitor_they_are_lost(
    node: RabbitMQNode, runs: dict[str, list[Run]], kind: str
) -> None:
    ((pid, finished),) = runs[kind]
    assert " lost" in finished.stdout
    assert pid in missed(node)
    assert "No other greenlet has run" not in finished.stdout
