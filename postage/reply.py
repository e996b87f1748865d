"""The reply function that an RPC handler gets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

__all__ = ["Reply"]

logger = logging.getLogger(__name__)


class Reply:
    """Answers one RPC, once: call it with a result message or with any value.

    A second call is counted, logged and dropped.  A handler that wants to answer after it returned,
    from another greenlet, says so with `later` and keeps the function.
    """

    __slots__ = ("_on_second", "_send", "deferred", "sent")

    def __init__(
        self, send: Callable[[Any], None], on_second: Callable[[], None] = lambda: None
    ) -> None:
        self._send, self._on_second = send, on_second
        self.sent = False
        self.deferred = False

    def __call__(self, result: Any) -> None:
        """Send *result*; raises `EncodingError`, and nothing is sent, when it cannot be encoded."""
        if self.sent:
            self._on_second()
            logger.warning("A second reply to one RPC was dropped; call the reply function once.")
            return
        self._send(result)
        self.sent = True

    def later(self) -> Reply:
        """Promise an answer after the handler has returned; returns the function itself."""
        self.deferred = True
        return self

    @property
    def is_due(self) -> bool:
        """True while nobody answered, nor promised to."""
        return not (self.sent or self.deferred)
