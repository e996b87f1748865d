"""What one check has found: a `Diagnosis`, which is one line of the report."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from postage.cli.exits import Code
from postage.foreign_text import one_line

LONGEST_TEXT = 600
"""Characters of a diagnosis's text, which may quote the broker."""


class Rating(enum.Enum):
    """How a check has ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not carried out, because it depends on a check that has failed."""


class Part(enum.Enum):
    """What a check examines."""

    PROCESS = "process"
    ADDRESS = "address"
    BROKER = "broker"
    MODULE = "module"


@dataclass(frozen=True)
class Diagnosis:
    """The result of the check *name*: what was found, and the *remedy*, if one is needed."""

    part: Part
    name: str
    rating: Rating
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        text = one_line(self.text, LONGEST_TEXT)
        remedy = f"; {one_line(self.remedy, LONGEST_TEXT)}" if self.remedy else ""
        return f"{self.rating.value:<8} {one_line(self.name, 100)}: {text}{remedy}"

    def as_dict(self) -> dict[str, str]:
        """Return the diagnosis as plain data, fit for JSON."""
        values = asdict(self) | {"part": self.part.value, "rating": self.rating.value}
        return {name: one_line(value, LONGEST_TEXT) for name, value in values.items()}


NO_BROKER = "broker"
"""The check that is skipped if no broker answers at any address."""
NEEDED = ("settings", "login", "virtual host")
"""The checks without which nothing can be done on the broker."""


def code_of_all(diagnoses: Iterable[Diagnosis]) -> Code:
    """Return the exit code: 3 if no broker can be used, 4 if anything else has failed, or 0."""
    code = Code.CLEAN
    for each in diagnoses:
        is_failed = each.rating is Rating.FAILED
        if each.name == NO_BROKER or (is_failed and each.name in NEEDED):
            return Code.UNREACHABLE
        code = Code.ERROR_RESULT if is_failed else code
    return code
