"""Runs the same steps on RabbitMQ and on the embedded broker, and compares what clients see.

``python -m tests.broker.differential --examples 5000 --like 4.3`` runs many, on a node of its own,
and prints each difference as soon as it is found, with the fewest steps that show it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import DEFAULT, LIKENESSES, Likeness, likeness_of
from postage.broker.session.node import Node
from postage.testing.installations import VARIABLE, programs_of
from postage.testing.rabbitmq import RabbitMQNode
from tests.broker.operations import example
from tests.broker.peer import Peer
from tests.broker.steps import CHANNELS, Step, closing
from tests.support.sync_client import ConnectionWire, Silent, SocketWire, SyncClient

VHOST = "t01"
PATIENCE = 1.0
"""Seconds after which RabbitMQ's processes should have done what the step makes them do."""
EXTRA_PAUSE = 0.02
"""Seconds for RabbitMQ's processes after each step, if a difference may be one of timing."""
SHORTENING = 15.0
"""Seconds for finding the fewest steps that show a difference."""
MOST_ALIKE = 3
"""Differences of one kind after which further ones are only counted."""


@dataclass(frozen=True)
class Difference:
    """The two brokers did different things in step *number* of *steps*; *lines* say which."""

    steps: list[Step]
    number: int
    lines: list[str]

    @property
    def kind(self) -> str:
        """The kind of the step, and where the difference is."""
        step = self.steps[self.number].kind if self.number < len(self.steps) else "the end"
        return f"{step}: {re.sub('[0-9]', '', self.lines[0].splitlines()[0])}"

    def __str__(self) -> str:
        steps = [f"  {step.shown()}" for step in self.steps[: self.number + 1]]
        return "\n".join([f"The brokers differ at {self.kind}", *steps, *self.lines])


def _likeness_to(client: SyncClient) -> Likeness:
    """Return the likeness of our broker to the one at the other end of *client*, which ends."""
    version = ".".join(client.version.split(".")[:2])
    client.close()
    return likeness_of(version if version in LIKENESSES else DEFAULT)


