"""Search for the password of the fault environments where it must not be shown."""

from __future__ import annotations

import gc
import logging
from urllib.parse import quote

import pytest

from tests.faults.fault_env import PASSWORD

FORMS = (PASSWORD, quote(PASSWORD, safe=""))


def shows_password(text: str) -> bool:
    """Tell whether *text* contains the password, as it is or quoted."""
    return any(form in text for form in FORMS)


def leaking_records(records: list[logging.LogRecord]) -> list[str]:
    """Return the text of each log record that shows the password."""
    format_record = logging.Formatter().format
    texts = (f"{format_record(record)} {record.args!r}" for record in records)
    return [text for text in texts if shows_password(text)]


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
