"""What came with a message that is being handled: its properties, its way, and its sender.

A `ReceivedMessage` is made when a handler asks for it, and each of its attributes is read from the
delivery when it is asked for, so a handler that asks for nothing pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from postage.foreign_text import brief
from postage.recoverability import RETURNING, History, headers_of, origin_of
from postage.redelivery import CountedDelivery, attempt_of

__all__ = ["HandledDelivery", "ReceivedMessage"]


class HandledDelivery(CountedDelivery, Protocol):
    """What must be known of a delivery."""

    redelivered: bool
    origin: str
    """The name of its queue."""


class ReceivedMessage:
    """A message that a handler handles; see `green.message`.  None of it can be changed.

    The handler gets the content of the message.  Here is the rest: what its sender wrote, and what
    the broker added.  A property that the sender has left out is None.  Reading a property raises
    `MalformedMessage` if the sender has written what cannot be decoded.
    """

    __slots__ = ("_body", "_decode", "_delivery", "_headers", "_tries", "_words")

    def __init__(
        self, delivery: HandledDelivery, decode: Callable[[Any], dict[str, Any]], tries: int = 0
    ) -> None:
        """Make the view of *delivery*, whose handlers have failed *tries* times before."""
        self._delivery, self._decode, self._tries = delivery, decode, tries
        self._body: dict[str, Any] | None = None
        self._headers: Mapping[str, Any] | None = None
        self._words: tuple[str, str, str] | None = None

    def note_body(self, body: Mapping[str, Any]) -> None:
        """Take type, name and category from *body*, the decoded one, which no handler has got yet.

        Hooks often ask for them, and need not have a large body decoded once more.
        """
        self._words = str(body["type"]), str(body["name"]), str(body["category"])

    def __repr__(self) -> str:
        delivery = self._delivery
        way = f"{delivery.exchange!r} {delivery.routing_key!r}"
        return f"<ReceivedMessage {brief(self.id)} by {way}, attempt {self.attempt}>"

    # --- properties

    @property
    def id(self) -> str | None:
        """The property ``message_id``: Postage gives each message another one."""
        id_: str | None = self._delivery.properties.message_id
        return id_

    @property
    def correlation_id(self) -> str | None:
        """The id of a call, which is the same for all its tries."""
        id_: str | None = self._delivery.properties.correlation_id
        return id_

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers; those inside of others cannot be changed either (lists are tuples)."""
        if self._headers is None:
            self._headers = _frozen(self._delivery.properties.headers or {})
        return self._headers

    @property
    def timestamp(self) -> int | None:
        """When it was sent, in seconds since 1970, by the clock of its sender."""
        timestamp: int | None = self._delivery.properties.timestamp
        return timestamp

    @property
    def priority(self) -> int | None:
        """The priority, from 0 to 255; it has an effect in queues with priorities."""
        priority: int | None = self._delivery.properties.priority
        return priority

    @property
    def expiration(self) -> float | None:
        """How many seconds it could wait in a queue; for a call, how long its caller waits."""
        text = str(self._delivery.properties.expiration)
        return int(text) / 1000 if text.isascii() and text.isdecimal() else None

    @property
    def delivery_mode(self) -> int | None:
        """2: it survives a restart of the broker, in a durable queue; 1: it does not."""
        mode: int | None = self._delivery.properties.delivery_mode
        return mode

    @property
    def app_id(self) -> str | None:
        """The name of the sending application, as its sender has given it."""
        app_id: str | None = self._delivery.properties.app_id
        return app_id

    @property
    def user_id(self) -> str | None:
        """The user of the sender, which the broker has verified; see `send_user_id`."""
        user_id: str | None = self._delivery.properties.user_id
        return user_id

    # --- its way

    @property
    def exchange(self) -> str:
        """The name of the exchange to which it was sent; empty for the default exchange."""
        return self._origin[0]

    @property
    def routing_key(self) -> str:
        """The key with which it was sent."""
        return self._origin[1]

    @property
    def _origin(self) -> tuple[str, str]:
        delivery = self._delivery
        exchange, key = delivery.exchange, delivery.routing_key
        return origin_of(exchange, key, headers_of(delivery) if exchange in RETURNING else None)

    @property
    def queue(self) -> str:
        """The name of the queue that it came from."""
        return self._delivery.origin

    @property
    def redelivered(self) -> bool:
        """Whether the broker may have delivered it before, to this or to another process."""
        return bool(self._delivery.redelivered)

    @property
    def attempt(self) -> int:
        """1 for the first delivery, as far as is known; see `redelivery.attempt_of`.

        A message that comes again by a `Retry` counts its earlier tries, also those at once.
        """
        earlier = History.of(headers_of(self._delivery)).attempts
        return attempt_of(self._delivery) + earlier + self._tries

    # --- the keys of its body; decoded once more, unless hooks have made `note_body` keep them,
    # --- because handlers may have changed theirs

    @property
    def type(self) -> str:
        """The type of the message, such as ``command``."""
        return self._known[0]

    @property
    def name(self) -> str:
        """The name of the message, such as that of the command."""
        return self._known[1]

    @property
    def category(self) -> str:
        """``message``, or ``rpc`` for a call."""
        return self._known[2]

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The fingerprint of the sender, as the sender has written it."""
        fingerprint: Mapping[str, Any] = self._decoded["fingerprint"]
        return fingerprint

    @property
    def _known(self) -> tuple[str, str, str]:
        if self._words is None:
            self.note_body(self._decoded)
        assert self._words is not None
        return self._words

    @property
    def _decoded(self) -> dict[str, Any]:
        if self._body is None:
            body = self._decode(self._delivery)
            kept = ("type", "name", "category", "fingerprint")  # the content can be large
            self._body = {key: _frozen(body[key]) for key in kept}
        return self._body


def _frozen(value: Any) -> Any:
    """Return *value*, a decoded one, in a form that nobody can change."""
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return value