class Comparison:
    """Runs examples through both brokers, until there are *enough* differences.

    *report* is called with each difference at once.
    """

    def __init__(
        self, host: str, port: int, vhost: str, report: Callable[[str], object], *, enough: int = 1
    ) -> None:
        self.vhost = vhost
        self.theirs = Peer(lambda: SocketWire(host, port), vhost)
        self.ours = self.theirs
        self.examples = self.steps = self.repeated = 0
        self.differences: list[Difference] = []
        self.kinds: Counter[str] = Counter()
        """How many differences of each kind there were."""
        self._likeness = _likeness_to(SyncClient(SocketWire(host, port), vhost))
        self._report, self._enough = report, enough
        self._run_id = f"x{os.getpid():x}"
        self._numbers = itertools.count()
        self._patience = PATIENCE

    def run(self, seed: int, examples: int) -> None:
        """Run *examples* different ones, which *seed* determines, or until there are enough."""
        for number in range(examples):
            if len(self.differences) < self._enough:
                self.check(example(Random(f"{seed} {number}")))

    def check(self, steps: list[Step]) -> None:
        """Report a difference between the brokers that remains with pauses between the steps."""
        self.examples += 1
        self.steps += len(steps)
        found = self._difference(steps)
        if found is None:
            return
        self.kinds[found.kind] += 1
        if self.kinds[found.kind] <= MOST_ALIKE:
            self._report(str(found))
            found = self._shortened(found)
            self._report(f"In short:\n{found}")
            self.differences.append(found)

    def close(self) -> None:
        """Close the connections to RabbitMQ."""
        self.theirs.close()

    def _difference(self, steps: list[Step]) -> Difference | None:
        """Return a difference that occurs twice, or three times in different ways.

        RabbitMQ's processes may still be busy with a step although its effect cannot be told from
        outside, so later attempts pause after each step.
        """
        before = None
        for pause in (0.0, EXTRA_PAUSE, 5 * EXTRA_PAUSE):
            self.theirs.pause = pause
            found = self._run(steps)
            if found is None or str(found) == str(before):
                return found
            before = found
            self.repeated += 1
        return before

    def _shortened(self, found: Difference) -> Difference:
        """Return *found* with fewer steps, as far as the time allows."""
        until = time.monotonic() + SHORTENING
        self.theirs.pause, self._patience = EXTRA_PAUSE, PATIENCE / 4
        size = max(1, found.number // 2)
        while time.monotonic() < until:
            for at in range(found.number - size, -1, -size):
                fewer = found.steps[:at] + found.steps[at + size : found.number + 1]
                again = self._run(fewer) if time.monotonic() < until else None
                if again is not None and again.kind == found.kind:
                    found = again
            if size == 1:
                break
            size //= 2
        self._patience = PATIENCE
        return found

    def _run(self, steps: list[Step]) -> Difference | None:
        """Return the first difference in *steps*, if there is one."""
        prefix = f"{self._run_id}{next(self._numbers):06}_"
        self._node = node = Node(ManualTimers(), vhosts=(self.vhost,), likeness=self._likeness)
        self.ours = Peer(lambda: ConnectionWire(node), self.vhost)
        for peer in (self.ours, self.theirs):
            peer.start(prefix)
        try:
            found, owners = self._compared(steps)
        except BaseException:
            self._clean_up()
            raise
        if found is None:
            self.theirs.clear(owners)
        else:
            self._clean_up()
        return found

    def _compared(self, steps: list[Step]) -> tuple[Difference | None, dict[str, str]]:
        """Return the first difference in *steps*, and the owners of the queues at the end."""
        owners: dict[str, str] = {}
        for number, step in enumerate([*steps, *map(closing, CHANNELS)]):
            owners, before = self._carry_out(step), owners
            if lines := self._compare(owners, before.keys() - owners):
                return Difference(steps, number, lines), owners
        lines = list(_differences(self.ours.contents(owners), self.theirs.contents(owners)))
        return Difference(steps, len(steps), lines) if lines else None, owners

    def _carry_out(self, step: Step) -> dict[str, str]:
        """Let both brokers carry out *step*; return the owners of the queues that exist then."""
        multiple = self.ours.in_order(step.channel) and self.theirs.in_order(step.channel)
        for peer in (self.ours, self.theirs):
            with contextlib.suppress(Silent):  # what has not happened is seen afterwards
                peer.do(step, multiple=multiple)
        return self._owners()

    def _compare(self, owners: dict[str, str], gone: Iterable[str]) -> list[str]:
        """Return the differences that remain when RabbitMQ has had time."""
        gone = sorted(gone)
        ours = self._observed(self.ours, owners, gone)
        until = time.monotonic() + self._patience
        while True:
            theirs = self._observed(self.theirs, owners, gone)
            if ours == theirs:
                self.ours.settle()
                self.theirs.settle()
                return []
            if time.monotonic() > until:
                return list(_differences(ours, theirs))
            time.sleep(EXTRA_PAUSE / 10)

    @staticmethod
    def _observed(peer: Peer, owners: dict[str, str], gone: list[str]) -> dict[str, Any]:
        try:
            return peer.observe(owners, gone)
        except Silent:
            return {"seen": "no answer"}

    def _clean_up(self) -> None:
        """Delete everything after a difference; exclusive queues go with their connections."""
        with contextlib.suppress(Silent):
            self.theirs.close()
        self.theirs.clients.clear()
        with contextlib.suppress(Silent):
            self.theirs.start(self.theirs.prefix)
            self.theirs.clear({})

    def _owners(self) -> dict[str, str]:
        """Return, for each queue, the connection that can see it."""
        (vhost,) = self._node.vhosts.values()
        connections = {
            id(client.wire.connection): link  # type: ignore[attr-defined]
            for link, client in self.ours.clients.items()
        }
        return {
            self.ours.generic_names(queue.name): connections.get(id(queue.owner), "A")
            for queue in list(vhost.queues.values())
        }


def _differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from _differences(ours.get(key), theirs.get(key), f"{path}/{key}")
    elif ours != theirs:
        yield f"{path}\n   ours:   {ours}\n   theirs: {theirs}"


def main(arguments: Iterable[str] | None = None) -> None:
    """Run many examples, and print the differences and how long that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--like", help="the version of RabbitMQ, such as 3.10 or 4.3")
    parser.add_argument("--port", type=int, help="of a RabbitMQ node; without it one is started")
    parser.add_argument("--differences", type=int, default=20, help="how many are enough")
    parser.add_argument("--seed", type=int, default=Random().randrange(1 << 32))
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.like:
        os.environ[VARIABLE] = str(programs_of(options.like))
    with contextlib.ExitStack() as stack:
        port = options.port or stack.enter_context(RabbitMQNode(vhosts=(VHOST,))).port
        comparison = Comparison("127.0.0.1", port, VHOST, print_at_once, enough=options.differences)
        stack.callback(comparison.close)
        begun = time.monotonic()
        try:
            comparison.run(options.seed, options.examples)
        finally:
            seconds = time.monotonic() - begun
            print_at_once(
                f"seed {options.seed}: {comparison.examples} examples, {comparison.steps} steps, "
                f"{seconds:.0f} s, {comparison.repeated} repeated with more pause, "
                f"{comparison.kinds.total()} differences"
            )
            for kind, count in comparison.kinds.most_common():
                print_at_once(f"{count:6} {kind}")
    sys.exit(bool(comparison.kinds))


def print_at_once(text: str) -> None:
    """Print *text*, also into a pipe, without delay."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
