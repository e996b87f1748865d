"""The time limit of a test, for hooks of pytest."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from postage.testing.watchdog import TestHung, Watchdog

__all__ = ["close_stderr", "keep_stderr", "limited"]

_descriptor = pytest.StashKey[int]()
_watchdog = pytest.StashKey[Watchdog]()


def keep_stderr(config: pytest.Config) -> None:
    """Keep the real stderr for what the watchdog prints; call it where pytest does not capture."""
    config.stash[_descriptor] = os.dup(2)


def close_stderr(config: pytest.Config) -> None:
    """Undo `keep_stderr`."""
    if _descriptor in config.stash:
        os.close(config.stash[_descriptor])
        del config.stash[_descriptor]


def limited(item: pytest.Item, what: str, seconds: float) -> Generator[None, Any, Any]:
    """Fail *item* when *what* hangs, and end the run: what its greenlets would do is unknown.

    For wrappers of pytest's hooks: ``return (yield from limited(item, item.nodeid, 10.0))``.
    """
    stash = item.config.stash
    if _watchdog not in stash:
        stash[_watchdog] = Watchdog(stash[_descriptor])
    try:
        with stash[_watchdog].guard(what, seconds):
            return (yield)
    except TestHung as hung:
        item.session.shouldfail = f"{hung}; its greenlets may still be about"
        raise pytest.fail.Exception(str(hung)) from hung
