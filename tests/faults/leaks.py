"""Where the password of the scenes shows although it must not."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.login import SHOWN

LOGGERS = ("postage", "pika", "gevent", "tests")
"""Whose every word is looked at."""


def shows(text: str) -> bool:
    """Tell whether *text* has the password in it, in one form or the other."""
    return any(form in text for form in SHOWN)


class Leaks(logging.Handler):
    """Keeps the records that show the password, and counts all."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        text = f"{self.format(record)} {record.args!r}"
        if shows(text):
            self.found.append(text)


@contextmanager
def every_word() -> Iterator[Leaks]:
    """Have all loggers say all they can, for us alone: the terminal stays quiet."""
    leaks = Leaks()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(leaks)
    try:
        yield leaks
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
            logger.removeHandler(leaks)


def told_by_objects() -> list[str]:
    """Return the repr of each object of ours, wherever it is, that shows the password."""
    ours = [thing for thing in gc.get_objects() if _is_ours(type(thing))]
    return [text for thing in ours if shows(text := f"{thing!r} {_text_of(thing)}")]


def _is_ours(kind: type[Any]) -> bool:
    return str(getattr(kind, "__module__", "")).partition(".")[0] == "postage"


def _text_of(thing: Any) -> str:
    return str(thing) if isinstance(thing, Exception) else ""


def spoil(report: pytest.TestReport) -> None:
    """Fail the test of *report* if the password is anywhere in it: errors, tracebacks, output."""
    shown = [name for name, text in report.sections if shows(text)]
    if shows(report.longreprtext):
        shown.append("its error")
    if shown:
        report.outcome = "failed"
        report.longrepr = f"the password is shown in: {', '.join(shown)}"
        report.sections = [(name, text) for name, text in report.sections if not shows(text)]
