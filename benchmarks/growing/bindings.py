"""Many bindings of one processor: one after the other, all at once, and on queues of their own."""

from __future__ import annotations

from benchmarks.growing import report, told
from benchmarks.growing.parts import Growing, running, wait_until_consuming
from postage import messaging


def main() -> None:
    """Run."""
    task = told()
    first, second, third = (messaging.MessageProcessor(eqk=()) for _ in range(3))
    with running(first, second, third):
        clocks = task.clocks()
        for name in task.names:
            first.add_eqk([(Growing, [(task.name, name)])])
        costs = {f"{name} one by one": clock.lap() for name, clock in clocks.items()}
        second.add_eqk([(Growing, [(f"{task.name}-all", f"{name}-all") for name in task.names])])
        costs |= {f"{name} at once": clock.lap() for name, clock in clocks.items()}
        third.add_eqk([(Growing, [(name, name) for name in task.names])])
        wait_until_consuming(third)
        costs |= {f"{name} queues": clock.lap() for name, clock in clocks.items()}
    costs |= {f"{name} ended": clock.lap() for name, clock in clocks.items()}
    report(costs)


main()
