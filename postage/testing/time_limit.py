"""The time limit of a test, for wrappers of pytest hooks."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from postage.testing.hang_detector import HangDetector, TestHung

_descriptor = pytest.StashKey[int]()
_detector = pytest.StashKey[HangDetector]()


def keep_stderr(config: pytest.Config) -> None:
    """Keep the real stderr, for the stacks of a hanging test; call it before pytest captures."""
    config.stash[_descriptor] = os.dup(2)


def close_stderr(config: pytest.Config) -> None:
    """Close the file that `keep_stderr` has opened."""
    if _descriptor in config.stash:
        os.close(config.stash[_descriptor])
        del config.stash[_descriptor]


def limited(item: pytest.Item, subject: str, seconds: float) -> Generator[None, Any, Any]:
    """Fail *item* if *subject* takes over *seconds*, and end the run.

    The run ends because the greenlets of the test may still run and disturb the next one.  For
    wrappers of pytest's hooks: ``return (yield from limited(item, item.nodeid, 10.0))``.
    """
    stash = item.config.stash
    if _detector not in stash:
        stash[_detector] = HangDetector(stash[_descriptor])
    try:
        with stash[_detector].limit(subject, seconds):
            return (yield)
    except TestHung as hung:
        item.session.shouldfail = f"{hung}; its greenlets may still run"
        raise pytest.fail.Exception(str(hung)) from hung
