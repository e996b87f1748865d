"""Many processors with a queue each: starting them, idling, ending them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent

from benchmarks.growing import report, told
from benchmarks.growing.parts import Growing, running, wait_for_line
from benchmarks.measure import resident
from postage import green, messaging

IDLE = 4.0
"""Seconds: twice the interval of the watchdog."""


class Component(messaging.MessageProcessor):
    """Answers with its name, which is also the name of its queue."""

    @messaging.RpcHandler("command", "name")
    def tell(self, content: Any, reply_func: Callable[[object], None]) -> None:  # noqa: ARG002
        """Answer."""
        reply_func(self.fingerprint["name"])


def main() -> None:
    """Run."""
    task = told()
    memory = resident(os.getpid())
    clocks = task.clocks()
    with green.pipelined():
        components = [Component({"name": n}, [(Growing, [(n, n)])]) for n in task.names]
    with running(*components):
        begun = {f"{name} begun": clock.lap() for name, clock in clocks.items()}
        report(begun, memory=(resident(os.getpid()) - memory) / task.count)
        clocks["here"].lap()
        gevent.sleep(IDLE)
        cpu, _ = clocks["here"].lap()
        report({"idle": (cpu / IDLE, 0.0)})
        wait_for_line()
        for clock in clocks.values():
            clock.lap()
    report({f"{name} ended": clock.lap() for name, clock in clocks.items()})


main()
