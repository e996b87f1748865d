"""Logging from code that must not wait, for users whose logging handlers send messages.

A handler may do anything, such as publish its record by a producer of Postage.  Two kinds of code
may not run it:

* **The hub.**  gevent raises `BlockingSwitchOutError` in a callback of the hub that waits.
* **The greenlet that connects.**  A handler that publishes waits for the very connection that this
  greenlet is about to make.

Their records are therefore logged by a greenlet of their own, in the next turn of the hub.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import gevent
import gevent.hub

from postage.log_records import logger_of

__all__ = ["HubLogger", "silence_pika"]

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


# How far above `_log_here` the caller of `HubLogger.debug` is.  Python 3.10 counts the frames of
# logging, too.
_CALLER = 3 if sys.version_info >= (3, 11) else 4
_logging: set[object] = set()  # the greenlets in which a logging handler runs


class HubLogger(Adapter):
    """A logger that may be used anywhere, also in the hub.

    Drops a record that a logging handler causes by sending: the handler would send it, too, which
    causes the next record, and so on.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logger_of(name), None)
        # Not the method of LoggerAdapter, because messages pass here.
        self.isEnabledFor = self.logger.isEnabledFor  # type: ignore[method-assign]

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as `logging.Logger.log`; in the hub, in its next turn."""
        if not self.isEnabledFor(level):
            return
        if isinstance(gevent.getcurrent(), gevent.hub.Hub):
            self.log_apart(level, msg, *args, **kwargs)
        else:
            self._log_here(level, msg, *args, stacklevel=_CALLER, **kwargs)

    def log_apart(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log from a greenlet of its own, in the next turn of the hub; never switches."""
        if self.isEnabledFor(level):
            if kwargs.get("exc_info") is True:  # the greenlet does not handle this exception
                kwargs["exc_info"] = sys.exc_info()
            gevent.spawn(self._log_here, level, msg, *args, **kwargs)

    def _log_here(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        greenlet = gevent.getcurrent()
        if greenlet in _logging:
            return
        _logging.add(greenlet)
        try:
            self.logger.log(level, msg, *args, **kwargs)
        finally:
            _logging.discard(greenlet)


def silence_pika() -> None:
    """Let pika log critical errors only, unless the program has set the level of its logger.

    Postage raises or logs each of these events itself, mostly once where pika logs five records,
    and pika logs in the hub, where a logging handler must not wait.  To see pika's records, set
    its level at any time: ``logging.getLogger("pika").setLevel(logging.INFO)``.
    """
    pika = logging.getLogger("pika")
    if pika.level == logging.NOTSET:
        pika.setLevel(logging.CRITICAL)
