"""Exchanges, bindings and queues that are deleted under the load of several processes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from postage.testing.polling import wait_until
from tests.faults.catalogue import ONE_SOON, PROGRAMS
from tests.faults.fault_env import FaultEnv
from tests.faults.fault_run import reached
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.raw import Raw
from tests.support.stopwatch import Stopwatch

KEYS = ("a", "b")
LIMIT = 5.0
"""Seconds within which everything must be bound and consumed again."""
IN_FLIGHT = 40
"""Notes that may reach a queue that is being deleted, a fifth of a second's load.  RabbitMQ deletes
the queue first and its bindings a moment later, and confirms what it routes there meanwhile."""
MORE = IN_FLIGHT + 200
"""Lines of a receiver that tell of a restored queue: more than what was on its way."""
MOST_LOGGED = 10_000
"""Characters of the log of one process in the report of a failure."""
_numbers = itertools.count()


class Processes:
    """Two senders and two receivers, each receiver with queues of its own."""

    def __init__(self, stack: ExitStack, raw: Raw, endpoint: Endpoint, mandatory: str) -> None:
        def start(program: str, *arguments: str) -> Program:
            run = Program(f"{PROGRAMS}/{program}.py", endpoint.queue, *arguments)
            return stack.enter_context(run)

        self.receivers = [start("receiver", key) for key in KEYS]
        wait_until(
            lambda: all(
                raw.exists(endpoint.sub(k)) and raw.consumers(endpoint.sub(k)) for k in KEYS
            ),
            20.0,
        )
        self.senders = [start("senders", str(number), mandatory, *KEYS) for number in range(2)]

    def output(self, word: str) -> set[tuple[int, int]]:
        """Return publisher and number of the notes that are ``confirmed`` or ``handled``."""
        return {
            note for each in (*self.senders, *self.receivers) for note in notes(each.stdout, word)
        }

    def lost(self) -> set[tuple[int, int]]:
        """Return the notes that are confirmed and not handled so far."""
        return self.output("confirmed") - self.output("handled")

    def are_busy(self) -> bool:
        """Tell whether all processes are at work."""
        return all(each.stdout.count("\n") > 100 for each in (*self.senders, *self.receivers))

    def written(self) -> list[int]:
        """Return the number of lines that each receiver has written."""
        return [each.stdout.count("\n") for each in self.receivers]

    def go_on(self) -> bool:
        """Wait until each receiver has written `MORE` lines; return False if that takes long."""
        before = self.written()

        def all_have() -> bool:
            return all(new > old + MORE for old, new in zip(before, self.written(), strict=True))

        return reached(all_have, 4 * LIMIT)

    def logs(self) -> str:
        """Return what the processes have logged, for the report of a failure."""
        programs = (*self.receivers, *self.senders)
        return "\n".join(f"{each!r} (...)\n{each.stderr[-MOST_LOGGED:]}" for each in programs)

    def calls(self) -> list[tuple[str, float]]:
        """Return the outcome of each call, and how many seconds it took."""
        lines = [line.split() for each in self.senders for line in each.stdout.splitlines()]
        return [(line[1], float(line[2])) for line in lines if line[0] == "called"]


def notes(output: str, word: str) -> Iterator[tuple[int, int]]:
    for line in output.splitlines(keepends=True):
        words = line.split()
        if words[:1] == [word] and line.endswith("\n"):
            yield int(words[1]), int(words[2])


@pytest.mark.limit(120)
@pytest.mark.parametrize("mandatory", ["mandatory", "optional"])
@pytest.mark.parametrize("what", ["exchange", "binding", "queue"])
@pytest.mark.parametrize("kind", ONE_SOON)
def test_what_is_deleted_under_load_is_restored(
    kind: str, env: FaultEnv, what: str, mandatory: str
) -> None:
    if (what, mandatory) in (("binding", "optional"), ("queue", "optional")):
        pytest.skip("what reaches no queue is dropped, as its sender has asked for")
    endpoint, deleted = Endpoint(f"deleted-{next(_numbers)}"), 0
    with ExitStack() as stack, env.raw() as raw:
        processes = Processes(stack, raw, endpoint, mandatory)
        wait_until(processes.are_busy, 30.0)
        if what == "exchange":
            raw.channel.exchange_delete(endpoint.queue)
        elif what == "binding":
            raw.channel.queue_unbind(endpoint.sub("a"), endpoint.queue, "a")
        else:
            deleted = raw.channel.queue_delete(endpoint.sub("a")).method.message_count + IN_FLIGHT
        watch = Stopwatch()
        assert processes.go_on(), processes.logs()
        restored, watch = watch.own, Stopwatch()
        for each in processes.senders:
            each.terminate(within=20.0)
        ended = watch.own
        wait_until(lambda: len(processes.lost()) <= deleted, LIMIT, "nothing is lost")
        calls, logs = processes.calls(), processes.logs()

    assert restored < LIMIT, logs
    assert ended < LIMIT, logs
    outcomes = Counter(outcome for outcome, _ in calls)
    assert outcomes["answered"] > 0.5 * len(calls)
    if what == "exchange":
        assert outcomes.keys() == {"answered"}, (outcomes, logs)
        assert max(seconds for _, seconds in calls) < LIMIT, logs
