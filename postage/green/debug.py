"""``POSTAGE_DEBUG_MODE``: everything that is sent and received, in the log."""

from __future__ import annotations

import logging

from postage.settings import live

__all__ = ["enable_if_asked"]


def enable_if_asked() -> None:
    """Log the ``postage`` loggers at debug level, when ``POSTAGE_DEBUG_MODE`` is ``true``.

    Where the program has set up no logging, lines go to stderr, as classic Postage printed them.
    """
    root = logging.getLogger("postage")
    if not live.debug_mode or root.level == logging.DEBUG:
        return
    root.setLevel(logging.DEBUG)
    if not root.hasHandlers():
        root.addHandler(logging.StreamHandler())
