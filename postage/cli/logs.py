"""The log of a command that runs components: lines on stderr, for people or for machines."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

__all__ = ["LEVELS", "set_up"]

LEVELS = ("debug", "info", "warning", "error")
LINE = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One object for each record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON: time, level, logger, pid, message, and what was raised."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


def set_up(level: str, *, as_json: bool) -> None:
    """Log from *level* on to stderr; pika's own chatter only from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(LINE))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("pika").setLevel(logging.WARNING)
