"""``python -m tests.faults.cluster --kills 10 --broker rabbitmq-4.3``: nodes of a cluster die.

The cluster has three RabbitMQ nodes on 127.0.0.1, and quorum queues under load.  In turn the node
with the leader of the queue of messages dies, and the node that our consumers are connected to.  A
node that has died is started again before the next one is killed.  ``--busy`` computes beside it,
on every processor.  The exit code is 1 if a confirmed message is lost, or comes back later than the
version of RabbitMQ promises.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pika.exceptions

from postage.green.runtime import runtime_of
from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.rabbitmq_cluster import join
from tests.faults.fault_env import FaultEnv, add_broker_option, node_for, on_brokers
from tests.faults.fault_run import fault_run, inject, reached
from tests.faults.journal import Journal
from tests.faults.load import Load, LoadSettings
from tests.faults.report import Limits, report, violations
from tests.faults.steady import end_program, say
from tests.support.broker_commands import control, in_node_thread
from tests.support.programs import Program
from tests.support.raw import Raw

VHOST = "clustered"
"""The only vhost: a cluster takes a second for each at its first start."""
HELD = 5.0
"""Seconds for which a quorum queue of RabbitMQ 4.3 keeps what the consumers on a lost node held,
before others get it.  Its default is 60.  Older versions do not know the argument, and give the
messages to others as soon as they notice the loss."""
NOTICED = 25.0
"""Seconds within which a busy cluster of three nodes must notice the loss and go on."""
MOST_HELD = 5
"""Messages that a client of a node holds when the node dies."""
QUORUM = LoadSettings(
    arguments={"x-queue-type": "quorum", "x-consumer-disconnected-timeout": int(HELD * 1e3)},
    publish_timeout=30.0,
    recovery_timeout=HELD + NOTICED,
)
PATIENT = Limits(recovery=NOTICED, growth=0.3)  # the first connection to each node takes memory


@contextmanager
def on_cluster() -> Iterator[FaultEnv]:
    """Start three nodes, which takes about 20 s, and use them."""
    with ExitStack() as stack:
        nodes = [node_for(VHOST) for _ in range(3)]
        for node in nodes:
            stack.callback(node.close)
        join(nodes)
        starts = [gevent.spawn(in_node_thread, node.start) for node in nodes]
        gevent.joinall(starts, raise_error=True)
        control(nodes[0], "await_online_nodes", "3")
        yield stack.enter_context(on_brokers(*nodes, vhost=VHOST))


def leader_of(env: FaultEnv, queue: str) -> RabbitMQNode:
    """Return the node on which the leader of a quorum *queue* is."""
    listing = env.control("list_queues", "--vhost", env.vhost, "name", "leader")
    leaders = dict(line.split("\t") for line in listing.splitlines() if "\t" in line)
    found: RabbitMQNode = next(node for node in env.brokers if node.name == leaders[queue])
    return found


def node_of_consumers(env: FaultEnv, load: Load) -> RabbitMQNode:
    """Return the node that the consumers of *load* are connected to."""
    port = runtime_of(load.processors[0].consumer.settings).pair.consuming.get().port
    found: RabbitMQNode = env.brokers[env.ports.index(port)]
    return found


def kill_and_await(env: FaultEnv, load: Load, victim: RabbitMQNode, keeps: float) -> str:
    """Kill *victim*, and wait until others go on, and have got what its clients held.

    The brokers keep that for *keeps* seconds.

    Return an account of both times.  The journal notes messages that come later than promised.
    """
    journal, limit = load.journal, NOTICED + keeps
    whose = "with" if victim is node_of_consumers(env, load) else "without"
    with contextlib.suppress(pika.exceptions.AMQPError), env.raw(victim) as raw:
        held = hold_some(raw, load)
        victim.kill()
    killed = time.monotonic()
    recovery = inject(env, load, lambda *_: None)
    if not reached(lambda: held.isdisjoint(journal.open_messages), limit):
        journal.add_unexpected(f"what a dead node held is not delivered within {limit:g} s")
    took = time.monotonic() - killed
    return (
        f"{whose} our consumers: recovery after {recovery:5.2f} s, "
        f"all of {len(held)} messages held handled after {took:5.2f} s"
    )


def hold_some(raw: Raw, load: Load) -> set[tuple[int, int]]:
    """Take some messages off the queue of messages, and return them unacknowledged.

    Processors of the load hold theirs for milliseconds.
    """
    held: set[tuple[int, int]] = set()

    def note(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        held.add(tuple(json.loads(body)["content"]["parameters"]))

    raw.channel.basic_qos(prefetch_count=MOST_HELD)
    raw.channel.basic_consume(load.notes, note)
    while len(held) < MOST_HELD:
        raw.connection.process_data_events(0)
        gevent.sleep(0.01)
    return held


def promised(env: FaultEnv) -> float:
    """Return the seconds for which the brokers keep what the consumers on a lost node held."""
    version = tuple(map(int, env.control("version").split(".")[:2]))
    return HELD if version >= (4, 3) else 0.0


def restart(env: FaultEnv, node: RabbitMQNode) -> None:
    """Start a *node* that has died, and wait until the cluster is whole."""
    in_node_thread(node.start)
    env.control("await_online_nodes", "3")


def run_kills(env: FaultEnv, kills: int) -> Journal:
    """Kill a node so many times, first that of the leader; return the journal."""
    keeps = promised(env)
    with fault_run(env, f"{kills} nodes of a cluster killed", QUORUM) as load:
        dead: RabbitMQNode | None = None
        for number in range(kills):
            if dead is not None:
                restart(env, dead)
            leader = leader_of(env, load.notes)
            dead = node_of_consumers(env, load) if number % 2 else leader
            what = "leader" if dead is leader else "follower"
            say(f"kill {number + 1} of a {what} {kill_and_await(env, load, dead, keeps)}")
    return load.journal


@contextmanager
def busy_machine() -> Iterator[None]:
    """Compute on every processor during the block."""
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.enter_context(Program("-c", "while True: pass"))
        yield


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cluster", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--busy", action="store_true", help="let all processors compute meanwhile")
    add_broker_option(parser)
    options = parser.parse_args()
    with ExitStack() as stack:
        env = stack.enter_context(on_cluster())
        if options.busy:
            stack.enter_context(busy_machine())
        journal = run_kills(env, options.kills)
    say(report(journal))
    end_program(violations(journal, PATIENT))


if __name__ == "__main__":
    main()
