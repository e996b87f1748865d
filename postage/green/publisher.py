"""Publishing within a limit: what was refused for a passing reason is published again."""

from __future__ import annotations

import logging
import time

from postage.encoding import Encoder
from postage.errors import (
    ChannelRefused,
    EncodingError,
    NotAcknowledged,
    OperationTimeout,
    PublishFailed,
)
from postage.exchange import Exchange
from postage.green.amqp.frames import Properties
from postage.green.amqp.pair import Pair

__all__ = ["body_of", "publish", "publish_confirmed"]

logger = logging.getLogger(__name__)


def body_of(encoder: Encoder, message: object) -> bytes:
    """Return *message* as the bytes of a body; raise `EncodingError` where it cannot be sent."""
    encoded = encoder.encode(message)
    if isinstance(encoded, bytes):
        return encoded
    if not isinstance(encoded, str):
        name = type(encoder).__name__
        raise EncodingError(f"{name}.encode must return str or bytes, not {type(encoded).__name__}")
    try:
        return encoded.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise EncodingError(f"the body is no text that UTF-8 can hold: {exc}") from exc


def publish(  # noqa: PLR0913 - a message and where it goes
    pair: Pair,
    exchange: type[Exchange],
    key: str,
    properties: Properties,
    body: bytes,
    *,
    limit: float,
) -> None:
    """Write a message without waiting for the broker; may be lost with the connection."""
    connection = pair.publishing.get()
    connection.declare(exchange)
    connection.plain.get().publish(exchange.name, key, properties, body, limit=limit)


def publish_confirmed(  # noqa: PLR0913 - a message and where it goes
    pair: Pair,
    exchange: type[Exchange],
    key: str,
    properties: Properties,
    body: bytes,
    *,
    limit: float,
) -> None:
    """Publish until the broker has taken the message, at most *limit* seconds; switches.

    A nack sends it again, and so does a channel that another publish closed, with the same
    ``message_id``: a message can arrive twice, never not at all.  Raises `PublishFailed` at the
    limit, `ConnectionLost` at once.
    """
    deadline = time.monotonic() + limit
    while True:
        connection = pair.publishing.get()
        connection.declare(exchange)
        left = max(0.0, deadline - time.monotonic())
        try:
            connection.confirming.get().publish_confirmed(
                exchange.name, key, properties, body, limit=left
            )
        except OperationTimeout as exc:
            raise PublishFailed(
                f"the broker did not confirm the message within {limit:g} s"
            ) from exc
        except (NotAcknowledged, ChannelRefused) as exc:
            if time.monotonic() >= deadline:
                raise PublishFailed(
                    f"the broker did not take the message within {limit:g} s"
                ) from exc
            logger.info("Publishing to %r again: %s", exchange.name, exc)
            if isinstance(exc, ChannelRefused):
                connection.forget(exchange)
        else:
            return
