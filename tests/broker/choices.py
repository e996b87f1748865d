"""Values that are drawn at random: the parts of steps and of whole examples.

Hypothesis would repeat and vary what it has drawn before, so that most steps of an example act on
nothing.  Independent draws reach more, and a seed is enough to draw an example again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Choice(Generic[T]):
    """What can be drawn; *draw* takes the source of randomness."""

    def __init__(self, draw: Callable[[Random], T]) -> None:
        self.draw = draw

    def map(self, function: Callable[[T], U]) -> Choice[U]:
        """Return the choice of what *function* makes of a value."""
        return Choice(lambda random: function(self.draw(random)))


def just(value: T) -> Choice[T]:
    """Choose *value*."""
    return Choice(lambda _: value)


def sampled_from(values: Sequence[T]) -> Choice[T]:
    """Choose one of *values*."""
    return Choice(lambda random: random.choice(values))


def integers(least: int, most: int) -> Choice[int]:
    """Choose a number from *least* to *most*."""
    return Choice(lambda random: random.randint(least, most))


def booleans() -> Choice[bool]:
    """Choose True or False."""
    return sampled_from((True, False))


def one_of(*choices: Choice[Any]) -> Choice[Any]:
    """Choose by one of *choices*."""
    return Choice(lambda random: random.choice(choices).draw(random))


def tables(
    required: Mapping[str, Choice[Any]], optional: Mapping[str, Choice[Any]] | None = None
) -> Choice[dict[str, Any]]:
    """Choose the values of a table, and which of the *optional* entries it has."""

    def draw(random: Random) -> dict[str, Any]:
        drawn = {name: choice.draw(random) for name, choice in required.items()}
        for name, choice in (optional or {}).items():
            if random.random() < 0.5:
                drawn[name] = choice.draw(random)
        return drawn

    return Choice(draw)
