"""A run: the load, the trouble, and the account."""

from __future__ import annotations

import contextlib
import math
import time
from types import MappingProxyType

from postage import green
from postage.testing.polling import wait_until
from tests.faults.account import Account
from tests.faults.fault import Strike
from tests.faults.load import Load, Shape
from tests.faults.measures import connections_to, greenlets, memory
from tests.faults.scene import Scene

SETTLED = 3
"""How often everybody has succeeded before memory is measured."""
HOPELESS = 1.0
"""Seconds of patience when they have not consumed again."""
AFTERWARDS = 2
"""How often everybody must succeed once all consume again."""


class Exam:
    """Examines what *strike* does to a load on *scene*; `account` says what came of it."""

    def __init__(self, scene: Scene, shape: Shape | None = None, *, patience: float = 15.0) -> None:
        self.scene = scene
        self.load = Load(shape)
        self._patience = patience
        self._before = {id(each) for each in greenlets()}
        self.began = time.monotonic()
        self.again = 0.0
        self._calm = self.began
        self._memory_before = 0

    def __enter__(self) -> Exam:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.load.kill()

    def begin(self) -> None:
        """Start the load, and wait until everybody is at it."""
        self.load.start()
        with contextlib.suppress(AssertionError):  # the account will tell
            wait_until(lambda: self.load.at_work(SETTLED), self._patience)
        self.weigh()

    def weigh(self) -> None:
        """Take the memory of now for that before the trouble."""
        self._memory_before = memory()

    def suffer(self, strike: Strike) -> float:
        """Have the trouble, and wait until all consume again; return the seconds of that."""
        strike(self.scene, self.load)
        took = self._recovered(time.monotonic())
        self.again = max(self.again, took)
        self._calm = time.monotonic()
        return took

    def _recovered(self, ended: float) -> float:
        try:
            wait_until(lambda: self.load.latest() > ended, self._patience)
        except AssertionError:
            return math.inf
        return time.monotonic() - ended

    def account(self, title: str) -> Account:
        """Let all come to its end, and account for it."""
        load, ledger = self.load, self.load.ledger
        if math.isinf(self.again):
            self._patience = HOPELESS
        self._go_on()
        sockets, memory_after = sum(map(connections_to, self.scene.ports)), memory()
        unfinished = load.stop_sending()
        with contextlib.suppress(AssertionError):  # they are lost
            wait_until(lambda: ledger.lost == 0, self._patience)
        load.stop()
        green.close()
        return Account(
            title=title,
            seconds=time.monotonic() - self.began,
            sent=ledger.sent,
            confirmed=ledger.confirmed,
            refused=ledger.refused,
            handled=ledger.handled,
            duplicates=ledger.duplicates,
            lost=ledger.lost,
            calls=MappingProxyType(dict(ledger.calls)),
            longest=ledger.longest,
            overdue=ledger.overdue,
            unfinished=unfinished,
            again=self.again,
            failures_after=ledger.failures_since(self._calm),
            lateness=load.lateness,
            sockets=sockets,
            greenlets=self._left_over(),
            memory_before=self._memory_before,
            memory_after=memory_after,
            surprises=tuple(f"{what} ({n} times)" for what, n in ledger.surprises.items()),
        )

    def _go_on(self) -> None:
        """Let everybody succeed a few times more; whoever fails is in the account."""
        before = dict(self.load.ledger.good)
        try:
            wait_until(lambda: self.load.at_work(AFTERWARDS, before), self._patience)
        except AssertionError:
            self.load.ledger.surprise("not everybody went on when all consumed again")

    def _left_over(self) -> tuple[str, ...]:
        def new() -> list[str]:
            return [repr(each) for each in greenlets() if id(each) not in self._before]

        with contextlib.suppress(AssertionError):  # they are what is left over
            wait_until(lambda: not new(), 2.0)
        return tuple(new())


def examined(
    scene: Scene, title: str, strike: Strike, shape: Shape | None = None, *, patience: float = 15.0
) -> Account:
    """Run the load on *scene*, have the trouble, and return the account."""
    with Exam(scene, shape, patience=patience) as exam:
        exam.begin()
        exam.suffer(strike)
        return exam.account(title)
