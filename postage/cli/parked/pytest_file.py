"""``postage dlq export``: a message that failed, as a test that fails.  Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from postage.cli.parked.as_it_failed import AsItFailed
from postage.cli.parked.python_source import Unwritable, python_source
from postage.encoding import JsonEncoder
from postage.errors import DecodingError
from postage.foreign_text import one_line
from postage.parking import FailedMessage

__all__ = ["pytest_file"]

_HEAD = '''\
"""A message that failed, as `postage dlq export` has written it.

The test fails as the message did, until the fault is mended.
"""
'''
_BASE64_LINE = 76
_PREVIEW = 80
"""Bytes of a body that is no JSON that a comment shows."""
_LARGEST_JSON = 1 << 17
"""Bytes of a body that may be written as a literal."""


def pytest_file(message: FailedMessage, module: str, name: str, *, as_json: bool = True) -> str:
    """Return the source of a test that lets *name* of *module* handle *message*.

    *module* and *name* are names that the user has given.  Everything else comes from peers: it
    stands in comments, each on one line, or is written by `python_source`.  *as_json*: write a body
    in JSON as the value that it stands for; otherwise as bytes, for a processor with another
    encoder.
    """
    then = AsItFailed.of(message)
    body = list(_body(then.body, as_json=as_json))
    properties, left_out = _written(then.properties)
    headers, left_out_too = _written(then.headers)
    values = "\n".join((*body, f"PROPERTIES = {properties}", f"HEADERS = {headers}"))
    about = [*_about(message), *left_out, *left_out_too]
    return "\n".join(
        (
            _HEAD,  # two lines of ours come first: a comment there could name an encoding
            *_imports(values, module, name.partition(".")[0]),
            "",
            *(f"# {line}".rstrip() for line in about),
            "",
            values,
            "",
            "",
            f"def test_{_slug(message.name) or 'message'}():",
            "    handled = handle(",
            f"        {name},",
            "        BODY,",
            "        properties=PROPERTIES,",
            "        headers=HEADERS,",
            f"        queue={python_source(then.queue)},",
            f"        exchange={python_source(then.exchange)},",
            f"        routing_key={python_source(then.routing_key)},",
            "    )",
            "",
            '    assert handled.handlers, "no handler takes the message"',
            "",
        )
    )


def _imports(values: str, module: str, name: str) -> list[str]:
    """Return the lines that import what the file needs; one too many does no harm."""
    needed = [each for each in ("base64", "datetime", "decimal") if f"{each}." in values]
    standard = [*(f"import {each}" for each in needed), ""] if needed else []
    return [*standard, f"from {module} import {name}", "", "from postage.testing import handle"]


def _body(body: bytes, *, as_json: bool) -> Iterator[str]:
    """Yield the lines that define the body."""
    if as_json and len(body) <= _LARGEST_JSON:
        try:
            yield f"BODY = {python_source(JsonEncoder.decode(body))}"
        except (DecodingError, Unwritable):
            pass
        else:
            return
    yield f"# {len(body)} bytes, which begin like this: {one_line(body[:_PREVIEW])}"
    text = base64.b64encode(body).decode()
    lines = [text[at : at + _BASE64_LINE] for at in range(0, len(text), _BASE64_LINE)]
    yield "\n".join(("BODY = base64.b64decode(", '    """', *lines, '    """', ")"))


def _written(values: dict[str, Any]) -> tuple[str, list[str]]:
    """Return *values* as source, without those that cannot be written, and comments on these."""
    problems = {name: _problem({name: value}) for name, value in values.items()}
    comments = [f"Left out is {one_line(n, 100)}: {why}." for n, why in problems.items() if why]
    kept = {name: value for name, value in values.items() if not problems[name]}
    if problem := _problem(kept):  # all together
        return "{}", [f"All headers or properties are left out: {problem}."]
    return python_source(kept), comments


def _problem(value: Any) -> str:
    """Return why *value* cannot be written as source; empty if it can."""
    try:
        python_source(value)
    except Unwritable as exc:
        return str(exc)
    return ""


# --- comments


def _about(message: FailedMessage) -> Iterator[str]:
    """Yield the lines of the dossier, each without anything that could end a comment."""
    about = message.dossier
    where = f"in {one_line(message.queue)}"
    yield f"The message {one_line(message.name) or 'without a name'}, {message.id} {where}."
    facts: dict[str, object] = {
        "why": about.why,
        "exception": ": ".join(filter(None, (one_line(about.exception), one_line(about.text)))),
        "handler": about.handler,
        "processor": about.processor,
        "component": about.component,
        "host": " ".join(filter(None, (about.host, about.pid and f"(pid {about.pid})"))),
        "attempts": about.attempts or "",
        "first failed": _time(about.first_failed),
        "parked": _time(about.parked),
        "damaged": message.damaged,
    }
    yield from (f"  {what}: {one_line(value)}" for what, value in facts.items() if value)
    if about.traceback:
        yield from ("", *_traceback(about.traceback.split("\n")))


def _traceback(lines: Iterable[str]) -> Iterator[str]:
    yield from (f"  {one_line(line)}" for line in list(lines)[:500])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return ""


def _slug(text: str) -> str:
    """Return *text* as a part of a name, of harmless characters only."""
    return re.sub(r"[^a-z0-9]+", "_", text[:60].lower()).strip("_")
