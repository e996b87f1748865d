"""Publishing within a time limit, with retries after errors that may pass."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gevent

from postage.copies import AGAIN
from postage.errors import (
    AuthenticationFailed,
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    NoFreeChannel,
    NoRoute,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
    PublishFailed,
    TlsFailed,
    TopologyMismatch,
    VhostRefused,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.deleted_exchanges import POLL
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties, PropertiesTemplate, added
from postage.green.amqp.waiting import SharedResource
from postage.green.tries import MIN_TRY_TIME, RetryTimer
from postage.protocol import SEND_ID
from postage.remote_control import user_of
from postage.send_options import SendOptions
from postage.settings import Settings

# fmt: off
__all__ = [
    "Publication", "PublishArgs", "declare_exchange", "properties_of", "properties_with", "publish",
    "publish_confirmed", "publish_patiently",
]
# fmt: on

logger = HubLogger(__name__)

MAX_BURST = 1 << 16
"""Bytes that publishes without confirms write in one turn of the hub.  After that the publisher
switches once, so that timers, sockets and other greenlets run."""
NO_LIMIT = 30 * 86400.0
"""Seconds of a wait that only an answer, or the end of a connection, is to end."""
ONE_LOOP_ITERATION = 1e-6
"""Seconds to sleep: any value > 0 makes ``gevent.sleep`` run one iteration of the event loop."""

ChannelChooser = Callable[[Connection], SharedResource[Channel]]
"""Chooses the channel of a connection to publish on."""

_CORRECT = "correct this here or on the broker; components try again until then"
_RESTART = "is it running?  A longer publish_timeout outlasts its restart"
_REMEDIES: tuple[tuple[type[PostageError], str], ...] = (
    (AuthenticationFailed, _CORRECT),
    (VhostRefused, _CORRECT),
    (TlsFailed, _CORRECT),
    (
        NotAcknowledged,
        "is a queue full (x-overflow), a quorum queue without its majority, or removed just then?",
    ),
    (ConnectionFailed, _RESTART),
    (ConnectionLost, _RESTART),
    (ChannelRefused, "the broker keeps refusing messages of other publishers: correct those"),
    (OperationTimeout, "is it overloaded?  It may have received the message"),
)

_USUAL = "message_id", "content_type", "delivery_mode", "timestamp"
_anonymous = PropertiesTemplate(*_USUAL)
_named = PropertiesTemplate(*_USUAL, "user_id")


def properties_of(settings: Settings, *, named: bool) -> Callable[..., bytes]:
    """Return a function that encodes the properties of a message, of the values in `_USUAL`.

    *named*: they name our user, too.  If the broker knows a user that differs from that of
    *settings*, it refuses such a message (406).
    """
    user = user_of(settings) if named else None
    if user is None:
        return _anonymous.render
    return lambda *values: _named.render(*values, user)


def properties_with(options: SendOptions, encoded: bytes) -> bytes:
    """Return the *encoded* properties of a message with *options*."""
    given = options.properties()
    if options.message_id is not None:
        # The broker tells by the message which one it returns, and peers tell copies by their ids.
        usual = Properties.decode(encoded).message_id
        given["headers"] = {**given.get("headers", {}), SEND_ID: usual}
    return added(encoded, given)


PublishArgs = tuple[type[Exchange], str, Properties | bytes, bytes, bool]
"""The fields of a `Publication` as a plain tuple, which costs less.  A message becomes a
`Publication` only after a publish has failed."""


class Publication(NamedTuple):
    """An encoded message and its destination."""

    exchange: type[Exchange]
    key: str
    properties: Properties | bytes
    body: bytes
    mandatory: bool = False

    def is_retryable(self, error: PostageError) -> bool:
        """Return whether another try may succeed after *error*.

        It cannot if our own side, or this message, caused the error.
        """
        if isinstance(error, ChannelRefused):
            return not self._caused(error)
        return isinstance(error, (ConnectionLost, NotAcknowledged, OperationTimeout))

    def _caused(self, error: ChannelRefused) -> bool:
        """Return whether this message made the broker close the channel.

        A missing exchange is not an error of the message: it is declared again.
        """
        if error.what or isinstance(error, (NoFreeChannel, TopologyMismatch)):
            return True  # no other message has caused it, and it will not pass
        exchange = self.exchange.name
        caused = error.was_caused_by(exchange, self.key, len(self.body))
        return caused and not error.misses(exchange, "exchange")

    def failed(self, seconds: float, cause: PostageError, alarm: str | None) -> PublishFailed:
        """Return the error for a message that the broker did not accept within *seconds*.

        *alarm* is the broker's reason for blocking publishes, or None.
        """
        remedy = next(text for error, text in _REMEDIES if isinstance(cause, error))
        if alarm is not None:
            remedy = f"an alarm blocks all publishes ({alarm}): see rabbitmqctl status"
        return PublishFailed(
            f"the broker did not take a message for exchange {self.exchange.name!r}, key "
            f"{self.key!r}, within {seconds:.3g} s ({cause}): {remedy}",
            exchange=self.exchange.name,
            key=self.key,
        )


def declare_exchange(pair: Pair, exchange: type[Exchange]) -> None:
    """Connect and declare *exchange*; try again if the connection is lost meanwhile.

    Switches.  Takes at most ``operation_timeout`` plus the wait for one last connection.  Raises
    `ConnectionFailed`, `TopologyMismatch` or `ChannelRefused`.
    """
    pair.publishing.carry_out(lambda connection: connection.declare(exchange))


def publish(pair: Pair, message: PublishArgs, *, limit: float) -> None:
    """Write a message without waiting for the broker's confirm.

    Switches once after every `MAX_BURST` bytes, so that a loop of publishes does not block other
    greenlets.  Otherwise switches only while there is no connection or the broker reads no data: at
    most *limit* seconds, then raises `PublishFailed`.  A written message is lost if the connection
    breaks before the broker has read it, or if the broker fails or refuses it.
    """
    if _publish(pair, message, limit, _plain, Channel.publish).transport.this_turn > MAX_BURST:
        gevent.sleep(ONE_LOOP_ITERATION)


def publish_confirmed(pair: Pair, message: PublishArgs, *, limit: float) -> None:
    """Publish until the broker has confirmed the message, at most *limit* seconds; switches.

    After a nack, a lost connection, or a channel that another publish closed, the message is sent
    again with the same ``message_id`` and the ``type`` `AGAIN`, so it can arrive twice: see
    `postage.copies`.  Raises `PublishFailed` at the limit, and at once:

    - `NoRoute` when the message is mandatory and reaches no queue, or when its exchange was
      deleted and no queue has been bound again;
    - `ChannelRefused` when the broker refuses this very message;
    - `ConnectionFailed` when there never was a connection;
    - `ConnectionClosed` when our own side closes the connection.

    After `PublishFailed`, `ConnectionClosed`, or a kill of the greenlet, the broker may or may not
    have the message.
    """
    _publish(pair, message, limit, _confirming, Channel.publish_confirmed)


def publish_patiently(
    pair: Pair, message: PublishArgs, *, limit: float, choose: ChannelChooser
) -> None:
    """Publish like `publish_confirmed`, but wait for the answer to each try without a limit.

    For messages that must not arrive twice: after a timeout, the broker may still be about to
    handle the first copy.  It answers unless the channel or the connection ends.  *limit* seconds
    hold for everything else: for connecting, declaring, and the tries after a nack.  *choose*
    returns the channel, on which others may have to wait as long.
    """
    _publish(pair, message, limit, choose, _publish_and_wait)


def _publish_and_wait(channel: Channel, *message: Any, mandatory: bool, limit: float) -> None:  # noqa: ARG001 - it is for the rest
    try:
        channel.publish_confirmed(*message, mandatory=mandatory, limit=NO_LIMIT)
    except NotAcknowledged:
        if not channel.is_proven:
            channel.give_up()  # the next try may reach more on another one
        raise
    channel.is_proven = True


_plain = operator.attrgetter("plain")
_confirming = operator.attrgetter("confirming")


def _publish(
    pair: Pair,
    message: PublishArgs,
    limit: float,
    choose: ChannelChooser,
    write: Callable[..., None],
) -> Channel:
    """Publish, in as many tries as necessary; return the channel of the last one."""
    exchange, key, properties, body, mandatory = message
    started, timer, remaining = time.monotonic(), None, limit
    while True:
        try:
            # Nearly always the channel is open and the exchange declared.  Then we save the
            # timer, which would cost as much as the publish.
            connection, channel = pair.publishing.current, None
            if connection is not None and exchange in connection.trusted:
                channel = choose(connection).current
            if channel is None:
                timer = timer or RetryTimer(limit, started=started)
                connection = _declare(pair, exchange, timer)
                if not connection.trusts(exchange):
                    return _publish_doubted(connection, Publication(*message), timer, choose)
                channel, remaining = _open_channel(connection, choose, timer), timer.remaining
            write(
                channel, exchange.name, key, properties, body, mandatory=mandatory, limit=remaining
            )
        except PostageError as exc:  # noqa: PERF203 - there is rarely a second turn
            timer = timer or RetryTimer(limit, started=started)
            _wait_for_retry(pair, Publication(*message), timer, exc, choose)
            remaining = timer.remaining
            if not isinstance(exc, ConnectionFailed):
                properties = _marked(properties)
                message = exchange, key, properties, body, mandatory
        else:
            return channel


def _marked(properties: Properties | bytes) -> bytes:
    """Return the *properties* of a message that is sent again: see `postage.copies`."""
    encoded = properties if isinstance(properties, bytes) else properties.encode()
    marked = Properties.decode(encoded)
    marked.type = AGAIN
    return marked.encode()


def _declare(pair: Pair, exchange: type[Exchange], timer: RetryTimer) -> Connection:
    """Connect and declare *exchange*, as far as necessary; return the connection."""
    connection = pair.publishing.get(timer.remaining)
    with _within(timer, "exchange.declare"):
        connection.declare(exchange)
    return connection


def _open_channel(connection: Connection, choose: ChannelChooser, timer: RetryTimer) -> Channel:
    """Open the channel, if that is necessary, and return it."""
    with _within(timer, "channel.open"):
        return choose(connection).get()


@contextmanager
def _within(timer: RetryTimer, operation: str) -> Iterator[None]:
    """Raise `OperationTimeout` in the block at the limit of *timer*.

    The timeout is for this greenlet: others wait for the same thing with other limits.
    """
    timeout = gevent.Timeout.start_new(timer.remaining)
    try:
        yield
    except gevent.Timeout as exc:
        if exc is not timeout:
            raise  # the caller's own
        raise OperationTimeout(operation, timer.limit) from exc
    finally:
        timeout.close()


def _publish_doubted(
    connection: Connection, publication: Publication, timer: RetryTimer, choose: ChannelChooser
) -> Channel:
    """Publish to an exchange that was missing; return the channel.

    The exchange may lack the bindings of others, which they are about to make again.  So whatever
    the message asks for, it is sent as mandatory and confirmed, and sent again if it reaches no
    queue.  Raises `NoRoute` at the limit, or when the exchange is trusted again.
    """
    exchange, key, properties, body, _ = publication
    choose = _confirming if choose is _plain else choose
    returned: NoRoute | None = None
    while True:
        if returned is not None and timer.remaining < MIN_TRY_TIME:
            raise returned  # the pause was longer than it should be: this machine is busy
        channel = _open_channel(connection, choose, timer)
        try:
            channel.publish_confirmed(
                exchange.name, key, properties, body, mandatory=True, limit=timer.remaining
            )
        except NoRoute as exc:
            returned = exc
            pause = timer.next_pause()
            if pause is None or not connection.alive or connection.trusts(exchange):
                raise
            connection.wait_end(min(pause, POLL))
        else:
            if returned is not None:
                connection.doubt(exchange)
            return channel


def _wait_for_retry(
    pair: Pair,
    publication: Publication,
    timer: RetryTimer,
    error: PostageError,
    choose: ChannelChooser,
) -> None:
    """Pause before the next try; switches.

    Raises *error* if another try cannot help, and `PublishFailed` if no time remains for one.
    """
    reconnects = isinstance(error, ConnectionFailed) and pair.was_connected
    if not (reconnects or publication.is_retryable(error)):
        raise error
    pause, connection = timer.next_pause(), pair.publishing.current
    if pause is None:
        alarm = connection.transport.blocked if connection is not None else None
        raise publication.failed(timer.limit, error, alarm) from error
    exchange = publication.exchange
    logger.debug("Publishing to %r again: %s", exchange.name, error)
    if connection is None:
        gevent.sleep(0)  # connecting makes the pauses
        return
    if isinstance(error, ChannelRefused) and error.misses(exchange.name, "exchange"):
        connection.note_missing(exchange)
    if isinstance(error, NotAcknowledged):
        connection.replace_channel(choose(connection))
    connection.wait_end(pause)
