"""A message on its way to an exchange, and what an error says about it.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from postage.errors import (
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
    PublishFailed,
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green.amqp.frames import Properties

__all__ = ["Parts", "Publication"]

_RESTART = "is it running?  A longer publish_timeout outlasts its restart"
_REMEDIES: tuple[tuple[type[PostageError], str], ...] = (
    (NotAcknowledged, "is a queue full (x-overflow), or a quorum queue without its majority?"),
    (ConnectionFailed, _RESTART),
    (ConnectionLost, _RESTART),
    (ChannelRefused, "what others publish is refused again and again: correct that"),
    (OperationTimeout, "is it overloaded?  It may have the message"),
)


Parts = tuple[type[Exchange], str, Properties, bytes, bool]
"""A `Publication` whose sending has met no trouble yet; as a tuple it is made in no time."""


class Publication(NamedTuple):
    """A message, encoded, and where it goes."""

    exchange: type[Exchange]
    key: str
    properties: Properties
    body: bytes
    mandatory: bool = False

    def may_pass(self, error: PostageError) -> bool:
        """Tell whether another try may succeed after *error*.

        After what our own side did, and what this very message did, it would end the same.
        """
        if isinstance(error, ChannelRefused):
            return not self.is_blamed(error)
        return isinstance(error, (ConnectionLost, NotAcknowledged, OperationTimeout))

    def is_blamed(self, error: ChannelRefused) -> bool:
        """Tell whether *error* is about this message or its exchange, which is there.

        Publishers share a channel, and the broker closes it over any one of them; who it was, only
        its text says.
        """
        if isinstance(error, TopologyMismatch):
            return True  # exchanges are declared on a channel that nobody shares
        if "topic '" in error.text:
            return f"topic '{self.key}' in exchange '{self.exchange.name}'" in error.text
        if f"message size {len(self.body)} " in error.text:
            return True
        return error.concerns(self.exchange.name) and not error.misses(self.exchange.name)

    def failed(self, seconds: float, cause: PostageError, alarm: str | None) -> PublishFailed:
        """Return the error for a broker that did not take it in time; *alarm*: why, if it said."""
        remedy = next(text for kind, text in _REMEDIES if isinstance(cause, kind))
        if alarm is not None:
            remedy = f"an alarm keeps it from taking any ({alarm}): see rabbitmqctl status"
        return PublishFailed(
            f"the broker did not take a message for exchange {self.exchange.name!r}, key "
            f"{self.key!r}, within {seconds:.3g} s ({cause}): {remedy}",
            exchange=self.exchange.name,
            key=self.key,
        )
