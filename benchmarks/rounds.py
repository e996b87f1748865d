"""One round of one peer: its processes, started, awaited, ended; their figures, read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.measure import Figures
from benchmarks.peers import Peer
from benchmarks.workload import Broker

#: Seconds a process may take beyond what it was told to.
PATIENCE = 120.0


@dataclass(frozen=True)
class Round:
    """What is to be measured, the same for every peer."""

    url: str
    callers: int = 100
    seconds: float = 3.0
    count: int = 10_000
    confirm: bool = False

    def run(self, workload: str, peer: Peer) -> Figures:
        """Measure *workload*, one of `WORKLOADS`, for *peer*, on a fresh queue."""
        queue = f"postage-benchmark-{os.getpid()}"
        broker = Broker(self.url, queue)
        broker.prepare()
        try:
            figures = WORKLOADS[workload](self, peer, queue)
            if workload == "consume" and broker.waiting():
                raise AssertionError(
                    f"{peer.title} left {broker.waiting()} messages unacknowledged"
                )
        finally:
            broker.clean()
        return figures

    def rpc(self, peer: Peer, queue: str) -> Figures:
        """Call a server of the same peer."""
        with server(self._command(peer, "serve", queue)) as pid:
            return self._measured(peer, "call", queue, "--server-pid", str(pid))

    def publish(self, peer: Peer, queue: str) -> Figures:
        """Publish, with or without confirms."""
        return self._measured(peer, "publish", queue, *(["--confirm"] if self.confirm else []))

    def consume(self, peer: Peer, queue: str) -> Figures:
        """Consume what the same peer published before."""
        finished(self._command(peer, "fill", queue))
        return self._measured(peer, "consume", queue)

    def _measured(self, peer: Peer, role: str, queue: str, *more: str) -> Figures:
        return Figures(**json.loads(finished([*self._command(peer, role, queue), *more])))

    def _command(self, peer: Peer, role: str, queue: str) -> list[str]:
        options = {
            "--url": self.url,
            "--queue": queue,
            "--callers": self.callers_of(peer, role),
            "--seconds": self.seconds,
            "--count": self.count,
        }
        program = [sys.executable, "-m", "benchmarks.roles", peer.module, role]
        return program + [str(part) for option in options.items() for part in option]

    def callers_of(self, peer: Peer, role: str) -> int:
        """Return how many greenlets work: where nobody waits, one is as good as many."""
        waits = role in {"rpc", "call"} or (role == "publish" and self.confirm)
        return self.callers if waits and peer.greenlets else 1


WORKLOADS = {"rpc": Round.rpc, "publish": Round.publish, "consume": Round.consume}


def finished(command: list[str]) -> str:
    """Run *command* to its end and return what it wrote."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return done.stdout


@contextmanager
def server(command: list[str]) -> Iterator[int]:
    """Run *command* beside the block, which begins when it has written a line; give its pid."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{command} did not start")
            yield process.pid
        finally:
            process.kill()
