"""What is to be called when something happens, by whoever may come and go in thousands."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["Hooks"]

H = TypeVar("H")


class Hooks(dict[H, None]):
    """Hooks in the order in which they came, each once; none is looked for among the others.

    Iterate over a copy where a hook may remove itself.
    """

    def append(self, hook: H) -> None:
        """Add *hook*."""
        self[hook] = None

    def remove(self, hook: H) -> None:
        """Remove *hook*; raises `KeyError` where it is not there."""
        del self[hook]
