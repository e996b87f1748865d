"""A channel that greenlets can call: every wait has a limit, and ends when the channel does."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pika.channel
import pika.exceptions

from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    NoRoute,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
)
from postage.green.amqp import error_translation
from postage.green.amqp.acks import Acks
from postage.green.amqp.codec import from_pika
from postage.green.amqp.confirms import Confirms
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.frames import Confirm, Deliver, Properties, short_string
from postage.green.amqp.waiting import Answer, Callbacks

if TYPE_CHECKING:
    from postage.green.amqp.connection import Connection
    from postage.statistics_types import ChannelStatistics

__all__ = ["Channel", "OnDelivery", "OnReturn", "new_tag"]

logger = logging.getLogger(__name__)

CHUNK = 1 << 14
"""Bytes of publishes that wait for their confirms, and are sent before the turn of the hub ends.

All that one confirm wakes publish again in the same turn; if the broker saw nothing of that before
its end, the two would work by turns: a hundred greenlets get an eighth more confirmed by this.
"""

OnDelivery = Callable[[Delivery], None]
OnReturn = Callable[[str, Properties], None]
"""Gets the reason (the broker's reply text) and the properties of a message that came back."""

_tags = itertools.count(1)


def new_tag() -> str:
    """Return a consumer tag that no other consumer of the process has."""
    return f"postage-{next(_tags)}"


class Channel:
    """One AMQP channel.  For the greenlets of its hub; many may use it at once.

    Methods that wait for the broker switch greenlets and raise `OperationTimeout` after the
    ``operation_timeout`` of the settings, `ChannelRefused` when the broker closes the channel over
    them, `ConnectionLost` or `ConnectionClosed` when it ends meanwhile.  A greenlet killed while it
    waits leaves the operation to happen or not.
    """

    def __init__(self, connection: Connection, opened: Answer[Any]) -> None:
        self._connection = connection
        self._limit = connection.settings.operation_timeout
        self._path, self._transport = connection.path, connection.transport
        self._waiting: set[Answer[Any]] = {opened}
        self._confirms: Confirms[Answer[bool]] = Confirms()
        self._ending: BaseException | None = None
        self._consumers: set[str] = set()  # those of pika; it copies its own for whoever asks
        self._cancelling: set[str] = set()
        self._acks = Acks()
        self._flush_due = self._shared = False
        self._published = self._delivered = 0
        self._retired = False
        self.since = time.monotonic()
        """When it was opened, by `time.monotonic`."""
        self._on_return: OnReturn | None = None
        self.alive = True
        """False from the moment that the channel begins to close, whoever closes it."""
        self.stale_acks = 0
        """Acks and rejects that came when the channel was gone; the broker delivers again."""
        self.returned = 0
        """Mandatory messages that came back, as they reached no queue."""
        self.on_end: Callbacks[Callable[[PostageError], None]] = Callbacks()
        """Called in the hub when the channel ends, whatever ended it."""
        self.on_cancel: Callbacks[Callable[[str], None]] = Callbacks()
        """Called in the hub with the tag of a consumer that the broker ends."""
        try:
            self._pika = connection.transport.channel(on_open_callback=opened.set_result)
        except pika.exceptions.NoFreeChannels as exc:
            raise ChannelRefused(530, "every channel of the connection is in use") from exc
        except pika.exceptions.ConnectionWrongStateError as exc:
            raise error_translation.ended(exc) from exc  # it ends in this very turn of the hub
        self._pika.add_on_close_callback(self._on_close)
        self._pika.add_on_cancel_callback(self._on_cancel)
        self._pika.add_on_return_callback(self._came_back)

    def __repr__(self) -> str:
        state = "open" if self.alive else f"ended by {self._ending!r}"
        return f"<Channel {self._pika.channel_number} of {self._connection!r}, {state}>"

    def statistics(self) -> ChannelStatistics:
        """Return a picture of what went over it; never switches."""
        from postage.statistics_types import ChannelStatistics  # noqa: PLC0415 - for who asks

        return ChannelStatistics(
            number=self._pika.channel_number,
            state="open" if self.alive else "ended",
            published=self._published + self._confirms.expected,
            unconfirmed=len(self._confirms),
            delivered=self._delivered,
            consumers=len(self._consumers),
            stale_acks=self.stale_acks,
            returned=self.returned,
        )

    @property
    def this_turn(self) -> int:
        """Bytes that were written to its connection since the loop has turned."""
        return self._transport.this_turn

    # --- topology

    def exchange_declare(self, **parameters: Any) -> None:
        """Declare an exchange; the keywords are those of ``Exchange.parameters``."""
        with error_translation.declaring("exchange", parameters["exchange"]):
            self._ask("exchange.declare", self._pika.exchange_declare, **parameters)

    def queue_declare(self, queue: str, **flags: Any) -> str:
        """Declare a queue and return its name, which the broker chooses where *queue* is empty."""
        with error_translation.declaring("queue", queue):
            frame = self._ask("queue.declare", self._pika.queue_declare, queue=queue, **flags)
        name: str = frame.method.queue
        return name

    def queue_bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind *queue* to *exchange* by *key*; binding twice is fine."""
        self._ask(
            "queue.bind", self._pika.queue_bind, queue=queue, exchange=exchange, routing_key=key
        )

    def queue_declare_bound(
        self, queue: str, flags: Mapping[str, Any], bindings: Sequence[tuple[str, str]]
    ) -> str:
        """Declare a queue and bind it by *bindings*, exchanges and keys; return its name.

        All in one round trip, unless the broker is to choose the name.
        """
        _refuse_long([queue, *itertools.chain.from_iterable(bindings)])
        if queue and bindings:
            self._check_alive()
            self._pika.queue_declare(queue, **flags)  # without a callback: nowait
        else:
            queue = self.queue_declare(queue, **flags)
        with error_translation.declaring("queue", queue):
            for exchange, key in bindings[:-1]:
                self._pika.queue_bind(queue, exchange, key)
            for exchange, key in bindings[-1:]:  # its answer is that all went well
                self.queue_bind(queue, exchange, key)
        return queue

    def queue_unbind(self, queue: str, exchange: str, key: str) -> None:
        """Undo a binding; one that does not exist is fine."""
        self._ask(
            "queue.unbind", self._pika.queue_unbind, queue=queue, exchange=exchange, routing_key=key
        )

    def queue_delete(self, queue: str) -> None:
        """Delete a queue with its messages; one that does not exist is fine."""
        self._ask("queue.delete", self._pika.queue_delete, queue=queue)

    # --- consuming

    def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int = 0,
        no_ack: bool = False,
        tag: str = "",
    ) -> str:
        """Start a consumer; return its tag.  *on_delivery* runs in the hub and must not block.

        *prefetch* bounds what this consumer holds unacknowledged; 0 is no bound.  *tag*, from
        `new_tag`, is for who must know it before the broker can possibly end the consumer.
        """
        tag = tag or new_tag()
        came = self._acks.came

        def on_message(deliver: Deliver, properties: Properties, body: bytes) -> None:
            self._delivered += 1
            if not no_ack:
                came(deliver.delivery_tag, tag)
            on_delivery(Delivery(self, deliver, properties, body))

        self._check_alive()
        # Per consumer, not per channel: the broker applies it to the consumers started after it.
        # Nobody waits for its answer, lest the qos of another consumer comes between.
        if not no_ack:
            self._pika.basic_qos(prefetch_count=prefetch)
        self._consumers.add(tag)
        self._ask(
            "basic.consume",
            self._pika.basic_consume,
            queue=queue,
            on_message_callback=self._path.on_messages(self._pika, tag, on_message),
            auto_ack=no_ack,
            consumer_tag=tag,
        )
        return tag

    def cancel(self, tag: str) -> None:
        """End a consumer; what it holds unacknowledged can still be settled.

        Raises nothing: where the broker does not answer, the consumer ends with its channel.
        Returns at once where another greenlet has asked for the same.
        """
        if tag in self._cancelling:
            return
        self._cancelling.add(tag)
        try:
            if self.has_consumer(tag):
                self._ask("basic.cancel", self._pika.basic_cancel, consumer_tag=tag)
        except PostageError as exc:
            logger.debug("%r: its consumer %s could not be cancelled: %s", self, tag, exc)
        finally:
            self._cancelling.discard(tag)
        self._forget(tag)

    def cancel_nowait(self, tag: str) -> None:
        """End a consumer without waiting; never switches.

        What the broker had sent before it heard of it still comes to the consumer's callback.
        """
        if tag in self._cancelling or not self.has_consumer(tag):
            return
        if not self._shared:
            # Nowait, for that overtakes what waits; the channel's end forgets the rest.
            self._pika.basic_cancel(tag)
            self._consumers.discard(tag)
            return
        self._cancel(tag)

    def _cancel(self, tag: str) -> None:
        self._cancelling.add(tag)
        self._pika.basic_cancel(tag, callback=self._on_cancelled)

    def _on_cancelled(self, frame: Any) -> None:
        tag: str = frame.method.consumer_tag  # pika calls for whichever was cancelled first
        self._cancelling.discard(tag)
        self._forget(tag)

    def _forget(self, tag: str) -> None:
        self._consumers.discard(tag)
        self._path.forget(self._pika, tag)

    def has_consumer(self, tag: str) -> bool:
        """Tell whether a consumer is there, or about to be."""
        return self.alive and tag in self._consumers

    def discard_consumer(self, tag: str) -> None:
        """End a consumer that does not acknowledge, without waiting; never switches."""
        self._path.forget(self._pika, tag)
        if tag not in self._cancelling and self.has_consumer(tag):
            # Not by nowait: pika keeps such tags for as long as the channel lives.
            self._cancel(tag)

    def share(self) -> None:
        """Have several consumers use this channel, each of which may leave it to the others."""
        self._shared = True

    def release(self, tags: Collection[str], limit: float | None = None) -> None:
        """End the consumers *tags* and give back what they hold; a channel of one's own is closed.

        Switches while a channel closes, at most *limit* seconds, by default ``operation_timeout``.
        The consumers of others on a shared channel notice nothing.
        """
        if not self._shared:
            self.close(limit)
            return
        for tag in tags:
            self.cancel_nowait(tag)
        for number in self._acks.held_by(tags):
            self.reject(number, requeue=True)

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery, at the end of the present turn of the hub; never switches.

        Raises nothing: on a dead channel, and for what was settled already, it is counted.
        """
        if not (self.alive and self._acks.finish(tag)):
            self.stale_acks += 1
        elif not self._flush_due:
            self._flush_due = True
            self._transport.loop.run_callback(self.flush_acks)

    def flush_acks(self) -> None:
        """Write the acks that are due; never switches."""
        self._flush_due = False
        if self.alive:
            for tag, multiple in self._acks.flush():
                self._path.ack(self._pika, tag, multiple=multiple)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery.  Never switches nor raises; where that is too late it is counted."""
        if self.alive and self._acks.drop(tag):
            self._path.reject(self._pika, tag, requeue=requeue)
        else:
            self.stale_acks += 1

    def silence(self) -> None:
        """Write nothing from here on, but for the acks that are due; never switches."""
        self.flush_acks()
        self.alive = False

    # --- publishing

    def publish(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool = False,
        limit: float | None = None,
    ) -> None:
        """Write a message.  Switches only while the broker takes no data, at most *limit* seconds.

        Returning says nothing about the broker: see `publish_confirmed`.  An exchange that does not
        exist closes the channel (AMQP 0-9-1, basic.publish).  A *mandatory* message that reaches no
        queue comes back: see `on_return`.
        """
        if self._transport.congested or self._connection.blocked is not None or not self.alive:
            self._make_room(self._limit if limit is None else limit)
        self._path.publish(self._pika, exchange, key, properties, body, mandatory=mandatory)
        self._published += 1

    def publish_confirmed(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool = False,
        limit: float,
    ) -> None:
        """Write a message and wait until the broker has taken it; see `confirm_publishes`.

        Raises `NotAcknowledged` for a nack, and `NoRoute` for a *mandatory* message, which must
        have a message id, that reaches no queue.  After `OperationTimeout`, *limit* seconds, the
        broker may have it or not.
        """
        if self._transport.congested or self._connection.blocked is not None or not self.alive:
            limit = self._make_room(limit)
        answer: Answer[bool] = Answer()
        self._path.publish(self._pika, exchange, key, properties, body, mandatory=mandatory)
        # Not before: what cannot be encoded gets no number from the broker.
        self._confirms.expect(answer, properties.message_id if mandatory else None)
        self._transport.send_early(CHUNK)
        if not answer.get("basic.publish", limit):
            raise NotAcknowledged("the broker answered with a nack: it could not take the message")

    def confirm_publishes(self) -> None:
        """Have the broker confirm every publish on this channel (RabbitMQ, publisher confirms)."""
        self._ask(
            "confirm.select",
            self._pika.confirm_delivery,
            ack_nack_callback=self._path.on_confirms(self._pika, self._on_confirm),
        )

    def on_return(self, callback: OnReturn) -> None:
        """Have *callback* called in the hub for each mandatory message that reached no queue.

        Without one, who waits for its confirm gets `NoRoute`; what nobody waits for is logged.
        """
        self._on_return = callback

    def _came_back(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        self.returned += 1
        if self._on_return is not None:
            self._on_return(method.reply_text, from_pika(properties))
            return
        error = NoRoute(method.exchange, method.routing_key)
        answer = self._confirms.come_back(properties.message_id)
        if answer is not None:
            answer.set_exception(error)
        else:
            self._note_loss(error)

    def _note_loss(self, error: NoRoute) -> None:
        # The first, the tenth, the hundredth and so on, lest who sends many to nobody fills a disk.
        level = logging.WARNING if str(self.returned).rstrip("0") == "1" else logging.DEBUG
        logger.log(level, "A message is lost, number %d here: %s", self.returned, error)

    def _make_room(self, limit: float) -> float:
        """Wait until messages can be written; return what is left of *limit* then."""
        if not self._connection.takes_data and self.alive:
            deadline = time.monotonic() + limit
            self._connection.wait_writable(limit)
            limit = max(0.0, deadline - time.monotonic())
        self._check_alive()
        return limit

    def _on_confirm(self, confirm: Confirm) -> None:
        for answer in self._confirms.settle(confirm):
            answer.set_result(not confirm.nack)
        if self._retired:
            self.retire()

    # --- life

    def close(self, limit: float | None = None) -> None:
        """Close the channel: what it holds unacknowledged goes back.  Closing twice is fine.

        Waits for the broker at most *limit* seconds, by default ``operation_timeout``.
        """
        if not self.alive or not self._pika.is_open:
            return
        closed: Answer[Any] = Answer()
        self.on_end.append(closed.set_result)
        self.give_up()
        try:
            closed.get("channel.close", self._limit if limit is None else limit)
        except OperationTimeout:
            logger.warning("%r did not close in time; its connection will end it.", self)

    def retire(self) -> None:
        """Close the channel once all that it has published is confirmed; never switches."""
        self._retired = True
        if not self._confirms:
            self.give_up()

    def give_up(self) -> None:
        """Close the channel without waiting; never switches, and closing twice is fine."""
        self.silence()
        if not (self._pika.is_closing or self._pika.is_closed):
            self._pika.close()

    def _check_alive(self) -> None:
        if not self.alive:
            raise self._ended()

    def _ask(self, operation: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of pika's channel and wait for the broker's answer to it."""
        self._check_alive()
        _refuse_long(arguments.values())
        answer: Answer[Any] = Answer()
        self._waiting.add(answer)
        try:
            method(**arguments, callback=answer.set_result)
            return answer.get(operation, self._limit)
        finally:
            self._waiting.discard(answer)

    def _on_close(self, _channel: pika.channel.Channel, reason: BaseException) -> None:
        self.alive, self._ending = False, reason
        self._path.forget(self._pika)
        self.stale_acks += self._acks.abandon()
        # A fresh error for each: a shared one would collect the tracebacks of all of them.
        for answer in (*self._waiting, *self._confirms.abandon()):
            answer.set_exception(self._ended())
        self._waiting.clear()
        for hook in self.on_end.copy():  # a hook may remove itself
            self._tell(hook)

    def _tell(self, hook: Callable[[PostageError], object]) -> None:
        try:
            hook(self._ended())
        except Exception:  # the other channels of the connection must still hear of the end
            logger.exception("A hook at the end of %r failed.", self)

    def _on_cancel(self, frame: Any) -> None:
        tag: str = frame.method.consumer_tag
        self._forget(tag)
        for hook in self.on_cancel.copy():
            hook(tag)

    def _ended(self) -> PostageError:
        if self._ending is None:
            return ConnectionClosed("the channel is closed")
        return error_translation.ended(self._ending)


def _refuse_long(arguments: Iterable[object]) -> None:
    """Raise `SettingsError` for text that AMQP cannot hold.

    pika finds out when it writes it, which may be later, and then ends the connection.
    """
    for each in arguments:
        if isinstance(each, str):
            short_string(each)
