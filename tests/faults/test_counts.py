"""The counts of ``/metrics`` of four workers equal the ledger of their handlers, through faults."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postage import green
from postage.testing.polling import wait_until
from tests.faults.catalogue import FAULTS
from tests.faults.counted_load import SOON, WORKERS, CountedLoad, pids, started
from tests.faults.fates import POLICIES
from tests.faults.fault_env import FaultEnv
from tests.faults.ledger import counts, is_kept, told
from tests.support.metrics_pages import Series, page, sums
from tests.support.programs import Program

ALL = [*POLICIES]
AT_ONCE = ["fine", "once", "give_up", "refuse", "malformed"]
"""RabbitMQ that was killed may hand on what is delayed only after three minutes: so no delays."""
BRIEF = [kind for kind in ALL if kind != "ask"]
"""Those that are delayed by no more than a second."""
CUT, KILL, ALARM = "connections cut", "broker killed and restarted", "memory alarm"
CUTS = {CUT, KILL}
"""The faults that end all connections."""
EMBEDDED = [CUT, ALARM, "confirms lost", CUT]
CONNECTIONS = 2 * (WORKERS + 1)
"""Those of the workers and of this process."""
CALM = {"embedded": 1.5, "rabbitmq": 4.0}
"""RabbitMQ is also given two seconds before what goes into a new queue is acknowledged."""

pytestmark = pytest.mark.limit(120)


def inject(env: FaultEnv, load: CountedLoad, program: Program, name: str) -> None:
    """Cause the fault *name* of the catalogue, and wait until each sender has succeeded again."""
    (fault,) = (each for each in FAULTS if each.name == name)
    if name in CUTS:
        wait_until(partial(all_open, env, program), SOON, "all connections are open")
    options = {"seconds": 0.5} if name == ALARM else {}
    fault.inject(env, load, **options)
    recovered = partial(load.all_succeeded, 5, load.journal.successes.copy())
    wait_until(recovered, SOON, f"the recovery after {name}")


def all_open(env: FaultEnv, program: Program) -> bool:
    """Tell whether each process has its connections, and none beside them, and has noticed it."""
    lost, again = map(program.stderr.count, ("is lost; reconnecting", "is re-established."))
    own = all(each.state == "open" for each in green.statistics())
    return env.proxy.connections == CONNECTIONS and lost == again and own


def check_counts(load: CountedLoad, program: Program, port: int) -> Counter[Series]:
    """Compare the page with the ledger, for each worker and in sum; return the sums."""
    text, lines, running = page(port), load.ledger.lines, pids(program)
    assert not load.ledger.read(), "the load has ended"
    of_workers = {number: told(sums(text, number)) for number in range(WORKERS)}
    of_ledger = {number: counts(lines[pid]) for number, pid in running.items()}
    assert of_workers == of_ledger
    assert told(sums(text)) == sum(of_ledger.values(), Counter())
    return sums(text)


def check_ledgers(env: FaultEnv, load: CountedLoad) -> None:
    """Compare the ledger of the handlers with what the senders and the parking queue have."""
    journal, lines = load.journal, [each for of in load.ledger.lines.values() for each in of]
    assert (journal.lost, journal.unexpected) == (0, {})
    assert journal.confirmed <= journal.handled <= journal.confirmed + journal.refused
    assert load.answered <= {each["number"] for each in lines if "is_done" in each}
    parking = [each for each in lines if "kept" in each and each["delay"] is None]
    parked = sum(map(is_kept, parking))
    tried = len(parking) - parked  # the broker may have copies that it could not confirm
    with env.raw() as raw:
        assert parked <= raw.count(f"{load.notes}.parked") <= tried


def ends(found: Counter[Series]) -> float:
    """Return how many messages the workers have handled with success, or parked; no calls.

    The broker confirms a copy of each message that is delayed or parked.
    """

    def total(what: str) -> float:
        return sum(found[f"postage_handler_{what}_total", kind] for kind in POLICIES)

    copies = found["postage_publish_confirms_total", "ack"]
    return total("received") - total("failed") + copies - total("delayed")


def losses(found: Counter[Series]) -> float:
    """Return how many connections the workers and this process have lost."""
    own = sum(each.losses for each in green.statistics())
    roles = "publishing", "consuming"
    return own + sum(found["postage_connection_losses_total", role] for role in roles)


@pytest.mark.parametrize(
    ("kind", "kinds", "faults"),
    [
        pytest.param("embedded", BRIEF, EMBEDDED, id="embedded"),
        pytest.param("rabbitmq", ALL, [CUT, ALARM, CUT], id="rabbitmq", marks=pytest.mark.slow),
        pytest.param("rabbitmq", AT_ONCE, [CUT, KILL], id="broker-killed", marks=pytest.mark.slow),
    ],
)
def test_counts_equal_the_ledger_through_faults(
    env: FaultEnv,
    kind: str,
    kinds: Sequence[str],
    faults: Sequence[str],
    tmp_path: Path,
    record: Any,
) -> None:
    load = CountedLoad(f"{faults[-1]}, 4 workers ({kind})", kinds, tmp_path, CALM[kind])
    with load.at_work() as (program, port):
        scraped = []
        for number, fault in enumerate(faults):
            inject(env, load, program, fault)
            scraped.append(told(sums(page(port + number))))
        assert load.finish() == 0
        record(load.journal)
        found = check_counts(load, program, port)
        check_ledgers(env, load)
        assert ends(found) == load.journal.handled + load.journal.duplicates
        fallen = {name for each in scraped for name, _ in each - found}
        assert fallen <= {"postage_handler_in_flight"}, "no counter falls"
        assert losses(found) == CONNECTIONS * sum(each in CUTS for each in faults)


@pytest.mark.parametrize("kind", ["embedded", pytest.param("rabbitmq", marks=pytest.mark.slow)])
def test_the_counts_of_a_killed_worker_go_with_it(
    env: FaultEnv, kind: str, tmp_path: Path, record: Any
) -> None:
    load = CountedLoad(f"worker killed, 4 workers ({kind})", AT_ONCE, tmp_path, CALM[kind])
    with load.at_work() as (program, port):
        victim, new = pids(program)[1], WORKERS + 1
        wait_until(lambda: load.lines_of(victim) > 50, SOON, "it is busy")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: started(program) == new, SOON, "another worker runs instead")
        heir = pids(program)[1]
        wait_until(lambda: load.lines_of(heir) > 10, SOON, "it is busy")
        assert load.finish() == 0
        record(load.journal)
        found = check_counts(load, program, port)
        check_ledgers(env, load)
    whole = counts(line for lines in load.ledger.lines.values() for line in lines)
    assert told(found) == whole - counts(load.ledger.lines[victim])
    assert losses(found) == 0
