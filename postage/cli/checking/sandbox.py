"""A sandbox in which components are made without contacting a broker of the user's."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from postage.broker import embedded
from postage.settings import Settings, live

NAME = "check"


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """Connect every component to a broker inside this process, whatever settings it has.

    In that broker, passive declarations create what is missing: the queues and exchanges that other
    programs own do not exist there.
    """
    logging.getLogger("postage.broker").setLevel(logging.ERROR)  # it warns that nothing survives
    embedded(NAME, create_missing=True)
    live.sandbox = Settings(host=f"embedded://{NAME}")
    try:
        yield
    finally:
        live.sandbox = None
