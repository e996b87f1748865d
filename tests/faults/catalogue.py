"""All faults of the suite: what causes each of them, and what it may cost."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import gevent
import pytest

from postage import messaging
from postage.errors import PublishFailed, TopologyMismatch
from postage.green.amqp import deleted_exchanges
from postage.green.amqp.deleted_exchanges import PUBLISHERS_WAIT
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import HEARTBEAT, FaultEnv
from tests.faults.load import Load, LoadSettings
from tests.faults.report import ALL_ANSWERED, HARMLESS, Limits
from tests.support.broker_commands import close_connection, in_node_thread
from tests.support.endpoints import Endpoint
from tests.support.programs import Program

RABBITMQ, EMBEDDED = ("rabbitmq",), ("embedded",)
BOTH = RABBITMQ + EMBEDDED
ONE_SOON = [
    pytest.param("rabbitmq", marks=pytest.mark.slow),
    pytest.param("embedded", marks=pytest.mark.soak),
]
"""Both, for tests that wait for long: `make soak` runs them on the embedded broker."""
REDELIVERED = Limits(refused=0, outcomes=ALL_ANSWERED)
REPLIES_LOST = Limits(duplicates=0, refused=0, outcomes=ALL_ANSWERED | {"ConnectionLost"})
LATE = Limits(duplicates=0, refused=0)
"""Calls may time out, but no connection is lost."""
DETECTION = 2 * (HEARTBEAT + 5) + 1.0
"""Seconds within which a client must detect a half-open connection.  pika checks every
heartbeat + 5 s, and its first check may still see bytes that came before."""
REPEATS = 5
PROGRAMS = "tests/faults/programs"

_publishers = itertools.count(1000)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault."""

    name: str
    inject: Callable[..., None]  # called with the environment and the load; returns when it is over
    brokers: tuple[str, ...] = BOTH  # where the fault is possible
    quick: tuple[str, ...] = BOTH  # where it takes only seconds: there it is in every run
    limits: Limits = field(default_factory=Limits)
    settings: LoadSettings = field(default_factory=LoadSettings)
    weight: int = 1  # how often it happens in `chaos`, relative to the others
    draw: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The bounds between which `chaos` draws its arguments."""


FAULTS: list[Fault] = []
Inject = TypeVar("Inject", bound=Callable[..., None])


def fault(
    name: str, arguments: dict[str, Any] | None = None, **options: Any
) -> Callable[[Inject], Inject]:
    """Register a function, called with *arguments*, as a `Fault` with these *options*."""

    def register(inject: Inject) -> Inject:
        FAULTS.append(Fault(name=name, inject=partial(inject, **(arguments or {})), **options))
        return inject

    return register


SECONDS = {"seconds": (0.2, 4.0)}


# --- the network


@fault("connections cut", weight=3)
def cut(env: FaultEnv, _load: Load) -> None:
    assert env.proxy.cut() >= 2


@fault("connections refused for 2 s", quick=EMBEDDED, weight=2, draw=SECONDS)
def refuse(env: FaultEnv, _load: Load, seconds: float = 2.0) -> None:
    """Cut all connections, and refuse new ones for a time."""
    env.proxy.refuse()
    env.proxy.cut()
    gevent.sleep(seconds)
    env.proxy.accept()


@fault("connections half-open", quick=(), weight=2)
def half_open(env: FaultEnv, _load: Load) -> None:
    """Swallow all bytes of the present connections, until their clients have detected it."""
    assert env.proxy.half_open() >= 2
    wait_until(lambda: not env.proxy.undetected, DETECTION, "each client has detected it")


@fault("network partition of 3 s", quick=(), draw=SECONDS)
def partition(env: FaultEnv, _load: Load, seconds: float = 3.0) -> None:
    """Swallow all bytes, also of new connections, for a time; then cut all connections."""
    env.proxy.half_open(new=True)
    gevent.sleep(seconds)
    env.proxy.cut()


@fault("delay of 2 s", {"delay": 2.0}, limits=LATE, quick=(), draw=SECONDS | {"delay": (0.1, 2.0)})
@fault(
    "10 kB/s",
    {"rate": 10_000},
    limits=Limits(duplicates=0),
    quick=EMBEDDED,
    draw=SECONDS | {"rate": (5_000, 50_000)},
)
def slow(env: FaultEnv, _load: Load, *, seconds: float = 4.0, **limits: float) -> None:
    """Delay all bytes, or limit their rate, for a time."""
    env.proxy.slow(**limits)
    gevent.sleep(seconds)
    env.proxy.slow()


@fault(
    "cut in mid-frame",
    quick=EMBEDDED,
    weight=2,
    draw={"to_broker": (20, 3000), "from_broker": (20, 200)},
)
def cut_in_mid_frame(
    env: FaultEnv, load: Load, *, to_broker: float = 777, from_broker: float = 95
) -> None:
    """Cut each connection after so many bytes to the broker, and then after so many from it.

    The second number is small: the publishing connection receives little except confirms, of 21
    bytes each.
    """
    for size, is_answer in ((to_broker, False), (from_broker, True)):
        assert env.proxy.cut_after(int(size), from_broker=is_answer) >= 2
        wait_until(lambda: not env.proxy.pending_cuts, 5.0, "all connections are cut")
        before = load.journal.successes.copy()
        wait_until(partial(load.all_succeeded, 1, before), 15.0, "each sender succeeds again")


# --- the broker


@fault("broker killed and restarted", brokers=RABBITMQ, weight=2)
def kill_broker(env: FaultEnv, _load: Load) -> None:
    """Kill the node as a crash would, and start it again with its data."""
    in_node_thread(env.broker.kill)
    in_node_thread(env.broker.start)


@fault("application stopped", brokers=RABBITMQ, quick=())
def stop_application(env: FaultEnv, _load: Load) -> None:
    """Stop the application within the node, and start it again."""
    env.control("stop_app")
    env.control("start_app")


@fault("memory alarm", limits=LATE, quick=RABBITMQ, draw=SECONDS)
def raise_alarm(env: FaultEnv, _load: Load, seconds: float = 2.0) -> None:
    """Raise a memory alarm for a time: the broker blocks publishers, but not consumers."""
    if isinstance(env.broker, RabbitMQNode):
        env.control("set_vm_memory_high_watermark", "0")
        gevent.sleep(seconds)
        env.control("set_vm_memory_high_watermark", "0.4")
    else:
        env.broker.faults.block()
        gevent.sleep(seconds)
        env.broker.faults.unblock()


@fault("all connections closed", brokers=RABBITMQ, quick=())
def close_all(env: FaultEnv, _load: Load) -> None:
    """Close all connections in order, as an operator does."""
    env.control("close_all_connections", "--vhost", env.vhost, "a test wants to see it")


@fault("broker empty", brokers=EMBEDDED, limits=Limits(lost=100_000))
def empty_broker(env: FaultEnv, _load: Load | None = None, seconds: float = 0.0) -> None:
    """Stop the broker for a time; it starts without exchanges, queues, bindings and messages."""
    env.proxy.refuse()
    in_node_thread(env.broker.stop)
    gevent.sleep(seconds)
    env.broker.start()
    env.proxy.target = env.broker.port
    env.proxy.accept()


# --- exchanges, queues and consumers; the connections stay


@fault("exchange without queues deleted, 404", quick=EMBEDDED)
def delete_unused_exchange(env: FaultEnv, load: Load) -> None:
    """Delete the exchange of a publisher (404); the publisher redeclares it, and says what it lost.

    Nobody binds a queue to it again, which a publisher cannot know.
    """
    endpoint = Endpoint(load.endpoint.sub("gone"))
    producer = endpoint.producer(publish_timeout=PUBLISHERS_WAIT + 0.5)
    with env.raw() as raw, pytest.MonkeyPatch.context() as patch:
        patch.setattr(deleted_exchanges, "DOUBTED", 1.0)  # no consumer will bind it again
        for _ in range(2):
            producer.message_note([0, 0])
            raw.channel.exchange_delete(endpoint.exchange.name)
            with pytest.raises(PublishFailed):  # NoRoute, unless the last try is not answered
                producer.message_note([0, 0])
            wait_until(partial(is_sent, producer), 10.0, "the exchange is trusted again")


def is_sent(producer: Any) -> bool:
    """Send a message that no queue takes, and tell whether that went well."""
    with contextlib.suppress(PublishFailed):
        producer.message_note([0, 0])
        return True
    return False


@fault("exchange of the load deleted")
def delete_exchange(env: FaultEnv, load: Load) -> None:
    """Delete the exchange that everything goes through, with all its bindings."""
    with env.raw() as raw:
        raw.channel.exchange_delete(load.endpoint.exchange.name)


@fault("binding of calls removed", {"key": "calls"}, quick=EMBEDDED)
@fault("binding of messages removed", {"key": "notes"}, quick=RABBITMQ)
def remove_binding(env: FaultEnv, load: Load, *, key: str) -> None:
    """Remove a binding; the load publishes as mandatory, and so its messages are refused."""
    with env.raw() as raw:
        raw.channel.queue_unbind(load.endpoint.sub(key), load.endpoint.exchange.name, key)


@fault("queue mismatch, 406", limits=HARMLESS, quick=RABBITMQ)
def declare_other_flags(_env: FaultEnv, load: Load) -> None:
    """Declare the queue of the load with other flags (406): only this consumer gets the error."""
    other = {"name": load.notes, "flags": {"arguments": {"x-max-length": 10}}}
    for _ in range(REPEATS):
        with pytest.raises(TopologyMismatch):
            messaging.GenericConsumer(load.endpoint.at((other, "notes")))


@fault("queue of calls deleted", {"key": "calls"}, quick=EMBEDDED)
@fault("queue of messages deleted", {"key": "notes"}, quick=RABBITMQ)
def delete_queue(env: FaultEnv, load: Load, *, key: str) -> None:
    """Delete a queue that has consumers, with the messages in it."""
    with env.raw() as raw:
        deleted = raw.channel.queue_delete(load.endpoint.sub(key))
    if key == "notes":
        load.journal.deleted += deleted.method.message_count


@fault("consumers cancelled", brokers=EMBEDDED, limits=Limits(refused=0))
def cancel_consumers(env: FaultEnv, load: Load) -> None:
    """Cancel all consumers; their queues stay."""
    for queue in (load.notes, load.calls):
        assert env.broker.faults.cancel_consumers(queue, env.vhost) == 10


def delete_reply_queues(env: FaultEnv) -> int:
    """Delete all exclusive queues, which are the reply queues; return their number."""
    vhost = env.broker.broker.node.vhosts[env.vhost]

    def delete() -> int:
        queues = [queue for queue in vhost.queues.values() if queue.owner is not None]
        for queue in queues:
            vhost.remove_queue(queue)
        return len(queues)

    return env.broker.call(delete)


@fault("reply queue deleted", brokers=EMBEDDED, limits=REPLIES_LOST)
def delete_reply_queue(env: FaultEnv, _load: Load) -> None:
    wait_until(lambda: delete_reply_queues(env), 5.0, "there is a reply queue")


@fault("reply connection closed", brokers=RABBITMQ, quick=())
def close_reply_connection(env: FaultEnv, _load: Load) -> None:
    """Close the consuming connection, and so delete its reply queue."""
    close_connection(env.broker, env.vhost, "consuming")


@fault(
    "confirms lost",
    {"change": "lose_confirms", "arguments": (1000,), "seconds": 0.5},
    brokers=EMBEDDED,
    settings=LoadSettings(publish_timeout=3.0),
)
@fault(
    "confirms late",
    {"change": "delay_confirms", "arguments": (1.0, 1000), "seconds": 2.0},
    brokers=EMBEDDED,
    limits=HARMLESS,
)
@fault(
    "confirms turned into nacks",
    {"change": "nack_confirms", "arguments": (REPEATS,)},
    brokers=EMBEDDED,
    limits=Limits(refused=0),
)
def change_confirms(
    env: FaultEnv, _load: Load, *, change: str, arguments: Any, seconds: float = 0.0
) -> None:
    """Change confirms for a time, or so many of them; the messages are in their queues."""
    getattr(env.broker.faults, change)(*arguments, "publishing")
    if seconds:
        gevent.sleep(seconds)
        env.broker.faults.clear()


@fault("dropped before confirms", brokers=EMBEDDED)
def drop_before_confirms(env: FaultEnv, _load: Load) -> None:
    """Take some messages, and drop the connection before they are confirmed."""
    accepted = env.proxy.accepted
    env.broker.faults.drop("publishing", after_frames=3)
    wait_until(lambda: env.proxy.accepted > accepted, 10.0, "connected again")
    env.broker.faults.clear()


# --- other processes


def written(program: Program, word: str) -> list[tuple[int, int]]:
    """Return publisher and number of each whole line of *program* that begins with *word*."""
    lines = re.findall(rf"^{word} (\d+) (\d+)\n", program.stdout, re.MULTILINE)
    return [(int(publisher), int(number)) for publisher, number in lines]


def run_until(ready: Callable[[str], bool], word: str, *arguments: str) -> list[tuple[int, int]]:
    """Run a program until its output is *ready*, and kill it; return what it has `written`."""
    with Program(*arguments) as program:
        try:
            wait_until(lambda: ready(program.stdout), 25.0, f"{program!r} is busy")
        finally:
            program.kill()
            sys.stderr.write(program.stderr)
        return written(program, word)


@fault("consumer killed in mid-handler", limits=REDELIVERED, quick=RABBITMQ)
def kill_consumer(_env: FaultEnv, load: Load) -> None:
    """Kill another process that handles some of the messages, while it handles several."""

    def is_busy(output: str) -> bool:
        done = output.count("done")
        return done > 0 and output.count("begun") >= done + 3

    program = f"{PROGRAMS}/worker.py", load.endpoint.queue, "0.3"
    for publisher, number in run_until(is_busy, "done", *program):
        load.journal.handle(publisher, number, "another process")


@fault("producer killed", limits=HARMLESS, quick=RABBITMQ)
def kill_producer(_env: FaultEnv, load: Load) -> None:
    """Kill another process while it publishes."""
    publisher, most = next(_publishers), 1000
    program = f"{PROGRAMS}/sender.py", load.endpoint.queue, f"{publisher}", f"{most}"
    load.journal.announce(publisher, most)
    for _, number in run_until(lambda out: out.count("confirmed") >= 100, "confirmed", *program):
        load.journal.sent += 1
        load.journal.confirm(publisher, number)
