"""A place where components can be made without the broker for which they are meant."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator

from postage.broker.thread import embedded, end_embedded
from postage.green.runtime import close
from postage.settings import Settings, live
from postage.url import EMBEDDED

__all__ = ["sandbox"]

_numbers = itertools.count(1)
CLOSE_LIMIT = 1.0
"""Seconds for closing a connection to a broker in this process."""


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """Connect every component to a new broker inside this process, whatever settings it has.

    In that broker, passive declarations create what is missing: the queues and exchanges that other
    programs own do not exist there.  The broker ends with the block, and with it the connections of
    this thread to it.  What another greenlet makes meanwhile is in the sandbox, too.  Switches.
    """
    name = f"sandbox-{next(_numbers)}"
    log, before = logging.getLogger("postage.broker"), live.sandbox
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that nothing survives
    try:
        # Whether the program's own broker permits such queues is not known here.
        embedded(name, create_missing=True, transient_queues=True)
        live.sandbox = Settings(host=f"{EMBEDDED}{name}")
        yield
    finally:
        live.sandbox = before
        close(CLOSE_LIMIT, f"{EMBEDDED}{name}")
        end_embedded(name)
        log.setLevel(level)
