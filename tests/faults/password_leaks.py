"""Search for the password of the fault environments where it must not be shown."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from tests.faults.fault_env import PASSWORD

FORMS = (PASSWORD, quote(PASSWORD, safe=""))
LOGGERS = ("postage", "pika", "gevent", "tests")


def shows_password(text: str) -> bool:
    """Tell whether *text* contains the password, as it is or quoted."""
    return any(form in text for form in FORMS)


class LeakHandler(logging.Handler):
    """Keeps the log records that show the password, and counts all records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        text = f"{self.format(record)} {record.args!r}"
        if shows_password(text):
            self.found.append(text)


@contextmanager
def watched_logs() -> Iterator[LeakHandler]:
    """Search everything that is logged, at all levels; nothing of it reaches the terminal."""
    handler = LeakHandler()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
            logger.removeHandler(handler)


def leaking_objects() -> list[str]:
    """Return the repr of each object of Postage, anywhere in memory, that shows the password."""
    objects = (
        each
        for each in gc.get_objects()
        if str(getattr(type(each), "__module__", "")).partition(".")[0] == "postage"
    )
    texts = (f"{each!r} {each if isinstance(each, Exception) else ''}" for each in objects)
    return [text for text in texts if shows_password(text)]


def fail_if_leaking(report: pytest.TestReport) -> None:
    """Fail the test of *report* if its output, error or traceback shows the password."""
    places = [name for name, text in report.sections if shows_password(text)]
    if shows_password(report.longreprtext):
        places.append("its error")
    if places:
        report.outcome = "failed"
        report.longrepr = f"the password is shown in: {', '.join(places)}"
        report.sections = [each for each in report.sections if not shows_password(each[1])]
