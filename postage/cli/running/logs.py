"""The log of ``postage run``: lines on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
LINE = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
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
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)


def set_up(level: str, *, as_json: bool) -> None:
    """Log from *level* upwards to stderr.

    pika logs critical errors only: see `postage.green.amqp.hub_logging.silence_pika`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(LINE))
    logging.basicConfig(level=level.upper(), handlers=[handler])
