"""``python -m tests.faults.outage --seconds 60``: a dependency that is away, and a kill switch.

A processor has 10,000 messages, each of which needs a connection to a server.  The server is away
at first (``--after 0``), or from when so many are done.  The exit code is 1 if more than 25 were
tried in vain, if any was parked, lost or handled twice, or if the last is done too late.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.server
import gevent.socket

from postage import green, messaging
from postage.testing.polling import wait_until
from tests.faults.fault_env import add_broker_option, on_embedded, on_rabbitmq
from tests.faults.steady import end_program, say
from tests.support.endpoints import Endpoint

MOST_TRIED = 25
"""How many messages may be tried in vain, if none run when the dependency goes away."""
LATEST = 30.0
"""Seconds from the first success until all are done."""
SENDERS = 20


class Dependency:
    """A server to which clients connect; it is away until `come_back`."""

    def __init__(self) -> None:
        with closing(gevent.socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self._server: Any = None

    def come_back(self) -> None:
        """Accept connections."""
        self._server = gevent.server.StreamServer(self.address, lambda *_: None, backlog=1000)
        self._server.start()

    def go_away(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.stop(timeout=0)

    def use(self) -> None:
        """Connect; raises `ConnectionError` while it is away."""
        with closing(gevent.socket.create_connection(self.address, timeout=5)):
            pass


class Worker(messaging.MessageProcessor):
    """Uses the dependency for each message."""

    def __init__(self, dependency: Dependency, endpoint: Endpoint) -> None:
        self.dependency = dependency
        self.done: Counter[int] = Counter()
        self.in_vain = 0
        super().__init__({"name": "worker"}, endpoint.eqk)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        try:
            self.dependency.use()
        except OSError:
            self.in_vain += 1
            raise
        self.done[content["parameters"]] += 1


@dataclass(frozen=True, kw_only=True)
class OutagePlan:
    """How long the dependency is away, and for how many messages."""

    seconds: float
    messages: int = 10_000
    after: int = 0
    """How many messages are done before it goes away."""
    concurrency: int = 250

    @property
    def most_in_vain(self) -> int:
        """How many messages may be tried in vain, with those that run when it goes away."""
        return MOST_TRIED + (self.concurrency if self.after else 0)

    @property
    def switch(self) -> green.KillSwitch:
        """Two messages are tried during the outage, or one at its end as well."""
        return green.KillSwitch(after=20, probe=self.seconds / 2)


def run_outage(plan: OutagePlan) -> list[str]:
    """Let the dependency be away as *plan* says; print figures, and return what is wrong."""
    dependency, endpoint = Dependency(), Endpoint(f"outage-{time.monotonic_ns()}")
    Worker.kill_switch, Worker.concurrency = plan.switch, plan.concurrency
    worker = Worker(dependency, endpoint)
    send(endpoint, range(plan.messages))
    if plan.after:
        dependency.come_back()
    worker.start()
    try:
        wait_until(lambda: len(worker.done) >= plan.after, 60, "the first messages are done")
        dependency.go_away()
        began, before = time.monotonic(), len(worker.done)
        wait_until(lambda: worker.statistics().state == "tripped", 30, "the switch is open")
        gevent.sleep(max(0.0, began + plan.seconds - time.monotonic()))
        in_vain = worker.in_vain
        dependency.come_back()
        wait_until(lambda: len(worker.done) > before, 2 * plan.seconds, "a message has succeeded")
        back = time.monotonic()
        limit = LATEST + plan.messages / 500
        wait_until(lambda: len(worker.done) == plan.messages, limit, "all messages are done")
        took = time.monotonic() - back
    finally:
        worker.stop()
        dependency.go_away()
    counts = worker.counts
    say(
        f"away for {plan.seconds:g} s after {before} of {plan.messages} messages: "
        f"{in_vain} tried in vain, {counts['parked']} parked, {len(worker.done)} done, "
        f"the last {took:.1f} s after the first success; opened {counts['trips']} times"
    )
    twice = sum(worker.done.values()) - len(worker.done)
    problems = {
        f"{in_vain} messages were tried in vain": in_vain > plan.most_in_vain,
        f"{worker.in_vain - in_vain} failed after the end of the outage": worker.in_vain > in_vain,
        f"{counts['parked']} messages were parked": counts["parked"],
        f"{twice} messages were handled twice": twice,
        f"the last message was done {took:.1f} s after the first success": took > LATEST,
    }
    return [text for text, is_so in problems.items() if is_so]


def send(endpoint: Endpoint, numbers: range) -> None:
    """Send a message for each of *numbers*, with confirms."""

    def send_part(first: int) -> None:
        producer = endpoint.producer()
        for number in numbers[first::SENDERS]:
            producer.message_work(number)

    senders = [gevent.spawn(send_part, first) for first in range(SENDERS)]
    for each in gevent.joinall(senders, raise_error=True):
        each.get()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--after", type=int, default=0, help="messages done before the outage")
    parser.add_argument("--concurrency", type=int, default=250)
    add_broker_option(parser, "embedded")
    options = parser.parse_args()
    opened = on_rabbitmq if options.broker == "rabbitmq" else on_embedded
    with opened(direct=True):
        plan = OutagePlan(
            seconds=options.seconds, after=options.after, concurrency=options.concurrency
        )
        end_program(run_outage(plan))


if __name__ == "__main__":
    main()
