"""A fault: what makes trouble, how long it lasts, and what may be in the account after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.account import ANSWERED, Limits
from tests.faults.load import Load, Shape
from tests.faults.scene import Scene

Strike = Callable[[Scene, Load], None]
"""Makes trouble on a scene, under a load, and returns when the trouble is over."""

EVERYWHERE = ("rabbitmq", "embedded")
RABBITMQ, EMBEDDED = ("rabbitmq",), ("embedded",)

UNHARMED = Limits(duplicates=0, refused=0, outcomes=frozenset({ANSWERED}))
"""Nobody notices anything."""
LATE = Limits(duplicates=0, refused=0)
"""Calls may be too late, but no connection is lost."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of trouble."""

    name: str
    strike: Strike
    on: tuple[str, ...] = EVERYWHERE
    """The kinds of scene on which it can happen."""
    limits: Limits = field(default_factory=Limits)
    shape: Shape = field(default_factory=Shape)
    brief: tuple[str, ...] = EVERYWHERE
    """Where it takes only seconds: there it is in every run of the suite."""
