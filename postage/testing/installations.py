"""Where the programs of RabbitMQ are: those of the system, or of another version beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

DEBIAN_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
"""The programs behind Debian's ``/usr/sbin/rabbitmq-server``, a wrapper that insists on the user
``rabbitmq``."""
VARIABLE = "POSTAGE_RABBITMQ_BIN"
"""The environment variable with the folder of the programs; for all nodes of a process."""


class RabbitMQMissing(RuntimeError):
    """RabbitMQ, or the version of it that was asked for, is not installed on this machine."""


def program(name: str) -> str:
    """Return the path of the program *name* of RabbitMQ or Erlang; raises `RabbitMQMissing`.

    It is taken from the folder ``POSTAGE_RABBITMQ_BIN``, or else from the system.  A folder without
    Erlang, such as that of RabbitMQ's own archive, needs Erlang on the ``PATH``.
    """
    chosen = os.environ.get(VARIABLE)
    path = Path(chosen or DEBIAN_PROGRAMS) / name
    if path.exists():
        return str(path)
    if chosen and name.startswith("rabbitmq"):
        raise RabbitMQMissing(f"{name} is missing in {chosen}, the folder in {VARIABLE}")
    found = shutil.which(name)
    if found is None:
        message = f"{name} is missing; install RabbitMQ (Debian: apt-get install rabbitmq-server)"
        raise RabbitMQMissing(message)
    return found


def is_installed() -> bool:
    """Return whether RabbitMQ is installed on this machine."""
    try:
        program("rabbitmq-server")
    except RabbitMQMissing:
        return False
    return True


def programs_of(version: str) -> Path:
    """Return the folder with the programs of RabbitMQ *version*; raises `RabbitMQMissing`.

    *version* is ``4``, ``4.3`` or ``4.3.6``; of several that fit, the newest is taken.  It may be
    Debian's package, or be in the folder in which ``tools/unpack_rabbitmq.sh`` puts its downloads.
    """
    homes = [DEBIAN_PROGRAMS.parent, *_cache().glob("rabbitmq-*")]
    # A folder lib/rabbitmq_server-4.3.6 beside bin tells the version without running anything.
    found = {_numbers(each.name): home for home in homes for each in home.glob("lib/*_server-*")}
    asked = _numbers(version)
    fitting = [numbers for numbers in found if numbers[: len(asked)] == asked]
    if not fitting:
        known = ", ".join(".".join(map(str, numbers)) for numbers in sorted(found)) or "none"
        raise RabbitMQMissing(
            f"RabbitMQ {version} is not installed (found: {known}).  In a checkout of Postage, "
            f"tools/install_rabbitmq.sh {version} brings it; or name a folder in {VARIABLE}"
        )
    return found[max(fitting)] / "bin"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "postage"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers in the last part of *version*: ``rabbitmq_server-4.3.6`` is (4, 3, 6)."""
    parts = version.rpartition("-")[2].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
