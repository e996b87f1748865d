"""Faults of the broker itself: it dies, its application stops, its memory is short."""

from __future__ import annotations

from tests.faults.account import Limits
from tests.faults.fault import EMBEDDED, LATE, RABBITMQ, Fault
from tests.faults.load import Load
from tests.faults.scene import Scene, attendant, lasting


def killed(scene: Scene, _load: Load) -> None:
    """Kill the node as a crash would, and start it again on its data."""
    attendant.run(scene.node.kill)
    attendant.run(scene.node.start)


def stopped(scene: Scene, _load: Load) -> None:
    """Stop the application within the node, and start it again."""
    scene.control("stop_app")
    scene.control("start_app")


def alarmed(scene: Scene, load: Load, seconds: float = 2.0) -> None:
    """Be short of memory for a while: publishers are blocked, consumers are not."""
    if scene.kind == "embedded":
        scene.broker.faults.block()
        lasting(seconds)
        scene.broker.faults.unblock()
    else:
        scene.control("set_vm_memory_high_watermark", "0")
        lasting(seconds)
        scene.control("set_vm_memory_high_watermark", "0.4")


def closed(scene: Scene, _load: Load) -> None:
    """Close all connections properly, as an operator does."""
    scene.control("close_all_connections", "--vhost", scene.vhost, "a test wants to see it")


def emptied(scene: Scene, _load: Load) -> None:
    """Start anew without anything: exchanges, queues, bindings and messages are gone."""
    scene.proxy.refuse()
    attendant.run(scene.broker.stop)
    scene.broker.start()
    scene.proxy.target = scene.broker.port
    scene.proxy.accept()


BROKERS = [
    Fault(name="broker killed and restarted", strike=killed, on=RABBITMQ),
    Fault(name="application stopped", strike=stopped, on=RABBITMQ, brief=()),
    Fault(name="memory alarm", strike=alarmed, limits=LATE, brief=("rabbitmq",)),
    Fault(name="all connections closed", strike=closed, on=RABBITMQ, brief=()),
    Fault(name="broker empty", strike=emptied, on=EMBEDDED, limits=Limits(lost=100_000)),
]
