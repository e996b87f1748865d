"""Imports pika without asyncio.

``import pika`` imports all of pika's adapters, and its asyncio adapter imports the 29 modules of
asyncio: 1.7 of 30 MB, and a twentieth of the time that a program takes to start.  Postage does not
use that adapter.  So while pika is imported, asyncio gets an `importlib.util.LazyLoader`, and the
first access to an attribute of asyncio loads it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

__all__ = ["import_pika"]


class _LazyAsyncioFinder:
    """Finds asyncio as Python does, but loads it at its first use."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of asyncio; None for any other module."""
        spec = PathFinder.find_spec(name, path, target) if name == "asyncio" else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_pika() -> None:
    """Import pika, but not asyncio; if asyncio is loaded already, it stays as it is."""
    sys.meta_path.insert(0, _LazyAsyncioFinder)
    try:
        import pika  # noqa: F401, PLC0415 - while the finder is in place
    finally:
        sys.meta_path.remove(_LazyAsyncioFinder)
