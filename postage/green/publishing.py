"""Publishing within a limit: what was not taken for a passing reason is published again."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable

import gevent

from postage.encoding import Encoder
from postage.errors import (
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    EncodingError,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.pair import Pair
from postage.green.amqp.waiting import Lazy
from postage.green.publication import Parts, Publication
from postage.green.tries import Tries

__all__ = ["body_of", "declare", "publish", "publish_confirmed"]

logger = logging.getLogger(__name__)

BURST = 1 << 16
"""Bytes that are written in one turn of the hub by who does not wait for anything; then others run,
the hub's timers and sockets among them."""
A_TURN = 1e-6
"""Seconds, but for any more than 0 gevent waits until the loop has turned."""

Kind = Callable[[Connection], Lazy[Channel]]
"""Chooses the channel of a connection."""


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


def declare(pair: Pair, exchange: type[Exchange]) -> None:
    """Connect and declare *exchange*; where the connection is lost meanwhile, on the next one.

    Switches, and goes on for at most ``operation_timeout`` plus the wait for a last connection.
    Raises `ConnectionFailed`, `TopologyMismatch` or `ChannelRefused`.
    """
    tries = Tries(pair.settings.operation_timeout)
    while True:
        try:
            pair.publishing.get().declare(exchange)
        except ConnectionLost:  # noqa: PERF203 - there is rarely a second turn
            if tries.pause() is None:
                raise
            gevent.sleep(0)  # who connects makes the pauses
        else:
            return


def publish(pair: Pair, publication: Parts, *, limit: float) -> None:
    """Write a message, and do not wait until the broker has it.

    Switches for a moment after every `BURST`, lest a loop of it keep all others from running; else
    only where there is no connection, or the broker takes no data, at most *limit* seconds, and
    then raises `PublishFailed`.  What was written is lost with a connection that breaks before the
    broker has read it, and with a broker that fails, or refuses it.
    """
    if _publish(pair, publication, limit, _plain, Channel.publish).this_turn > BURST:
        gevent.sleep(A_TURN)


def publish_confirmed(pair: Pair, publication: Parts, *, limit: float) -> None:
    """Publish until the broker has taken the message, at most *limit* seconds; switches.

    After a nack, a lost connection, or a channel that another publish closed, it is sent again with
    the same ``message_id``: it can arrive twice.  Raises `PublishFailed` at the limit; and at once
    `NoRoute` for a mandatory message that reaches no queue, `ChannelRefused` where this very
    message is refused, `ConnectionFailed` where there never was a connection, `ConnectionClosed`
    when our own side closes it.  Closed, failed or killed while it waits: the broker may have it.
    """
    _publish(pair, publication, limit, _confirming, Channel.publish_confirmed)


_plain = operator.attrgetter("plain")
_confirming = operator.attrgetter("confirming")


def _publish(
    pair: Pair, publication: Parts, limit: float, kind: Kind, write: Callable[..., None]
) -> Channel:
    """Publish, in as many tries as need be; return the channel of the last one."""
    exchange, key, properties, body, mandatory = publication
    begun, tries, left = time.monotonic(), None, limit
    while True:
        try:
            channel = _ready(pair, exchange, kind)
            if channel is None:
                tries = tries or Tries(limit, begun=begun)
                channel, left = _made(pair, exchange, kind, tries), tries.left
            write(channel, exchange.name, key, properties, body, mandatory=mandatory, limit=left)
        except PostageError as exc:  # noqa: PERF203 - there is rarely a second turn
            tries = tries or Tries(limit, begun=begun)
            _rest(pair, Publication(*publication), tries, exc)
            left = tries.left
        else:
            return channel


def _ready(pair: Pair, exchange: type[Exchange], kind: Kind) -> Channel | None:
    """Return the channel where all is there: nearly always; a timer costs as much as a publish."""
    connection = pair.publishing.current
    if connection is None or not connection.has_declared(exchange):
        return None
    return kind(connection).current


def _made(pair: Pair, exchange: type[Exchange], kind: Kind, tries: Tries) -> Channel:
    """Connect, declare, and open the channel, as far as need be; return it."""
    connection = pair.publishing.get(tries.left)
    # A timeout and no error: others wait for what this greenlet makes, and have other limits.
    over = gevent.Timeout.start_new(tries.left)
    try:
        connection.declare(exchange)
        return kind(connection).get()
    except gevent.Timeout as exc:
        if exc is not over:
            raise  # the caller's own
        raise OperationTimeout("exchange.declare and channel.open", tries.limit) from exc
    finally:
        over.close()


def _rest(pair: Pair, publication: Publication, tries: Tries, error: PostageError) -> None:
    """Pause before the next try; raise *error*, or `PublishFailed`, where there is none."""
    is_late = isinstance(error, ConnectionFailed) and pair.was_connected
    if not (is_late or publication.may_pass(error)):
        raise error
    pause, connection = tries.pause(), pair.publishing.current
    if pause is None:
        alarm = connection.blocked if connection is not None else None
        raise publication.failed(tries.limit, error, alarm) from error
    exchange = publication.exchange
    logger.debug("Publishing to %r again: %s", exchange.name, error)
    if connection is None:
        gevent.sleep(0)  # who connects it makes the pauses
        return
    if isinstance(error, ChannelRefused) and error.misses(exchange.name):
        connection.forget(exchange)
    if isinstance(error, NotAcknowledged):
        connection.renew(connection.confirming)
    connection.wait_end(pause)
