"""The roles of a peer's processes: serve, call, publish, fill a queue, consume.

Each function is one role.  A measured role warms up, writes a report (`benchmarks.tally`), waits
for a line on standard input, works, reports again, and waits for the end of the input.  Until then
the measuring process can read the clock of this process.
"""

from __future__ import annotations

from typing import Any

from benchmarks.callers import Operation, Phase, Plain
from benchmarks.job import Job
from benchmarks.payload import number_of, payload
from benchmarks.tally import Tally, report

WARM_UP_NUMBERS = 800_000
"""The number of the first message of the warm-up."""


def serve(peer: Any, job: Job, style: Plain) -> None:
    """Answer calls until this process is ended."""
    style.result(peer.serve(job))


def call(peer: Any, job: Job, style: Plain) -> None:
    """Call from several callers at once; every answer is compared."""
    _measure(style.result(peer.open_caller(job)), job, style, compare=True)


def publish(peer: Any, job: Job, style: Plain) -> None:
    """Publish from several callers at once."""
    _measure(style.result(peer.open_publisher(job)), job, style, compare=False)


def fill(peer: Any, job: Job, style: Plain) -> None:
    """Put ``operations`` messages into the queue, for `consume`."""
    publish(peer, job, style)


def _measure(operation: Operation, job: Job, style: Plain, *, compare: bool) -> None:
    def phase(numbers: range, seconds: float) -> Phase:
        return lambda: Tally(iter(numbers), seconds, compare=compare)

    most = job.most_warm_up if job.warm_up else 0
    before = phase(range(WARM_UP_NUMBERS, WARM_UP_NUMBERS + most), job.warm_up)
    style.run(operation, job.callers, [before, phase(range(job.operations), job.seconds)])


def consume(peer: Any, job: Job, style: Plain) -> None:
    """Consume and compare ``operations`` messages; report at the first and at the last."""
    missing = set(range(job.operations))

    def handle(message: Any) -> bool:
        if len(missing) == job.operations:
            report(1)
        number = number_of(message)
        missing.remove(number)
        if message != payload(number):
            raise AssertionError(f"not what was sent: {message}")
        if not missing:
            report(job.operations - 1)
        return bool(missing)

    style.result(peer.consume(job, handle))
