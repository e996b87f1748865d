"""What a connection knows of exchanges that others have deleted.  Pure: no gevent, no pika, no I/O.

How it works
------------
An exchange is deleted together with its bindings.  A publisher could make the exchange again at
once, but not the bindings, which other processes have declared: until they bind again, RabbitMQ
would confirm each message and drop it.  While the exchange is missing, however, the broker refuses
each message to it, and so every process notices.  Therefore:

* No connection makes a missing exchange again before its consumers everywhere have had the time to
  notice: `CONSUMERS_WAIT` seconds, longer than the pause between two checks of `rebinding`.  A
  connection that only publishes waits longer, so that a consumer makes the exchange if there is
  any.
* A connection that knows of the loss asks every `POLL` seconds whether the exchange exists again.
  Consumers then bind at once.
* For `DOUBTED` seconds after that, publishers do not trust the exchange: they send each message as
  mandatory and wait for its confirm, and send it again if it reached no queue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from postage.exchange import Exchange

__all__ = ["CONSUMERS_WAIT", "POLL", "PUBLISHERS_WAIT", "DeletedExchanges"]

CONSUMERS_WAIT = 1.5
"""Seconds for which a consumer leaves an exchange missing, so that other processes notice."""
PUBLISHERS_WAIT = 2.5
"""Seconds for which a publisher waits for a consumer to make the exchange again."""
POLL = 0.2
"""Seconds between two questions whether a missing exchange exists again."""
DOUBTED = 5.0
"""Seconds after which an exchange that was made again is trusted, counted from the last message
that at first reached no queue."""


class DeletedExchanges:
    """The exchanges that a connection has found missing, until they are trusted again.

    The connection leaves them missing for *wait* seconds.
    """

    def __init__(self, wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait, self._clock = wait, clock
        self._missing: dict[type[Exchange], float] = {}  # until when it may not be made
        self._doubted: dict[type[Exchange], float] = {}  # until when it is not trusted

    def add(self, exchange: type[Exchange]) -> None:
        """Note that the broker reports *exchange* missing."""
        self._missing.setdefault(exchange, self._clock() + self._wait)
        self._doubted[exchange] = math.inf

    def must_wait(self, exchange: type[Exchange]) -> bool:
        """Return whether it is too early to make *exchange* again, unless it exists."""
        return self._clock() < self._missing.get(exchange, -math.inf)

    def doubt(self, exchange: type[Exchange]) -> None:
        """Note that *exchange*, which was missing, exists again, or still lacks bindings."""
        self._missing.pop(exchange, None)
        if exchange in self._doubted:
            self._doubted[exchange] = self._clock() + DOUBTED

    def is_doubted(self, exchange: type[Exchange]) -> bool:
        """Return whether *exchange* may lack the bindings of others."""
        if self._clock() < self._doubted.get(exchange, -math.inf):
            return True
        self._doubted.pop(exchange, None)
        return False
