"""A channel that greenlets can call: every wait has a limit, and ends when the channel does.

How it works
------------
pika's channel does the rare operations (declare, bind, start a consumer, close); each such method
passes a callback to pika and waits for an `Answer`.  The `Codec` does the work for each message:

* `TopologyOperations`, its base class, declares, binds and deletes.
* `Channel.publish` writes at once.  It waits only while the transport takes no data.  Its
  `PublishRecord` knows what is lost if the broker refuses a publish.
* `Channel.publish_confirmed` also waits for the broker's confirm, which `Confirms` assigns to it.
* A delivery runs the consumer's callback in the hub, and `Acks` notes that it is in progress.
* `Channel.ack` only notes the tag; `flush_acks` writes the acks of a whole turn of the hub at its
  end, many of them as one.  If the turn takes long, the `HubMonitor` sends them: `take_acks`.

A channel ends when we close it, when the broker refuses something (AMQP closes the channel then),
or with its connection.  `_on_close` then fails every waiter, each with an error of its own, and
calls the functions in `on_end`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import pika.channel
import pika.exceptions
from gevent.lock import Semaphore

from postage.copies import Identity
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionLost,
    NoRoute,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
)
from postage.green.amqp import error_translation
from postage.green.amqp.codec import Codec, ack_frame, not_called
from postage.green.amqp.confirms import Confirms
from postage.green.amqp.consumer_cancels import ConsumerCancels
from postage.green.amqp.delivery import Acks, Delivery, Returned
from postage.green.amqp.hub_door import native_thread
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.intake import Window, new_tag, not_awaited
from postage.green.amqp.properties import Properties, send_id_of
from postage.green.amqp.publish_record import (
    OnFailure,
    PublishEntry,
    PublishRecord,
    Republish,
    log_failure,
)
from postage.green.amqp.topology_operations import TopologyOperations, check_short
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Answer, Callbacks
from postage.log_records import counted
from postage.statistics_types import ChannelStatistics
from postage.typed_queue import PLAIN, ConsumerOptions

__all__ = ["DIRECT", "Channel", "OnDelivery", "OnReturn", "new_tag"]

logger = HubLogger(__name__)

CHUNK = 1 << 14
"""Bytes of unsent publishes with confirms above which they are sent before the hub's turn ends.

