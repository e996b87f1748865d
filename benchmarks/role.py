"""One role of one peer in a process of its own: ``python -m benchmarks.role JOB``; JOB is JSON."""

from __future__ import annotations

import importlib
import sys

from benchmarks import work
from benchmarks.callers import STYLES
from benchmarks.job import Job


def main() -> None:
    """Play the role."""
    job = Job.from_json(sys.argv[1])
    style = STYLES[job.style]()
    style.patch()  # before the peer imports what it uses
    peer = importlib.import_module(f"benchmarks.peers.{job.peer}")
    getattr(work, job.role)(peer, job, style)


if __name__ == "__main__":
    main()
