"""Fingerprints: the six values that identify the sender of a message in the running system."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

from postage.errors import SettingsError
from postage.settings import live

__all__ = ["NAMELESS", "Fingerprint", "FingerprintLike", "complete", "renew_after_forks"]

NAMELESS = "None"
"""The name of a component that has none, as 1.2.1 writes it."""


class HasDict(Protocol):
    """A user's object that can be written as a fingerprint."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fingerprint as a dictionary."""


FingerprintLike = Mapping[str, Any] | HasDict


class Fingerprint:
    """The fingerprint of a component.

    A missing pid, host, user or vhost is read from the system when the object is made, not at the
    import, which may be before a fork.  A missing *name* or *type* is ``None`` here, and ``"None"``
    on the wire, as in 1.2.1.
    """

    KEYS = ("name", "type", "pid", "host", "user", "vhost")

    def __init__(  # noqa: PLR0913 - the classic signature, one argument for each of the six
        self,
        name: object = None,
        type: object = None,  # noqa: A002 - the classic name
        pid: object = None,
        host: object = None,
        user: object = None,
        vhost: object = None,
    ) -> None:
        self.name = None if name is None else str(name)
        self.type = None if type is None else str(type)
        self.pid = _own_pid() if pid is None else str(pid)
        self.host = str(socket.gethostname() if host is None else host)
        self.user = str(_system_user() if user is None else user)
        self.vhost = str(live.lookup("vhost") if vhost is None else vhost)

    def as_dict(self) -> dict[str, str]:
        """Return a dictionary of the six keys; every value is a string."""
        return dict(zip(self.KEYS, self.as_tuple(), strict=True))

    def as_tuple(self) -> tuple[str, ...]:
        """Return the six values as strings, in the order of `KEYS`."""
        return tuple(str(getattr(self, key)) for key in self.KEYS)

    def __eq__(self, other: object) -> bool:
        """Two fingerprints are equal if their six values are."""
        return isinstance(other, Fingerprint) and self.as_tuple() == other.as_tuple()

    def __hash__(self) -> int:
        return hash(self.as_tuple())

    def __repr__(self) -> str:
        return f"Fingerprint({', '.join(f'{k}={v!r}' for k, v in self.as_dict().items())})"


def complete(partial: FingerprintLike | None) -> dict[str, Any]:
    """Return a fingerprint with the values of *partial*; the system fills in the missing ones.

    If *partial* was made before a fork, the pid in it is replaced by that of this process.

    Raises `SettingsError` if *partial* is no fingerprint.
    """
    known: Any = {} if partial is None else partial
    if hasattr(known, "as_dict") and not isinstance(known, (Mapping, type)):
        known = known.as_dict()
    if not isinstance(known, Mapping):
        text = f"{repr(partial)[:100]} is no fingerprint: give a Fingerprint or a dictionary"
        raise SettingsError(text)
    own = Fingerprint().as_dict()
    completed = {**own, **known}
    if completed["host"] == own["host"] and _is_of_parent(str(completed["pid"])):
        completed["pid"] = own["pid"]
    return completed


# --- forks

_pids: set[str] = set()
"""The pid of this process, and those of the processes that it was forked from, as far as they had
imported this module."""


def _own_pid() -> str:
    """Return the pid of this process as a fingerprint has it."""
    pid = str(os.getpid())
    _pids.add(pid)
    return pid


_own_pid()  # a child that is forked later must know this one


def _is_of_parent(pid: str) -> bool:
    """Tell whether *pid* is that of a process that this one was forked from, or started by."""
    parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", lambda: None)()
    parents = _pids if parent is None else _pids | {str(parent.pid)}
    return pid in parents and pid != _own_pid()


class _Bearer(Protocol):
    """A component that has a fingerprint."""

    def _renew(self) -> None:
        """Complete the fingerprint again."""


_bearers: weakref.WeakValueDictionary[int, _Bearer] = weakref.WeakValueDictionary()
"""By id, because components of users may not be hashable."""


def renew_after_forks(component: _Bearer) -> None:
    """Call ``component._renew()`` in each child that is forked while *component* exists."""
    _bearers[id(component)] = component


def _renew_all() -> None:
    for each in list(_bearers.values()):
        each._renew()  # noqa: SLF001 - not a method for users


os.register_at_fork(after_in_child=_renew_all)


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return str(os.getuid())