The greenlets that one confirm wakes publish again in the same turn.  If all of that were sent at
its end, broker and client would work in turns; sending earlier gives a hundred greenlets an eighth
more confirms per second.
"""

OnDelivery = Callable[[Delivery], None]
OnReturn = Callable[[str, Properties], None]
"""Takes the reason (the broker's reply text) and the properties of a returned message."""

DIRECT = "amq.rabbitmq.reply-to."
"""How the routing keys of direct replies begin (RabbitMQ, direct reply-to)."""


class Channel(TopologyOperations, ConsumerCancels):
    """One AMQP channel.  For the greenlets of its hub; many may use it at once.

    `ack` and `reject` are for any native thread.

    A method waits for the broker at most *limit* seconds; logs name *owner*.  Methods that wait
    switch greenlets, and raise

    * `OperationTimeout` after *limit* seconds,
    * `ChannelRefused` when the broker closes the channel because of them,
    * `ConnectionLost` or `ConnectionClosed` when the channel ends while they wait.

    If a greenlet is killed while it waits, the operation may or may not happen.
    """

    # Defaults of what few channels set.  Python finds the attributes of an instance more slowly if
    # there are more than thirty.
    shared = False
    """Whether several consumers use this channel: `release` then leaves it open."""
    stale_acks = 0
    """Acks and rejects without effect; after the end of the channel, the broker redelivers."""
    returned = 0
    """Mandatory messages that were returned, because they reached no queue."""
    on_return: OnReturn | None = None
    """Called in the hub for each mandatory message that reaches no queue.

    Without it, the publisher that waits for the confirm gets `NoRoute`; else a loss is logged.
    """
    republish: Republish | None = None
    """Writes a publish that was lost, because the broker refused another one, to a new channel.
    Without it, such publishes fail with `ConnectionLost`."""
    acks_only: Collection[str] = ()
    """Queues whose deliveries cannot be rejected, and are acknowledged instead."""
    withdrawn = False
    """Whether the broker has ended it after the consumer timeout, and taken its deliveries back."""
    is_proven = False
    """Whether the broker has confirmed what `publish_patiently` has sent here."""
    _ending: BaseException | None = None
    _is_given_up = False

    def __init__(
        self, transport: Transport, codec: Codec, opened: Answer[Any], limit: float, owner: object
    ) -> None:
        self.transport, self.codec, self._thread = transport, codec, native_thread()
        self._limit, self._owner = limit, owner
        self._waiting: set[Answer[Any]] = {opened}
        self._confirms: Confirms[Answer[bool]] = Confirms()
        self._consumers, self._cancelling = set(), set()  # pika copies its own set for each access
        self.windows, self._acks = {}, Acks()
        self._flush_due = self._closes_when_confirmed = False
        self._record = PublishRecord(transport, self.send_barrier, lambda: self.on_behind(self))
        self.on_behind: Callable[[Channel], None] = lambda _channel: None
        """Called in the hub, repeatedly, while the broker seems to have stopped reading."""
        self.on_failure: OnFailure = log_failure
        """Called in the hub for each publish without confirm that was refused, or lost by that."""
        self._not_rejecting: set[str] = set()  # their consumers
        self.since = time.monotonic()
        """When it was opened, by `time.monotonic`."""
        self.turn = Semaphore()
        """Held to start a consumer: the limit of each then counts from its own turn."""
        self.alive = True
        """False from the moment that the channel begins to close, whichever side closes it."""
        self.on_end: Callbacks[Callable[[PostageError], None]] = Callbacks()
        """Called in the hub when the channel ends, for whatever reason."""
        self.on_cancel = Callbacks()
        try:
            self._pika = transport.channel(on_open_callback=opened.set_result)
        except pika.exceptions.NoFreeChannels as exc:
            raise ChannelRefused(530, "every channel of the connection is in use") from exc
        except pika.exceptions.ConnectionWrongStateError as exc:
            raise error_translation.ended(exc) from exc  # lost or closed in this turn of the hub
        self.number: int = self._pika.channel_number
        self._pika.add_on_close_callback(self._on_close)
        self._pika.add_on_cancel_callback(self._on_cancel)
        codec.set_returns(self.number, self._on_returned)

    def __repr__(self) -> str:
        state = "open" if self.alive else f"ended by {self._ending!r}"
        return f"<Channel {self.number} of {self._owner!r}, {state}>"

    def statistics(self) -> ChannelStatistics:
        """Return what the channel has done so far; never switches."""
        return ChannelStatistics(
            number=self.number,
            state="open" if self.alive else "ended",
            published=self._record.published + self._confirms.expected,
            unconfirmed=len(self._confirms),
            delivered=self.codec.delivered.get(self.number, 0),
            consumers=len(self._consumers),
            stale_acks=self.stale_acks,
            returned=self.returned,
        )

    # --- asking

    @property
    def is_owed(self) -> bool:
        """Whether the broker owes an answer or a confirm; for any native thread."""
        return bool(self._confirms) or any(not each.is_set for each in list(self._waiting))

    def ask(self) -> None:
        """Ask the broker for an answer that changes nothing.

        Only on a channel without consumers and publishes: their barriers have the same answer.
        """
        self._ask("basic.qos", self._pika.basic_qos)

    # --- consuming

    def consume(  # noqa: PLR0913 - the arguments of basic.consume, and a limit
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int = 0,
        no_ack: bool = False,
        tag: str = "",
        max_body: int | None = None,
        may_vanish: bool = True,
        options: ConsumerOptions = PLAIN,
        note: Callable[[Identity], object] | None = None,
        waits: bool = True,
    ) -> str:
        """Start a consumer; return its tag.  *on_delivery* runs in the hub and must not block.

        *prefetch* bounds the unacknowledged deliveries of this consumer; 0: no bound.  A caller
        that must know the tag before the broker can end the consumer passes one from `new_tag`.
        A delivery of a *no_ack* consumer has no ``channel``, because it needs no ack.  A body over
        *max_body* bytes is dropped as it arrives: see `UnreadableDelivery`.  *may_vanish* tells
        that the queue may end with its last consumer; *options* are those of the queue.  *note* is
        called for each delivery of the channel that is acknowledged or rejected for good.  Switches
        if it *waits* for the answer; without that, a refusal only ends the channel.
        """
        tag = tag or new_tag()
        add, self._acks.note = self._acks.add, note or self._acks.note

        def to_acknowledge(delivery: Delivery) -> None:
            add(delivery.delivery_tag, delivery)
            delivery.channel, delivery.origin = self, queue
            on_delivery(delivery)

        self._check_alive()
        check_short((queue, tag))
        receive = on_delivery if no_ack else to_acknowledge
        if not no_ack:
            self.codec.set_strays(self.number, self._on_stray)
        window = Window(self.codec, self._pika, queue, receive, tag, prefetch, max_body)
        window.no_ack, window.may_vanish, window.options = no_ack, may_vanish, options
        if options.is_stream or queue in self.acks_only:
            self._not_rejecting.add(tag)
        elif not (no_ack or options.keeps_turn):
            self.windows[tag] = window
        self._consumers.add(tag)
        self._ask("basic.consume", window.start) if waits else window.start(not_awaited)
        return tag

    @property
    def in_progress(self) -> Collection[Delivery]:
        """The deliveries that are not settled."""
        return self._acks.in_progress

    def release(self, tags: Collection[str], limit: float | None = None) -> None:
        """End the consumers *tags* and requeue their unacknowledged deliveries.

        A channel that is not shared is closed, which switches for at most *limit* seconds, by
        default ``operation_timeout``.  On a shared channel the other consumers continue.
        """
        if not self.shared:
            self.close(limit)
            return
        for tag in tags:
            self.cancel_nowait(tag)
        for number in self._acks.of_consumers(tags):
            self.reject(number, requeue=True)

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery at the end of this turn of the hub; never switches.

        Raises nothing: a second ack, and one on an ended channel, is counted in `stale_acks`.
        """
        if native_thread() != self._thread:
            self.stale_acks += not self.transport.door.call(self.ack, tag)
        elif not (self.alive and self._acks.finish(tag)):
            self.stale_acks += 1
        elif not self._flush_due:
            self._flush_due = True
            self.transport.note_acks(self)

    def flush_acks(self) -> None:
        """Write the acks that are due; never switches."""
        self._flush_due = False
        self.transport.ack_writers.pop(self, None)
        if self.alive:
            for tag, multiple in self._acks.flush(self.transport.lock):
                self.codec.ack(self.number, tag, multiple=multiple)

    def take_acks(self) -> bytes:
        """Return the frames of acks that are due, each delivery on its own; see `AckWriter`."""
        self._flush_due = False  # first, so that an ack that comes now is noted again
        finished = self._acks.take_finished() if self.alive else []
        return b"".join([ack_frame(self.number, tag) for tag in finished])

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery at once.  Never switches or raises; counts as `ack` does."""
        if native_thread() != self._thread:
            self.stale_acks += not self.transport.door.call(self.reject, tag, requeue=requeue)
        elif self._not_rejecting and tag in self._acks.of_consumers(self._not_rejecting):
            self.ack(tag)
        elif self.alive and self._acks.discard(tag, requeued=requeue):
            self.codec.reject(self.number, tag, requeue=requeue)
        else:
            self.stale_acks += 1

    # --- publishing

    def publish(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        exchange: str,
        key: str,
        properties: Properties | bytes,
        body: bytes,
        *,
        mandatory: bool = False,
        limit: float | None = None,
    ) -> None:
        """Write a message.  Switches only while the broker takes no data, at most *limit* seconds.

        The broker may not have the message when this returns: see `publish_confirmed`.  If the
        broker then refuses the message, it closes the channel, and `on_failure` is called in the
        hub: see `publish_record`.  A *mandatory* message that reaches no queue is returned: see
        `on_return`.  Raises `ChannelRefused` if the broker has refused a smaller body.
        """
        transport, record = self.transport, self._record
        if not (transport.takes_data and self.alive):
            self._wait_writable(self._limit if limit is None else limit)
        record.note(
            self.codec.publish(self.number, exchange, key, properties, body, mandatory=mandatory)
        )
        if transport.written >= record.due_at:
            record.mark()

    def publish_confirmed(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        exchange: str,
        key: str,
        properties: Properties | bytes,
        body: bytes,
        *,
        mandatory: bool = False,
        limit: float,
    ) -> None:
        """Write a message and wait until the broker confirms it; see `confirm_publishes`.

        Raises `NotAcknowledged` for a nack, and `NoRoute` for a *mandatory* message that reaches no
        queue; such a message must have a message id.  After `OperationTimeout`, *limit* seconds,
        the broker may or may not have the message.
        """
        if not (self.transport.takes_data and self.alive):
            limit = self._wait_writable(limit)
        answer: Answer[bool] = Answer()
        self.codec.publish(self.number, exchange, key, properties, body, mandatory=mandatory)
        # After the write: the broker does not count a message that could not be encoded.
        self._confirms.expect(answer, send_id_of(properties) if mandatory else None)
        self.transport.send_early(CHUNK)
        if not answer.get("basic.publish", limit):
            raise NotAcknowledged("the broker answered with a nack: it could not take the message")

    @property
    def is_behind(self) -> bool:
        """Whether the broker has not handled for some time what was published, or our close."""
        return self._ending is None and self._record.is_behind

    @property
    def answers(self) -> int:
        """How many times the broker has shown that it handles what is published."""
        return self._record.answers

    def take_unhandled(self) -> list[PublishEntry]:
        """Return the publishes without confirms that the broker may not have handled, once."""
        return self._record.take()

    def send_barrier(self, on_answer: Callable[[], None]) -> None:
        """Ask what the broker answers after it has handled all publishes before; never switches."""
        if self._pika.is_open:
            self.codec.send_barrier(self.number, on_answer)

    def confirm_publishes(self) -> None:
        """Let the broker confirm every publish on this channel (RabbitMQ, publisher confirms)."""
        self.codec.set_confirms(self.number, self._on_confirm)
        self._ask("confirm.select", self._pika.confirm_delivery, ack_nack_callback=not_called)

    def _on_returned(self, message: Returned) -> None:
        if not message.exchange and message.routing_key.startswith(DIRECT):
            return  # RabbitMQ before 4.2 delivers it and returns it (direct reply-to)
        self.returned += 1
        if self.on_return is not None:
            self.on_return(message.reply_text, message.properties)
            return
        error = NoRoute(message.exchange, message.routing_key)
        answer = self._confirms.pop_returned(message.properties.send_id)
        if answer is not None:
            answer.set_exception(error)
            return
        logger.warning("A message is lost: %s", error, extra=counted(message.exchange))

    def _wait_writable(self, limit: float) -> float:
        """Wait until messages can be written; return the rest of *limit* then."""
        if self.alive and not self.transport.takes_data:
            deadline = time.monotonic() + limit
            self.transport.wait_writable(limit)
            limit = max(0.0, deadline - time.monotonic())
        self._check_alive()
        return limit

    def _on_confirm(self, tag: int, multiple: bool, nack: bool) -> None:  # noqa: FBT001 - see codec.OnConfirm
        for answer in self._confirms.pop(tag, multiple=multiple, nack=nack):
            answer.set_result(not nack)
        if self._closes_when_confirmed and not self._confirms:
            self.close_nowait()

    # --- the end

    def close(self, limit: float | None = None) -> None:
        """Close the channel; its unacknowledged deliveries are requeued.  Closing twice is fine.

        Waits for the broker at most *limit* seconds, by default ``operation_timeout``; raises
        nothing.
        """
        if not self.alive or not self._pika.is_open:
            return
        closed: Answer[Any] = Answer()
        self.on_end.append(closed.set_result)
        self.close_nowait()
        try:
            closed.get("channel.close", self._limit if limit is None else limit)
        except OperationTimeout:
            logger.warning("%r did not close in time; it ends with its connection.", self)

    def close_nowait(self) -> None:
        """Close the channel without waiting; never switches, and closing twice is fine."""
        self.stop_writing()
        if not (self._pika.is_closing or self._pika.is_closed):
            self._pika.close()

    def abandon(self, reason: str) -> None:
        """End the channel for all its users without waiting for the broker; never switches.

        RabbitMQ does one operation of a channel after the other.  If one of them hangs, so do the
        channel's deliveries, its acks and its close.
        """
        self.close_nowait()
        if self._ending is None:
            self._on_close(self._pika, TimeoutError(reason))
            self.on_end.clear()  # pika reports the end again, when the broker has answered

    def give_up(self) -> None:
        """Close the channel as if it was lost, so that its users open another; never switches."""
        self._is_given_up = True
        self.close_nowait()

    def close_when_confirmed(self) -> None:
        """Close the channel once all its publishes are confirmed; never switches.

        Users that have not published yet open another one.
        """
        self._is_given_up = True
        self._closes_when_confirmed = True
        if not self._confirms:
            self.close_nowait()

    def stop_writing(self) -> None:
        """Write the acks that are due, and nothing after them; never switches."""
        self.flush_acks()
        self.alive = False

    def _check_alive(self) -> None:
        if not self.alive:
            raise self._ended()

    def _ask(self, operation: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of pika's channel; wait for the broker's answer, and return it."""
        self._check_alive()
        check_short(arguments.values())
        answer: Answer[Any] = Answer()
        self._waiting.add(answer)
        try:
            method(**arguments, callback=answer.set_result)
            return answer.get(operation, self._limit)
        finally:
            self._waiting.discard(answer)

    def _on_close(self, _channel: pika.channel.Channel, reason: BaseException) -> None:
        self.alive, self._ending = False, reason
        self.withdrawn = error_translation.is_consumer_timeout(str(reason))
        self.codec.discard_channel(self.number)
        self.stale_acks += self._acks.clear()
        self.windows.clear()
        # An error for each: one that all share would collect the tracebacks of all of them.
        for answer in (*self._waiting, *self._confirms.clear()):
            answer.set_exception(self._ended())
        self._waiting.clear()
        error = error_translation.ended(reason)  # not `_ended`: given up is not lost
        if isinstance(error, ChannelRefused) and error.largest_body is not None:
            self.codec.max_body = error.largest_body
        self._record.end(error, self.on_failure, self.republish)
        for callback in self.on_end.copy():  # a callback may remove itself
            try:
                callback(self._ended())
            except Exception:  # noqa: PERF203 - the other callbacks and channels must still run
                logger.exception("A callback at the end of %r failed.", self)

    def _ended(self) -> PostageError:
        if self._is_given_up:
            return ConnectionLost("the channel was given up: its users open another")
        if self._ending is None:
            return ConnectionClosed("the channel is closed")
        return error_translation.ended(self._ending)
