"""A connection whose place another one has taken: what it carries ends, and nothing new begins."""

from __future__ import annotations

from postage.errors import ConnectionLost
from postage.green.amqp.channel import Channel
from postage.green.amqp.transport import Transport

__all__ = ["Retirable"]

_REPLACED = "another connection has taken its place, because the broker did not read this one"


class Retirable:
    """The part of a connection that retires, see `Detours`."""

    transport: Transport
    _channels: set[Channel]
    _idle: list[Channel]
    _lent: set[Channel]
    is_retired = False
    """Whether another connection has taken its place."""

    def retire(self) -> None:
        """Send all that wait for this connection to the other one; never switches.

        They get `ConnectionLost`: nothing of theirs was written, or only a declaration.  What was
        published is still carried out, and streams and direct replies keep their channels.
        """
        self.is_retired = True
        for channel in [*self._channels]:
            seen = channel.statistics()
            if channel.is_owed and not seen.unconfirmed:
                channel.abandon(_REPLACED)
            elif channel not in self._lent and not seen.consumers:
                channel.close_when_confirmed()
        self._idle.clear()
        self.transport.writers.fail(self._replaced)

    @property
    def has_work(self) -> bool:
        """Whether the broker owes anything on it, or a stream uses it."""
        return bool(self._lent) or any(each.is_owed or not each.alive for each in self._channels)

    def _replaced(self) -> ConnectionLost:
        return ConnectionLost(_REPLACED)
