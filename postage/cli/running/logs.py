"""The log of ``postage run``: lines on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from postage.foreign_text import one_line, traceback_text

LEVELS = ("debug", "info", "warning", "error")
LINE = "%(asctime)s %(process)d %(levelname)s %(name)s%(in_hand)s: %(message)s"


LONGEST_LINE = 100_000
"""Characters that are left of one line that the program itself logs."""


class _SafeTracebacks(logging.Formatter):
    """Formats tracebacks so that no text of an exception can begin a line."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name in logging
        """Return the traceback; see `postage.foreign_text.traceback_text`."""
        return "" if ei[1] is None else traceback_text(ei[1])


class TextLines(_SafeTracebacks):
    """Formats records as text: also those of the program itself, which may hold what peers wrote.

    Control characters are escaped, and further lines of a text are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as above
        """Return the record without its traceback; after the logger, the ids of the message."""
        ids = _ids(record)
        record.in_hand = (
            f" [{', '.join(f'{name} {id_}' for name, id_ in ids.items())}]" if ids else ""
        )
        lines = super().formatMessage(record).split("\n")
        return "\n    ".join(one_line(line, LONGEST_LINE) for line in lines)


class JsonLines(_SafeTracebacks):
    """Formats each record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON: time, level, logger, pid, message, and the exception if any."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        values |= _ids(record)
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)


def _ids(record: logging.LogRecord) -> dict[str, str]:
    """Return the ids of the message that was handled where *record* was made, if any."""
    found = {name: getattr(record, name, "") for name in ("message_id", "correlation_id")}
    return {name: id_ for name, id_ in found.items() if id_}


def add_ids() -> None:
    """Let the records show the message in hand; loads gevent, so it must run after patching."""
    from postage.green.handling.current import MessageIds  # noqa: PLC0415 - see above

    for handler in logging.getLogger().handlers:
        handler.addFilter(MessageIds())


def set_up(level: str, *, as_json: bool) -> None:
    """Log from *level* upwards to stderr.

    pika logs critical errors only: see `postage.green.amqp.hub_logging.silence_pika`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines(LINE))
    logging.basicConfig(level=level.upper(), handlers=[handler])
