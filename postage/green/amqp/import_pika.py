"""Importing pika without the event loop that one of its adapters is for.

``import pika`` imports all adapters, and that for asyncio its 29 modules: 1.4 MB, and a twentieth
of the time that a program takes to start.  Nobody here needs them; so they are loaded when somebody
does, by Python's own means for that, `importlib.util.LazyLoader`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

__all__ = ["import_pika"]


class _AsyncioLater:
    """Finds asyncio as everybody does, and has it loaded when it is used, or imported again."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where asyncio is; nothing for any other module."""
        spec = PathFinder.find_spec(name, path, target) if name == "asyncio" else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_pika() -> None:
    """Import pika; asyncio, unless it is there already, with its first use by anybody."""
    sys.meta_path.insert(0, _AsyncioLater)
    try:
        import pika  # noqa: F401, PLC0415 - while the finder is there
    finally:
        sys.meta_path.remove(_AsyncioLater)
