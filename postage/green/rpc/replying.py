"""Replies on their way to the broker, and replies that it refuses.

Requests and replies are not confirmed.  If the broker refuses a reply, mostly because it is too
large, it says so by closing the channel; the caller then gets an exception result instead.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, TypeGuard

import gevent
from gevent.event import AsyncResult

from postage.addressing import PRIVATE_QUEUES, matches_any
from postage.copies import AGAIN
from postage.deadline import Deadline
from postage.encoding import Encoder, Envelopes, JsonEncoder, body_of
from postage.errors import ChannelRefused, ConnectionLost, PostageError
from postage.green.amqp.channel import DIRECT
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties, PropertiesTemplate
from postage.green.amqp.publish_record import PublishEntry
from postage.green.rpc.peers import RECEIPT
from postage.log_records import counted
from postage.message import Message, MessageResult, MessageResultException

__all__ = [
    "EncodedReply",
    "encoded_reply",
    "is_routing_key",
    "on_failure",
    "send_receipt",
    "send_reply",
]

logger = HubLogger(__name__)

MARKS = (None, AGAIN, f"{AGAIN}.2", f"{AGAIN}.3")
"""The ``type`` of a reply at its first try and at the next ones.  There is a last one, because a
reply may itself be what ends its connection."""

_TEMPLATE = PropertiesTemplate("correlation_id", "content_type")

EncodedReply = tuple[str | None, bytes, bytes]
"""The reply queue, the properties and the body of a reply."""

_envelopes = Envelopes()
NO_FINGERPRINT: dict[str, Any] = {}
"""What results say of their sender: nothing, as in 1.2.1."""
_encoders: dict[str, Encoder] = {}
"""The encoders that replies have used, by content type; only those other than JSON."""


def encoded_reply(encoder: Encoder, header: Properties, message: Any) -> EncodedReply:
    """Return *message*, a result message or any value, for the caller with the properties *header*.

    May be called in any native thread.  Raises `EncodingError`.
    """
    result = message if isinstance(message, Message) else MessageResult(message)
    body = _envelopes.encode(encoder, result, NO_FINGERPRINT)
    content_type, id_ = encoder.content_type, header.correlation_id
    if isinstance(id_, str):
        properties = _TEMPLATE.render(id_, content_type)
    else:  # None, or the bytes of an id that is not UTF-8
        properties = Properties(content_type=content_type, correlation_id=id_).encode()
    if type(encoder) is not JsonEncoder:
        _encoders[content_type] = encoder
    return header.reply_to, properties, body


def _wait_ready(pair: Pair, deadline: Deadline | None, ending: AsyncResult[Any]) -> None:
    """Wait until a reply can be written, at most until *deadline*; switches.

    Raises `ConnectionLost` at the limit, which is ``operation_timeout`` if that is sooner.  As soon
    as *ending* is ready, waits only if the broker is there, and a connection or channel is just
    being opened.
    """
    limit = pair.settings.operation_timeout
    if deadline is not None:
        limit = min(limit, deadline.remaining())

    def prepare() -> PostageError | None:
        while True:
            try:
                connection = pair.publishing.get()
                connection.calling.get()
                connection.transport.wait_writable(limit)
            except ConnectionLost:  # noqa: PERF203 - there is rarely a second turn
                gevent.sleep(0)  # for the next one; connecting makes the pauses
            except PostageError as exc:
                return exc
            else:
                return None

    until = time.monotonic() + limit
    preparing: Any = gevent.spawn(prepare)
    try:
        gevent.wait([preparing, ending], timeout=limit, count=1)
        if not _is_away(pair):
            preparing.join(max(0.0, until - time.monotonic()))
    finally:
        preparing.kill(block=False)
    if not preparing.ready():
        why = "its processor stops" if ending.ready() else "its caller has stopped waiting"
        raise ConnectionLost(f"the broker took no data, and {why}")
    if isinstance(preparing.value, PostageError):
        raise preparing.value


def _is_away(pair: Pair) -> bool:
    """Return whether the broker has gone, or takes no data."""
    connection = pair.publishing.current
    if connection is not None:
        return not connection.transport.takes_data
    return pair.publishing.was_open or pair.consuming.current is None


def send_receipt(pair: Pair, header: Properties) -> None:
    """Tell the caller with the properties *header* that its request has arrived; see `peers`.

    Callers with Postage have reply queues that their broker has named.  For any other queue, the
    receipt would be a second message that its sender makes us publish.
    """
    key = header.reply_to
    if header.correlation_id is None or not matches_any(key, PRIVATE_QUEUES):
        return
    if not is_routing_key(key) or _is_away(pair):
        return  # the handler need not wait for it
    receipt = Properties(correlation_id=header.correlation_id, type=RECEIPT).encode()
    try:
        _write(pair, pair.publishing.get(), key, receipt, b"")
    except PostageError as exc:
        logger.debug("A receipt was lost, which does not harm the call: %s", exc)


def send_reply(
    pair: Pair,
    reply: EncodedReply,
    deadline: Deadline | None = None,
    ending: AsyncResult[Any] | None = None,
) -> None:
    """Send *reply*; switches only while the broker takes no data.

    Waits for a connection no longer than the caller does, until *deadline*, and as soon as *ending*
    is ready, not at all.  Without *ending*, waits ``operation_timeout``.  If the connection is lost
    or left while the reply waits, the reply goes to the next one.  Raises the errors of publishing,
    such as `ConnectionLost`.
    """
    queue, properties, body = reply
    if not is_routing_key(queue):
        logger.warning("An RPC with reply_to = %r cannot be answered.", queue, extra=counted())
        return
    until: float | None = None
    while True:
        connection = pair.publishing.current
        if connection is None or not connection.transport.takes_data:
            if ending is not None:
                _wait_ready(pair, deadline, ending)
            connection = pair.publishing.get()
        try:
            _write(pair, connection, queue, properties, body)
        except ConnectionLost:  # it was not written
            until = until or time.monotonic() + pair.settings.operation_timeout
            if time.monotonic() >= until:
                raise
            gevent.sleep(0)  # connecting makes the pauses
        else:
            break
    if deadline is not None:
        deadline.clear()  # no caller waits for the work of the handler after its reply


def _write(pair: Pair, connection: Connection, queue: str, properties: bytes, body: bytes) -> None:
    """Write a reply to *connection*; switches while it takes no data, and opens its channel."""
    while True:
        if queue.startswith(DIRECT):
            connection = pair.for_direct_replies()
        channel = connection.calling.get()
        try:
            channel.publish("", queue, properties, body, mandatory=True)
        except ChannelRefused as exc:
            if not exc.was_caused_by("", queue, len(body)):
                connection = pair.publishing.get()
                continue  # another message ended the channel while this one waited for room
            decoded = Properties.decode(properties)
            on_failure(pair, [PublishEntry("", queue, decoded, body, mandatory=True)], exc)
        return


def on_failure(pair: Pair, entries: list[PublishEntry], error: PostageError) -> None:
    """Handle replies that the broker has refused or lost; never switches.

    The caller of a refused reply gets an exception result.  A lost reply is sent again while there
    is another one of `MARKS`: its caller drops a second one.
    """
    replies = [each for each in entries if each.properties.reply_to is None]
    marks = MARKS[:1] if isinstance(error, ChannelRefused) else MARKS[:-1]
    again = [each for each in replies if each.properties.type in marks]
    if len(replies) > len(again):
        logger.debug("Receipts, or replies after their last try, were lost: %s", error)
    if again and isinstance(error, ChannelRefused):
        text = "The broker refused a reply; its caller gets an exception result: %s"
        logger.warning(text, error, extra=counted(error.code))
        again = [_refusal(each, error) for each in again]
    if again:
        gevent.spawn(_send_again, pair, again)


def _refusal(entry: PublishEntry, error: ChannelRefused) -> PublishEntry:
    encoder = _encoders.get(entry.properties.content_type or "") or JsonEncoder()
    # Not the text of the broker, which may name users, queues and virtual hosts.
    limit = error.largest_body
    why = "" if limit is None else f": its size is {len(entry.body)} bytes, and the limit {limit}"
    text = f"the reply was not sent, because the broker refused it ({error.code}){why}"
    result = MessageResultException(type(error).__name__, text)
    return entry._replace(body=body_of(encoder, result.body))


def _send_again(pair: Pair, entries: list[PublishEntry]) -> None:
    # A queue that holds up a channel has most of the replies, and the other callers do not wait
    # for it.
    counts = Counter(each.key for each in entries)
    for each in sorted(entries, key=lambda each: counts[each.key]):
        header = each.properties
        content_type, id_ = header.content_type, header.correlation_id
        mark = MARKS[MARKS.index(header.type) + 1]
        properties = Properties(content_type=content_type, correlation_id=id_, type=mark)
        try:
            send_reply(pair, (each.key, properties.encode(), each.body))
        except PostageError as exc:
            logger.warning("A reply was lost: %s", exc, extra=counted(type(exc).__name__))


def is_routing_key(queue: object) -> TypeGuard[str]:
    """Tell whether *queue* is text that UTF-8 can hold, and not empty.

    For any other key, a broker may close the channel, which other replies use, too.
    """
    if not isinstance(queue, str) or not queue:
        return False
    return queue.isascii() or not any("\ud800" <= each <= "\udfff" for each in queue)
