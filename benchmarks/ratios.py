"""Ratios that were recorded, and what is said of new ones beside them.

They depend on the interpreter, so each minor version of Python has its own, and each kind of clock.
Versions of libraries are told and not compared: a release that changes a ratio is news as well.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

TOLERATED = 1.15
"""A ratio may be so many times what was recorded."""
NOTABLE = 0.95
"""Below so many times what was recorded, it is better."""

WORSE, BETTER = "worse", "better"


class Records:
    """What was recorded with one *clock* for the Python that runs; the file at *path* has it."""

    def __init__(self, path: Path, clock: str) -> None:
        self._path, self._clock = path, clock
        self._all: dict[str, dict[str, Any]] = json.loads(path.read_text())
        known = self._all.get(python(), {}).get(clock, {})
        self.versions: str | None = known.get("versions")
        """What it was recorded with; None: nothing was."""
        self.ratios: Mapping[str, float] = known.get("ratios", {})

    def write(self, ratios: Mapping[str, float]) -> None:
        """Record *ratios* instead, measured with what is installed here."""
        rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
        new = {"versions": versions(), "ratios": rounded}
        self._all.setdefault(python(), {})[self._clock] = new
        self._path.write_text(json.dumps(self._all, indent=2) + "\n")

    def verdict(self, name: str, ratio: float) -> str:
        """Return what is to be said of a new *ratio*; `WORSE` is a failure."""
        recorded = self.ratios.get(name)
        if recorded is None:
            return "not recorded"
        if ratio > recorded * TOLERATED:
            return WORSE
        return BETTER if ratio < recorded * NOTABLE else "as recorded"


def python() -> str:
    """Return what runs, such as ``CPython 3.12``."""
    major, minor, _ = platform.python_version_tuple()
    return f"{platform.python_implementation()} {major}.{minor}"


def versions() -> str:
    """Return the versions on which ratios depend."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pika", "gevent", "greenlet"))
    return f"Python {platform.python_version()}, {libraries}"
