"""The parking queues of processors, which are made on a broker of their own, and never run."""

from __future__ import annotations

from collections.abc import Sequence

from postage.cli.exits import CommandFailed
from postage.cli.parked.pages import existing
from postage.cli.running.targets import Target, make_all
from postage.green import MessageProcessor
from postage.recoverability import is_kept, parking_queue
from postage.testing.sandbox import sandbox

__all__ = ["parking_queues_of"]


def parking_queues_of(targets: Sequence[Target]) -> list[str]:
    """Return the parking queues of the processors in *targets* that exist on the broker.

    A queue in which no message has failed has no parking queue.  Switches.  Raises `CommandFailed`
    if no processor parks its messages, and what connecting raises.
    """
    expected = _expected(targets)
    if not expected:
        raise CommandFailed(f"no processor of {', '.join(map(str, targets))} parks its messages")
    found = []
    for each in expected:
        try:
            found.append(existing(each))
        except CommandFailed:  # noqa: PERF203 - each is asked for on its own
            continue
    return found


@sandbox()
def _expected(targets: Sequence[Target]) -> list[str]:
    processors = [each for each in make_all(targets) if isinstance(each, MessageProcessor)]
    names = [
        parking_queue(each.park, queue.name)
        for each in processors
        if each.park
        for queue in each.consumer.declarations
        if is_kept(queue.flags)
    ]
    return list(dict.fromkeys(names))
