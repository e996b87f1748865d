"""Messages that fail, while workers and the broker are killed: two kills, and the account."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.fates import fate
from tests.faults.fault_env import FaultEnv
from tests.faults.kills import run_kills
from tests.faults.kills_account import Account, Copy, Kill, Put, Run, Try, judged

MESSAGES = 200


@pytest.mark.slow
@pytest.mark.limit(180)
@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("embedded", 2),
        ("rabbitmq", 1),  # of a worker
        # RabbitMQ that was killed may hand on what was delayed only after three minutes.
        pytest.param("rabbitmq", 2, marks=[pytest.mark.soak, pytest.mark.limit(600)]),
    ],
    ids=["embedded", "rabbitmq", "rabbitmq-killed"],
)
def test_what_fails_is_done_or_parked_through_kills(env: FaultEnv, kills: int) -> None:
    account = run_kills(env, MESSAGES, kills, seed=16)
    assert account.wrong == []
    assert account.done + account.parked == MESSAGES


# --- the account

SEED = 3
PARKED = next(n for n in range(100) if fate(SEED, n) == "give_up")
DONE = next(n for n in range(100) if fate(SEED, n) == "fine")
ASKS = next(n for n in range(100) if fate(SEED, n) == "ask")
OF_WORKER = Kill("a worker", "w1", 9.5, 10.0, 10.1, 10.5)
OF_BROKER = Kill("the broker", "", 9.5, 10.0, 10.1, 10.5)


def account(*records: Any, kills: Any = (OF_WORKER,), probes: Any = ()) -> Account:
    tries, puts, copies = (
        [each for each in records if isinstance(each, kind)] for kind in (Try, Put, Copy)
    )
    return judged(Run(SEED, 100, tries, puts, copies, list(kills), probes))


def wrong(number: int, *records: Any, kills: Any = (OF_WORKER,)) -> list[str]:
    found = account(*records, kills=kills).wrong
    return [text for text in found if text.startswith((f"message {number} ", f"message {number}:"))]


def done(at: float, id_: str = "1", number: int = DONE, worker: str = "w1") -> Try:
    return Try(number, id_, "", worker, True, at, at + 0.1, is_done=True)


def parked(at: float, id_: str, worker: str = "w1", kept: float | None = None) -> list[Any]:
    """Return a copy in the parking queue, and how it came there."""
    put = Put(PARKED, id_, "", worker, at, None, at + 0.1 if kept is None else kept)
    return [put, Copy(PARKED, "gave-up", id_)]


def test_a_message_that_is_lost_is_found():
    assert wrong(DONE)
    assert wrong(PARKED)


def test_what_is_both_done_and_parked_is_found():
    assert wrong(PARKED, done(1.0, number=PARKED), *parked(1.0, "2"))


def test_a_wrong_reason_is_found():
    assert wrong(PARKED, *parked(1.0, "1")[:1], Copy(PARKED, "failed", "1"))
    assert not wrong(PARKED, *parked(1.0, "1"))


@pytest.mark.parametrize(
    ("first", "worker", "kill", "is_wrong"),
    [
        (9.95, "w1", OF_WORKER, False),  # between the confirm and the ack
        (9.95, "w2", OF_WORKER, True),
        (9.95, "w2", OF_BROKER, False),
        (8.0, "w1", OF_BROKER, True),  # it was acknowledged long before
        (10.3, "w1", OF_BROKER, True),  # it was published when its message was lost already
    ],
    ids=["worker", "other-worker", "broker", "long-before", "afterwards"],
)
def test_only_a_kill_at_that_moment_excuses_a_second_copy(first, worker, kill, is_wrong):
    records = *parked(first, "1", worker), *parked(20.0, "2")
    assert bool(wrong(PARKED, *records, kills=[kill])) is is_wrong


@pytest.mark.parametrize(("first", "is_wrong"), [(9.95, False), (1.0, True), (20.0, True)])
def test_only_a_kill_excuses_a_second_run(first, is_wrong):
    assert bool(wrong(DONE, done(first), done(first + 5, "2"))) is is_wrong


def test_a_copy_that_arrives_twice_needs_the_death_of_the_broker():
    records = [*parked(9.9, "1"), Copy(PARKED, "gave-up", "1")]
    assert wrong(PARKED, *records)
    assert not wrong(PARKED, *records, kills=[OF_BROKER])
    assert account(*records, kills=[OF_BROKER]).handed_on_twice == 1


def delayed(at: float, delay: float, id_: str = "1", kept: float = 0.0) -> Put:
    return Put(ASKS, id_, "", "w1", at, delay, at + kept)


def tried(at: float, copy: str = "1", *, is_fresh: bool = True) -> Try:
    return Try(ASKS, f"{copy}-{at}", copy, "w1", is_fresh, at, at, is_done=True)


@pytest.mark.parametrize(
    ("records", "measured", "off", "touched"),
    [
        ([delayed(1.0, 0.5), tried(2.0)], {0.5: [0.5]}, (1, 1, 1), 0),
        ([delayed(1.0, 1.0), tried(2.0)], {1.0: [0.0]}, (0, 0, 0), 0),
        ([delayed(1.0, 0.5, kept=0.5), tried(2.0)], {0.5: [0.5]}, (1, 0, 0), 0),
        ([delayed(9.0, 0.5), tried(9.75)], {}, (0, 0, 0), 1),
        # two copies whose tries alternate
        (
            [delayed(1.0, 0.5), delayed(1.25, 0.5, "2"), tried(1.5), tried(1.75, "2")],
            {0.5: [0.0, 0.0]},
            (0, 0, 0),
            0,
        ),
        # it came again, before it was acknowledged or after another worker had it
        ([delayed(1.0, 0.5), tried(1.5), tried(2.5)], {0.5: [0.0]}, (0, 0, 0), 0),
        ([delayed(1.0, 0.5), tried(2.5, is_fresh=False)], {}, (0, 0, 0), 1),
    ],
    ids=["late", "in-time", "kept-late", "kill", "two-copies", "again", "redelivered"],
)
def test_delays_are_measured_copy_by_copy(
    records: list[Any], measured: object, off: tuple[int, ...], touched: int
) -> None:
    found = account(*records)
    assert (found.lateness, found.touched) == (measured, touched)
    assert (found.off, found.off_since_confirm, found.off_alone) == off


@pytest.mark.parametrize(
    ("arrivals", "outcomes", "kill", "is_wrong"),
    [
        (2, 2, OF_BROKER, False),
        (2, 3, OF_BROKER, True),
        (1, 2, OF_BROKER, True),
        (2, 2, OF_WORKER, True),
    ],
    ids=["two", "three-of-two", "two-of-one", "no-broker-died"],
)
def test_each_copy_that_a_dead_broker_handed_on_has_its_outcome(
    arrivals: int, outcomes: int, kill: Kill, is_wrong: bool
) -> None:
    tries = [tried(20.0 + n, is_fresh=n < arrivals) for n in range(outcomes)]
    found = wrong(ASKS, delayed(9.0, 0.5), *tries, kills=[kill])
    assert bool(found) is is_wrong


@pytest.mark.parametrize(("at", "alone"), [(1.6, 0), (5.0, 1)])
def test_what_is_late_without_postage_is_the_machine_s(at: float, alone: int) -> None:
    found = account(delayed(1.0, 0.5), tried(2.0), probes=[(at, 0.4)])
    assert (found.off_since_confirm, found.off_alone) == (1, alone)
