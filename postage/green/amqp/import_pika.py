"""Imports pika without asyncio.

``import pika`` imports all of pika's adapters, and its asyncio adapter imports the 29 modules of
asyncio: 1.7 of 30 MB, and a twentieth of the time that a program takes to start.  Postage does not
use that adapter.  So while pika is imported, a module that imports asyncio at the first access to
an attribute stands in for it.

It must not stay in `sys.modules`: from Python 3.12 on, logging asks the asyncio that it finds there
for the current task, so the first record would import all of asyncio.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["import_pika"]

NAME = "asyncio"


class _AsyncioProxy(ModuleType):
    """Has the attributes of asyncio, which it imports when one is first read."""

    def __getattr__(self, name: str) -> Any:
        _discard(self)
        return getattr(importlib.import_module(NAME), name)


def _discard(proxy: _AsyncioProxy) -> None:
    if sys.modules.get(NAME) is proxy:
        del sys.modules[NAME]


def import_pika() -> None:
    """Import pika, but not asyncio; if asyncio is loaded already, it stays as it is."""
    proxy = _AsyncioProxy(NAME)
    sys.modules.setdefault(NAME, proxy)
    try:
        import pika  # noqa: F401, PLC0415 - while the proxy is in place
    finally:
        _discard(proxy)
