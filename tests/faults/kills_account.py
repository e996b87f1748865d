"""The account of a run of `tests.faults.kills`: what became of each message, and why.  Pure.

How it works
------------
Each try has an id.  What a try puts into a delay queue or a parking queue has this id in a header,
so each try knows from which other one its copy came, and each parked copy who parked it.

All tries of one copy, which is redelivered when a worker or the broker dies, should have *one*
outcome: the message is done, or there is one copy elsewhere.  A second outcome is allowed only if a
kill fell between the first outcome and its ack: then the broker cannot know of the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from tests.faults.fates import PARKED, fate

WIDE, PART = 0.2, 0.1
"""How far a delay may be off: so many seconds, or this part of it."""
ACKED = 1.0
"""Seconds after an outcome within which its ack is safe.  A busy worker sends it at the end of a
long turn of its hub, and RabbitMQ writes the acks of classic queues to disk every 0.2 s."""
NOTICED = 1.0
"""Seconds within which a worker notices that its broker is dead; until then its handlers run."""


class Try(NamedTuple):
    """One try of a handler, as its worker has noted it.  Times are in seconds since 1970."""

    number: int
    id: str
    copy: str
    """The id of the try that has put this copy into its queue; empty for the message as sent."""
    worker: str
    is_fresh: bool
    """Whether it was the first try of a delivery that is no redelivery."""
    began: float
    ended: float
    is_done: bool
    kind: str = ""
    """The name of the message, which is also that of its handler."""


class Put(NamedTuple):
    """A copy that a worker has put into a delay queue or a parking queue."""

    number: int
    id: str
    copy: str
    worker: str
    began: float
    delay: float | None
    """For how long the message was to wait; None: it was parked."""
    kept: float | None
    """When the confirm was there; None: the worker was killed before."""


class Copy(NamedTuple):
    """A message in the parking queue."""

    number: int
    why: str
    id: str
    """The id of the try that has parked it."""


class Kill(NamedTuple):
    """What was killed, and when everything that waited because of it was handled."""

    what: str
    worker: str
    """The worker that was killed; empty: the broker, or all connections."""
    began: float
    at: float
    dead: float
    """When it was surely dead, and no ack arrived any more."""
    calm: float

    def touches(self, begin: float, end: float) -> bool:
        """Tell whether the kill has delayed something between *begin* and *end*."""
        return begin <= self.calm and self.began <= end

    def cuts(self, outcome: Outcome) -> bool:
        """Tell whether the kill may have fallen between *outcome* and its ack."""
        noticed = self.dead + (0 if outcome.is_copy else NOTICED)
        if self.worker not in ("", outcome.worker) or outcome.began > noticed:
            return False
        return outcome.ended is None or self.at <= outcome.ended + ACKED


class Outcome(NamedTuple):
    """What a try has made of its copy of a message."""

    worker: str
    began: float
    ended: float | None
    """When it was done, or confirmed; None: the worker was killed before."""
    is_copy: bool = False
    is_parked: bool = False


@dataclass
class Run:
    """What was noted in a run with so many *messages*, numbered from 0."""

    seed: int
    messages: int
    tries: list[Try]
    puts: list[Put]
    copies: list[Copy]
    kills: list[Kill]
    probes: Sequence[tuple[float, float]] = ()
    """When delays without Postage ended, and how late they were."""


@dataclass
class Account:
    """The figures of a run."""

    messages: int = 0
    done: int = 0
    parked: int = 0
    wrong: list[str] = field(default_factory=list)
    done_twice: int = 0
    parked_twice: int = 0
    cut: int = 0
    """Second outcomes, because a kill fell between the first one and its ack."""
    cut_when_parked: int = 0
    latest_cut: float = 0.0
    """The longest time between an outcome and the kill that cut it from its ack."""
    handed_on_twice: int = 0
    """Copies that a broker which was killed has delivered, or taken, twice."""
    lateness: dict[float, list[float]] = field(default_factory=lambda: defaultdict(list))
    keeping: list[float] = field(default_factory=list)
    """The part of the lateness in which the worker published the copy, until the confirm."""
    touched: int = 0
    off: int = 0
    off_since_confirm: int = 0
    """Delays that are off even if they are counted from the confirm of the copy."""
    off_alone: int = 0
    """Those of them that are off more than what was delayed without Postage at the time."""

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        yield (
            f"{self.done:,} done + {self.parked:,} parked = {self.done + self.parked:,} "
            f"of {self.messages:,}; {self.done_twice} were done twice, and {self.parked_twice} "
            f"parked twice"
        )
        yield (
            f"{self.cut} outcomes were repeated, as a kill fell between them and their acks (at "
            f"most {self.latest_cut:.3f} s after), {self.cut_when_parked} of them parked; "
            f"{self.handed_on_twice} copies were handed on twice by a broker that was killed"
        )
        measured = sum(map(len, self.lateness.values()))
        yield (
            f"{measured:,} delays, {self.off} of them off; {self.off_since_confirm} if counted "
            f"from the confirm, {self.off_alone} of these by more than a delay without Postage; "
            f"{self.touched:,} during kills"
        )
        for delay, late in sorted(self.lateness.items()):
            yield (
                f"{delay:6.2f} s: {len(late):6,} delays, {min(late):+.3f} to {max(late):+.3f} s, "
                f"median {median(late):+.3f} s"
            )
        if self.keeping:
            keeping = sorted(self.keeping)
            yield (
                f"the copies were confirmed after {median(keeping):.3f} s (median), "
                f"{keeping[len(keeping) * 95 // 100]:.3f} s (95 %), {keeping[-1]:.3f} s (all)"
            )


def judged(run: Run) -> Account:
    """Return the account of *run*."""
    account = Account(messages=run.messages)
    tries, puts, copies = _by_number(run.tries), _by_number(run.puts), _by_number(run.copies)
    for number in range(run.messages):
        _judge(account, number, run, tries[number], copies[number])
        _explain(account, number, run.kills, (tries[number], puts[number], copies[number]))
    strange = (tries.keys() | copies.keys()) - set(range(run.messages))
    account.wrong += [f"nobody has sent message {number}" for number in sorted(strange)]
    _measure(account, run)
    return account


def _by_number(records: Iterable[Any]) -> Mapping[int, list[Any]]:
    found: Mapping[int, list[Any]] = defaultdict(list)
    for each in records:
        found[each.number].append(each)
    return found


def _judge(account: Account, number: int, run: Run, tries: list[Try], copies: list[Copy]) -> None:
    """Add the end of one message to *account*."""
    kind = fate(run.seed, number)
    done = sum(each.is_done for each in tries)
    account.done += bool(done)
    account.parked += bool(copies) and not done
    account.done_twice += done > 1
    account.parked_twice += len(copies) > 1
    story = f"message {number} ({kind})"
    if bool(done) == (kind in PARKED) or bool(copies) != (kind in PARKED):
        account.wrong.append(f"{story} was done {done} times and parked {len(copies)} times")
    reasons = {copy.why for copy in copies} - {PARKED.get(kind)}
    if reasons:
        account.wrong.append(f"{story} was parked as {sorted(map(str, reasons))}")


def _explain(
    account: Account,
    number: int,
    kills: list[Kill],
    records: tuple[list[Try], list[Put], list[Copy]],
) -> None:
    """Look for the kill that explains each second outcome of a copy, and each second delivery."""
    tries, puts, copies = records
    began = {each.id: each.began for each in reversed(puts)}
    arrivals = Counter(each.copy for each in tries if each.copy and each.is_fresh)
    arrivals.update(each.id for each in copies)
    more = {copy: count - 1 for copy, count in arrivals.items() if count > 1}
    for copy in more:
        account.handed_on_twice += 1
        if not any(not kill.worker and began[copy] <= kill.at for kill in kills):
            account.wrong.append(f"message {number}: copy {copy} arrived more than once")
    for copy, outcomes in _outcomes(*records).items():
        outcomes.sort(key=lambda each: each.began)
        for outcome in outcomes[:-1]:
            kill = next((each for each in kills if each.cuts(outcome)), None)
            if kill is None and more.get(copy):
                more[copy] -= 1  # each delivery of the broker has its outcome
                continue
            if kill is None:
                account.wrong.append(f"message {number}: no kill cut {outcome} from its ack")
                continue
            account.cut += 1
            account.cut_when_parked += outcome.is_parked
            gap = 0.0 if outcome.ended is None else kill.at - outcome.ended
            account.latest_cut = max(account.latest_cut, gap)


def _outcomes(tries: list[Try], puts: list[Put], copies: list[Copy]) -> Mapping[str, list[Outcome]]:
    """Return the outcomes of each copy of a message, by the id of the copy."""
    parked, delayed = {each.id for each in copies}, {each.copy for each in tries}
    found: Mapping[str, list[Outcome]] = defaultdict(list)
    for each in tries:
        if each.is_done:
            found[each.copy].append(Outcome(each.worker, each.began, each.ended))
    for put in {put.id: put for put in puts}.values():  # the last of its tries
        if put.id in parked | delayed:
            where = put.worker, put.began, put.kept, True, put.id in parked
            found[put.copy].append(Outcome(*where))
    return found


def _measure(account: Account, run: Run) -> None:
    """Add the time from each failure with a delay to the first try of its copy."""
    after = {each.copy: each for each in reversed(run.tries) if each.is_fresh}
    for put in {put.id: put for put in run.puts if put.delay is not None}.values():
        copy = after.get(put.id)
        if copy is None or any(kill.touches(put.began, copy.began) for kill in run.kills):
            account.touched += 1
            continue
        assert put.delay is not None
        late, bound = copy.began - put.began - put.delay, max(WIDE, PART * put.delay)
        account.lateness[put.delay].append(late)
        account.off += abs(late) > bound
        if put.kept is None:
            continue
        account.keeping.append(put.kept - put.began)
        late = copy.began - put.kept - put.delay
        due = copy.began - max(late, 0)
        usual = max((by for at, by in run.probes if due <= at <= copy.began + 0.1), default=0.0)
        account.off_since_confirm += late > bound
        account.off_alone += late > bound + usual
