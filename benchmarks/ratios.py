"""Recorded ratios, and the judgement of new ones.

They depend on the interpreter and the clock, so each minor version of Python and each kind of clock
has its own.  Versions of libraries are printed but not compared: a release that changes a ratio
should be noticed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

TOLERATED = 1.15
"""The largest tolerated growth of a ratio."""
NOTABLE = 0.95
"""Below this part of the recorded ratio, the new one counts as better."""

WORSE, BETTER = "worse", "better"


class Records:
    """The records in the file at *path*, of one *clock*, for the running Python."""

    def __init__(self, path: Path, clock: str) -> None:
        self._path, self._clock = path, clock
        self._all: dict[str, dict[str, Any]] = json.loads(path.read_text())
        known = self._all.get(python(), {}).get(clock, {})
        self.versions: str | None = known.get("versions")
        """The versions at the time of recording; None if nothing was recorded."""
        self.ratios: Mapping[str, float] = known.get("ratios", {})

    def write(self, ratios: Mapping[str, float]) -> None:
        """Record *ratios*, with the versions that are installed here."""
        rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
        new = {"versions": versions(), "ratios": rounded}
        self._all.setdefault(python(), {})[self._clock] = new
        self._path.write_text(json.dumps(self._all, indent=2) + "\n")

    def verdict(self, name: str, ratio: float) -> str:
        """Return the judgement of a new *ratio*; `WORSE` is a failure."""
        recorded = self.ratios.get(name)
        if recorded is None:
            return "not recorded"
        if ratio > recorded * TOLERATED:
            return WORSE
        return BETTER if ratio < recorded * NOTABLE else "as recorded"


def python() -> str:
    """Return the running Python, such as ``CPython 3.12``."""
    major, minor, _ = platform.python_version_tuple()
    return f"{platform.python_implementation()} {major}.{minor}"


def versions() -> str:
    """Return the versions on which ratios depend."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pika", "gevent", "greenlet"))
    return f"Python {platform.python_version()}, {libraries}"
