"""Patching the standard library, without what gevent spends on looking for plugins.

gevent tells plugins of other packages of each step, 25 in all, and has `importlib.metadata` read
what is installed each time: a fifth of the time that a program takes to start, two megabytes, and
more with every package in the environment.  Here all of it is read once, and the rest is gevent's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import PathFinder
from operator import attrgetter
from typing import Any

import gevent.events
import gevent.monkey

__all__ = ["patch_all"]

_events: Any = gevent.events  # its types lack what is used here

Plugins = dict[str, list[str]]
"""What is to be called, as ``module:function``, by the name of the event."""


def patch_all(**options: Any) -> None:
    """Make the standard library cooperative; *options* are those of ``gevent.monkey.patch_all``."""
    with _plugins_read_once():
        gevent.monkey.patch_all(**options)


@contextlib.contextmanager
def _plugins_read_once() -> Iterator[None]:
    """Have gevent do with `_notify` inside the block, where that would find all that there is."""
    own = getattr(_events, "notify_and_call_entry_points", None)
    if own is None or not all(map(_is_plain, [*sys.meta_path, *sys.path])):
        yield
        return
    plugins = _plugins()
    _events.notify_and_call_entry_points = lambda event: _notify(event, plugins)
    try:
        yield
    finally:
        _events.notify_and_call_entry_points = own


def _is_plain(place: object) -> bool:
    """Tell whether packages at *place*, of the import system's, are folders, or there are none."""
    if isinstance(place, str):
        return not (place.endswith(".egg") or os.path.isfile(place))  # noqa: PTH113 - no pathlib
    return place is PathFinder or not hasattr(place, "find_distributions")


def _notify(event: Any, plugins: Plugins) -> None:
    """Do what ``gevent.events.notify_and_call_entry_points`` does; may raise ``DoNotPatch``."""
    _events.notify(event)
    for plugin in plugins.get(event.ENTRY_POINT_NAME, ()):
        module, _, function = plugin.partition(":")
        attrgetter(function)(import_module(module))(event)


def _plugins() -> Plugins:
    """Return gevent's plugins in all installed packages."""
    found: Plugins = {}
    for text in _entry_points():
        group = ""
        for line in map(str.strip, text.splitlines() if "gevent.plugins" in text else ()):
            if line.startswith("["):
                group = line.strip("[]")
            elif "=" in line and not line.startswith("#"):
                value = line.partition("=")[2].partition("[")[0]  # without extras
                found.setdefault(group, []).append(value.replace(" ", ""))
    return found


def _entry_points() -> Iterator[str]:
    """Return each installed package's ``entry_points.txt``; of a name, the first one counts."""
    seen: set[str] = set()
    for folder in sys.path:
        for info in _infos(folder or "."):
            name = info.name.partition("-")[0].lower().replace("_", ".")
            if name not in seen:
                seen.add(name)
                with contextlib.suppress(OSError):
                    yield _read(f"{info.path}/entry_points.txt")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
        return file.read()


def _infos(folder: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [each for each in entries if each.name.endswith((".dist-info", ".egg-info"))]
    return []
