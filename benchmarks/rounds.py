"""One round of one contestant: its processes are started, measured and ended."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.actor import Actor, acting
from benchmarks.contestants import Contestant
from benchmarks.environments import command, made
from benchmarks.job import Job
from benchmarks.measure import Figures, Meter, cpu_seconds, resident
from benchmarks.queue import Queue
from benchmarks.workloads import Workload

MOST = 500_000
"""The largest number of operations of a timed workload, which the queue may have to hold."""
TIMEOUT = 60.0
"""Seconds that a process may be silent in addition to its planned time."""
WARM_UP = 0.5
"""Seconds of the same work, at most, before the measured part."""
SETTLING = 0.5
"""Seconds from the first report until memory is read."""


@dataclass(frozen=True)
class Round:
    """The settings that are the same for every contestant and workload."""

    url: str
    broker_pid: int | None = None
    """The broker's process, whose CPU time is measured; None if unknown."""
    seconds: float = 3.0
    """Seconds of calling or publishing."""
    count: int = 20_000
    """Messages to consume."""
    persistent: bool = True
    """Queues are durable, and messages persistent."""
    concurrency: int = 250
    """The `concurrency` of Postage's processors; this is the default."""
    polling: bool = False
    """The hub of a caller of Postage asks for answers without a pause, instead of waiting."""

    def run(self, workload: Workload, contestant: Contestant) -> Figures:
        """Measure; raises `Failed`, `Unavailable` or `TimeoutError`."""
        play = Play(self, workload, contestant, made(contestant))
        return play.figures()


class Play:
    """One round, with its queue; *program* runs the contestant's processes."""

    def __init__(
        self, each: Round, workload: Workload, contestant: Contestant, program: str
    ) -> None:
        self._round, self._workload, self._contestant = each, workload, contestant
        self._program = program
        self._name = f"postage-benchmark-{os.getpid()}"
        self._queue = Queue(each.url, self._name)
        served = contestant.queue.format(self._name)
        self._served = self._queue if served == self._name else Queue(each.url, served)

    def figures(self) -> Figures:
        """Measure, with an empty queue, which some contestants declare themselves."""
        if not self._contestant.declares:
            self._queue.prepare(durable=self._round.persistent)
        try:
            measured: Figures = getattr(self, self._workload.kind)()
        finally:
            self._queue.remove(*(one.format(self._name) for one in self._contestant.leaves))
        return measured

    def calls(self) -> Figures:
        """Call a server of the same contestant."""
        with self._acting("serve") as server:
            self._served.wait_for_consumers(1, TIMEOUT)
            with self._acting("call") as client:
                client.report()
                meter = self._started(client, server)
                told = client.report()
                return meter.figures(**told)

    def publishes(self) -> Figures:
        """Publish until the broker has all messages."""
        with self._acting("publish") as client:
            warmed_up: int = client.report()["count"]
            self._queue.wait_for_messages(warmed_up, TIMEOUT)
            meter = self._started(client)
            told = client.report()
            self._queue.wait_for_messages(warmed_up + told["count"], TIMEOUT)
            if not self._workload.confirm:  # the time of a call that waits for nothing
                told |= {"p50": None, "p99": None}
            return meter.figures(**told)

    def consumption(self) -> Figures:
        """Consume messages that the contestant has published; measure from first to last."""
        with self._acting("fill") as filling:
            filling.report()  # that of the warm-up, which has no message
            filling.go_on()
            filling.report()
            self._queue.wait_for_messages(self._round.count, TIMEOUT)
        with self._acting("consume") as client:
            client.report()
            meter = self._meter(client)
            meter.start()
            figures = meter.figures(**client.report())
            client.finish()
        if left := self._queue.counts()[0]:
            raise AssertionError(f"{left} messages were not acknowledged")
        return figures

    def start(self) -> Figures:
        """Start a server, and leave it alone."""
        since = time.perf_counter()
        with self._acting("serve") as server:
            self._served.wait_for_consumers(1, TIMEOUT)
            seconds, cpu = time.perf_counter() - since, cpu_seconds(server.pid)
            time.sleep(SETTLING)
            return Figures(seconds=seconds, client=cpu * 1e6, memory=resident(server.pid) / 1e6)

    def _started(self, client: Actor, server: Actor | None = None) -> Meter:
        meter = self._meter(client, server)
        meter.start()
        client.go_on()
        return meter

    def _meter(self, client: Actor, server: Actor | None = None) -> Meter:
        servers = {} if server is None else {"server": server.pid}
        return Meter({"client": client.pid, **servers, "broker": self._round.broker_pid})

    def _acting(self, role: str) -> AbstractContextManager[Actor]:
        job = self.job(role)
        return acting(command(self._program, job), job.seconds + TIMEOUT)

    def job(self, role: str) -> Job:
        """Return the job of a process with *role*."""
        workload, contestant, fixed = self._workload, self._contestant, self._exactly(role)
        return Job(
            peer=contestant.name,
            style=contestant.style,
            role=role,
            url=self._round.url,
            queue=self._name,
            callers=workload.callers if contestant.many and role != "fill" else 1,
            seconds=TIMEOUT if fixed else self._round.seconds,
            operations=fixed or MOST,
            warm_up=0.0 if role == "fill" else self._warm_up(),
            pause=workload.pause,
            concurrency=self._round.concurrency,
            polling=self._round.polling,
            confirm=workload.confirm,
            persistent=self._round.persistent,
        )

    def _warm_up(self) -> float:
        if self._workload.pause:  # one call of each caller; it takes long with serial handlers
            return 0.0 if self._contestant.serial else self._workload.pause / 2
        return min(WARM_UP, self._round.seconds)

    def _exactly(self, role: str) -> int:
        """Return the number of operations; 0 means as many as the time allows."""
        return self._round.count if role in {"fill", "consume"} else self._workload.count
