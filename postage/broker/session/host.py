"""The broker as its connections see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from postage.broker.core.clock import Timers
from postage.broker.core.likeness import Likeness
from postage.broker.core.limits import Limits
from postage.broker.core.vhost import VHost
from postage.broker.session.logins import Logins

__all__ = ["Host"]


class Host(Protocol):
    """The broker as its connections see it."""

    timers: Timers
    limits: Limits
    likeness: Likeness
    """Which version of RabbitMQ the broker is like."""
    alarm: str | None
    """Why publishers are blocked, or None."""

    @property
    def vhosts(self) -> Mapping[str, VHost]:
        """The virtual hosts by name."""

    logins: Logins
    """Who may log in, and when."""
    most_open: int
    """How many connections may be open at a time."""

    @property
    def is_crowded(self) -> bool:
        """Whether as many connections are open as may be."""

    def opened(self, connection: Any) -> None:
        """Note that *connection* has been opened."""

    def hold(self, connection: Any, change: int) -> None:
        """Charge *change* bytes that *connection* holds."""

    def remove(self, connection: Any) -> None:
        """Remove *connection*, which has ended."""
