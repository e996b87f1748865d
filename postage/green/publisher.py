"""Publishing within a limit: what was refused for a passing reason is published again."""

from __future__ import annotations

import itertools
import logging
import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent

from postage.encoding import Encoder
from postage.errors import (
    ChannelRefused,
    EncodingError,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
    PublishFailed,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.frames import Properties
from postage.green.amqp.pair import Pair
from postage.green.amqp.waiting import Lazy

__all__ = ["Publication", "body_of", "publish", "publish_confirmed"]

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


@dataclass(frozen=True)
class Publication:
    """A message, encoded, and where it goes."""

    exchange: type[Exchange]
    key: str
    properties: Properties
    body: bytes

    @property
    def arguments(self) -> tuple[str, str, Properties, bytes]:
        """The positional arguments of a channel's publish."""
        return self.exchange.name, self.key, self.properties, self.body


def publish(pair: Pair, publication: Publication, *, limit: float) -> None:
    """Write a message without waiting for the broker; may be lost with the connection.

    Raises `PublishFailed` when connecting, or a broker that takes no data, takes over *limit*
    seconds.
    """
    deadline = time.monotonic() + limit
    channel = _channel(pair, publication.exchange, _plain, limit)
    try:
        channel.publish(*publication.arguments, limit=_left(deadline))
    except OperationTimeout as exc:
        raise PublishFailed(f"the broker took no data within {limit:g} s") from exc


def publish_confirmed(pair: Pair, publication: Publication, *, limit: float) -> None:
    """Publish until the broker has taken the message, at most *limit* seconds; switches.

    A nack sends it again, and so does a channel that another publish closed, with the same
    ``message_id``: a message can arrive twice, never not at all.  Raises `PublishFailed` at the
    limit, `ChannelRefused` when this very exchange is refused, `ConnectionLost` at once.
    """
    deadline = time.monotonic() + limit
    for pause in _pauses():
        channel = _channel(pair, publication.exchange, _confirming, _left(deadline))
        try:
            channel.publish_confirmed(*publication.arguments, limit=_left(deadline))
        except OperationTimeout as exc:
            raise PublishFailed(f"the broker did not confirm it within {limit:g} s") from exc
        except (NotAcknowledged, ChannelRefused) as exc:
            if _is_final(exc, publication.exchange):
                raise
            if _left(deadline) <= pause:
                raise PublishFailed(f"the broker did not take it within {limit:g} s") from exc
            logger.info("Publishing to %r again: %s", publication.exchange.name, exc)
            _forget(pair, publication.exchange)
            gevent.sleep(pause)
        else:
            return


_plain = operator.attrgetter("plain")
_confirming = operator.attrgetter("confirming")


def _channel(
    pair: Pair,
    exchange: type[Exchange],
    kind: Callable[[Connection], Lazy[Channel]],
    limit: float,
) -> Channel:
    """Return a channel of *kind*, *exchange* declared on its connection, in *limit* seconds."""
    connection = pair.publishing.current
    if connection is not None and connection.has_declared(exchange):
        channel = kind(connection).current
        if channel is not None:
            return channel  # nearly always; and a timer costs as much as a publish
    over = gevent.Timeout.start_new(limit)
    try:
        connection = pair.publishing.get()
        connection.declare(exchange)
        return kind(connection).get()
    except gevent.Timeout as exc:
        if exc is not over:
            raise  # the caller's own
        raise PublishFailed(f"the broker did not answer within {limit:.3g} s") from exc
    finally:
        over.close()


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _forget(pair: Pair, exchange: type[Exchange]) -> None:
    connection = pair.publishing.current
    if connection is not None:
        connection.forget(exchange)


def _is_final(exc: PostageError, exchange: type[Exchange]) -> bool:
    """Tell whether *exc* is about *exchange*, and declaring it again would not help."""
    name = exchange.name
    return isinstance(exc, ChannelRefused) and exc.concerns(name) and not exc.misses(name)


def _pauses() -> Iterator[float]:
    """Yield the seconds before each further try: none at first, then more, up to one."""
    yield 0.0
    yield from (min(1.0, 0.01 * 2**n) for n in itertools.count())
