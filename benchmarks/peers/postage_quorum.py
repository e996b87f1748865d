"""Postage with a quorum queue, for a cluster."""

from __future__ import annotations

import os

from benchmarks.job import Job
from benchmarks.peers.postage import Benchmark, Server, open_caller
from postage import green

__all__ = ["open_caller", "serve"]


def serve(job: Job) -> None:
    """Answer requests with a processor, one of several with the same queue."""
    os.environ["POSTAGE_URL"] = job.url
    queue = {"name": job.queue, "flags": {"arguments": {"x-queue-type": "quorum"}}}
    green.run(Server(eqk=[(Benchmark, [(queue, job.queue)])]))
