"""Prometheus' text format: families of samples, and the lines that a scrape gets.

The format (version 0.0.4) wants all samples of a family in one block.  So pages of several
processes cannot be put one behind the other: `merged` puts their blocks together.  Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["CONTENT_TYPE", "Family", "Labels", "labels_text", "merged"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are shown."""

_TO_ESCAPE = re.compile(r'[\\\n"]')
_ESCAPED = {"\\": r"\\", "\n": r"\n", '"': r"\""}


@dataclass
class Family:
    """One metric: its *name*, its *kind* as Prometheus calls it, and the lines of its samples."""

    name: str
    kind: str
    help: str
    samples: list[str] = field(default_factory=list)
    """Lines, and no tuples: thousands of those would let Python collect garbage meanwhile."""

    def add(self, value: float, labels: str = "", suffix: str = "") -> None:
        """Add a sample with the *labels* of `labels_text`.

        *suffix* is what its name has behind that of the family, such as ``_bucket``.
        """
        # Infinity and NaN are valid as Python writes them.
        self.samples.append(f"{self.name}{suffix}{{{labels}}} {value!r}\n")

    def lines(self) -> Iterator[str]:
        """Yield the lines of the family; each ends with a newline."""
        yield f"# HELP {self.name} {_escaped(self.help)}\n"
        yield f"# TYPE {self.name} {self.kind}\n"
        yield from self.samples


def labels_text(labels: Labels) -> str:
    """Return *labels* as they stand between braces."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(text: str) -> str:
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], text)


def merged(pages: Iterable[str]) -> Iterator[str]:
    """Yield the blocks of several *pages* of `Family.lines`, one for each family.

    The first page that has a family says what it is; the samples of the others follow.
    """
    blocks: dict[str, list[str]] = {}
    for page in pages:
        # At the beginning of a line, as a text may contain it anywhere, but contains no newline.
        for block in f"\n{page}".split("\n# HELP ")[1:]:
            help_, _, rest = block.partition("\n")
            type_, _, samples = rest.partition("\n")
            head = f"# HELP {help_}\n{type_}\n"
            samples = samples if samples.endswith("\n") else f"{samples}\n"
            blocks.setdefault(help_.partition(" ")[0], [head]).append(samples)
    for parts in blocks.values():
        yield "".join(parts)
