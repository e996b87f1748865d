"""Monkey patching as gevent does it, but in less time.

gevent tells plugins of other packages about each of its 25 steps.  Each time it reads the metadata
of all installed packages by `importlib.metadata`: 60 of the 160 ms in which a small program starts,
and more if more packages are installed.  Here the entry points are read once, and without
`importlib.metadata`, whose import takes 20 ms.  If packages may be installed in another form than
as folders, gevent reads them itself.
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


def patch_all(**options: Any) -> None:
    """Make the standard library cooperative; *options* are those of ``gevent.monkey.patch_all``."""
    own = getattr(_events, "notify_and_call_entry_points", None)
    if own is None or not all(map(_is_plain, [*sys.meta_path, *sys.path])):
        gevent.monkey.patch_all(**options)
        return
    plugins = _plugins()

    def notify(event: Any) -> None:
        """Replace the function of gevent that calls plugins; they may raise ``DoNotPatch``."""
        _events.notify(event)
        for plugin in plugins.get(event.ENTRY_POINT_NAME, ()):
            module, _, function = plugin.partition(":")
            attrgetter(function)(import_module(module))(event)

    _events.notify_and_call_entry_points = notify
    try:
        gevent.monkey.patch_all(**options)
    finally:
        _events.notify_and_call_entry_points = own


def _is_plain(place: object) -> bool:
    """Return whether the packages at *place*, a path or a finder, can only be folders."""
    if isinstance(place, str):
        return not (place.endswith(".egg") or os.path.isfile(place))  # noqa: PTH113 - programs start without pathlib
    return place is PathFinder or not hasattr(place, "find_distributions")


def _plugins() -> dict[str, list[str]]:
    """Return gevent's plugins in all installed packages, as ``module:function``, by event."""
    found: dict[str, list[str]] = {}
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
    """Yield the ``entry_points.txt`` of each package; the first one of a name counts."""
    seen: set[str] = set()
    for folder in sys.path:
        entries: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError), os.scandir(folder or ".") as found:
            entries = [each for each in found if each.name.endswith((".dist-info", ".egg-info"))]
        for entry in entries:
            name = entry.name.partition("-")[0].lower().replace("_", ".")
            path = f"{entry.path}/entry_points.txt"
            if name not in seen:
                seen.add(name)
                with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 - as above
                    yield file.read().decode(errors="replace")
