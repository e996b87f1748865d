"""The time limit of a test, for wrappers of pytest hooks."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from postage.testing.hang_detector import HangDetector, TestHung

DETECTOR = pytest.StashKey[HangDetector]()
"""Where the plugin keeps the detector of the run."""


def limited(item: pytest.Item, subject: str, seconds: float) -> Generator[None, Any, Any]:
    """Fail *item* if *subject* takes over *seconds*, and end the run.

    The run ends because the greenlets of the test may still run and disturb the next one.  For
    wrappers of pytest's hooks: ``return (yield from limited(item, item.nodeid, 10.0))``.
    """
    try:
        with item.config.stash[DETECTOR].limit(subject, seconds):
            return (yield)
    except TestHung as hung:
        item.session.shouldfail = f"{hung}; its greenlets may still run"
        raise pytest.fail.Exception(str(hung)) from hung
