"""Finds the modules that have taken names of the standard library before gevent patched it.

``from socket import socket`` before the patch keeps the original for good, and so does a class that
inherits from it.  gevent remembers what it has replaced, so the originals can be recognised.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import gevent.events
import gevent.monkey

BLOCKING = {
    "socket": ("socket", "create_connection", "getaddrinfo", "gethostbyname", "socketpair"),
    "ssl": ("SSLContext", "SSLSocket"),
    "threading": ("Thread", "Event", "Lock", "RLock", "Condition", "Semaphore", "local"),
    "_thread": ("start_new_thread", "allocate_lock"),
    "time": ("sleep",),
    "select": ("select", "poll", "epoll"),
    "subprocess": ("Popen", "call", "check_call", "check_output", "run"),
    "queue": ("Queue", "SimpleQueue"),
}
"""The names of the standard library that block all greenlets if they are not patched."""
KNOWING = ("gevent", "greenlet", "postage", "pika", "click")
"""Packages that know what they do; click keeps its context in a local of the native thread."""


class PatchWatch:
    """Notes, until `close`, what was imported when gevent began to patch the standard library."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] | None = None
        """The modules that were imported before the patch; None: there was no patch."""
        self.threads = 0
        """Native threads that ran before the patch, besides the main one."""
        self._events: Any = gevent.events
        self._events.subscribers.append(self._note)

    def close(self) -> None:
        """Stop watching."""
        self._events.subscribers.remove(self._note)

    def _note(self, event: object) -> None:
        if self.modules is None and isinstance(event, self._events.GeventWillPatchEvent):
            self.modules = sys.modules.copy()
            self.threads = threading.active_count() - 1

    def kept(self) -> dict[str, str]:
        """Return the modules that were imported too early, each with what it has kept."""
        originals = dict(_originals())
        found = {}
        for name, module in (self.modules or {}).items():
            top = name.partition(".")[0]
            if top in KNOWING or top in sys.stdlib_module_names or top == "__mp_main__":
                continue
            names = sorted(set(_kept_by(module, originals)))
            if names:
                found[name] = ", ".join(names)
        return found


def _originals() -> Iterator[tuple[int, str]]:
    """Yield the id and the name of each original that gevent has replaced and that blocks."""
    monkey: Any = gevent.monkey  # its types lack this name
    saved: dict[str, dict[str, Any]] = monkey.saved
    for module, names in BLOCKING.items():
        for name in names:
            original = saved.get(module, {}).get(name)
            if original is not None:
                yield id(original), f"{module}.{name}"


def _kept_by(module: ModuleType, originals: dict[int, str]) -> Iterator[str]:
    for value in list(vars(module).values()):
        kind = value if isinstance(value, type) else type(value)
        if id(value) in originals:
            yield originals[id(value)]
            continue
        for base in kind.__mro__:
            if str(base.__module__).startswith("gevent."):
                break  # it inherits the patched class, which may inherit the original
            if id(base) in originals:
                yield originals[id(base)]
                break
