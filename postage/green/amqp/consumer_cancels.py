"""How the consumers of a channel end: we cancel them, or the broker does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import gevent
import pika.frame
import pika.spec

from postage import copies
from postage.errors import OperationTimeout, PostageError
from postage.green.amqp.codec import Codec
from postage.green.amqp.delivery import Acks, Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.intake import Window, cancel_consumer
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Answer, Callbacks

__all__ = ["ConsumerCancels"]

logger = HubLogger(__name__)

ENDED = 100
"""How many consumers that the broker has ended a channel remembers."""
MANY, RETURNING = 30, 0.05
"""A channel of RabbitMQ 4 has 32 deliveries at a time returned by a quorum queue.  If it ends soon
after more were given back, the others count as delivered; so we wait for so many
seconds."""


class ConsumerCancels:
    """The operations of a channel that end a consumer."""

    alive: bool
    shared: bool
    number: int
    codec: Codec
    transport: Transport
    _pika: Any
    _acks: Acks
    _not_rejecting: Collection[str]
    _given_back = 0
    _consumers: set[str]
    _cancelling: set[str]
    _ended_by_broker: Sequence[str] = ()
    """The latest consumers that the broker has ended."""
    windows: dict[str, Window]
    """The consumers that acknowledge, by their tags."""
    on_cancel: Callbacks[Callable[[str], None]]
    """Called in the hub with the tag of a consumer that the broker ends."""
    on_end: Callbacks[Callable[[PostageError], None]]
    """Called in the hub when the channel ends."""

    def _ask(self, operation: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of pika's channel; wait for the broker's answer, and return it."""
        raise NotImplementedError

    @property
    def in_progress(self) -> Collection[Delivery]:
        """The deliveries that are not settled."""
        raise NotImplementedError

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery."""
        raise NotImplementedError

    def has_consumer(self, tag: str) -> bool:
        """Return whether the consumer *tag* runs or is being started."""
        return self.alive and tag in self._consumers

    @property
    def is_cancelling(self) -> bool:
        """Whether the broker has not yet answered that it ends a consumer."""
        return bool(self._cancelling)

    def cancel(self, tag: str) -> None:
        """End a consumer; its unacknowledged deliveries can still be acknowledged.

        Raises nothing: if the broker does not answer, the consumer ends with its channel.  Returns
        at once if another greenlet is cancelling it.
        """
        if tag in self._cancelling:
            return
        self._cancelling.add(tag)
        try:
            if self.has_consumer(tag) and (on_wire := self._end_window(tag)) is not None:
                self._ask("basic.cancel", partial(cancel_consumer, self._pika), tag=on_wire)
        except PostageError as exc:
            logger.debug("%r: its consumer %s could not be cancelled: %s", self, tag, exc)
        finally:
            self._cancelling.discard(tag)
        self._remove_consumer(tag)

    def cancel_nowait(self, tag: str, *, drop: bool = False, forget: bool = False) -> None:
        """End a consumer without waiting; never switches.

        Deliveries that the broker sent before it saw the cancel still come to the callback.  With
        *drop*, for a consumer that does not acknowledge, they are dropped.  *forget*: the channel
        stays open, so what is kept for the consumer goes when the broker has answered.
        """
        if drop:
            self.codec.discard_consumer(self.number, tag)
        if tag in self._cancelling or not self.has_consumer(tag):
            return
        on_wire = self._end_window(tag)
        if on_wire is None:
            self._remove_consumer(tag)
        elif drop or forget or self.shared:
            self._cancelling.add(tag)
            cancel_consumer(self._pika, on_wire, partial(self._on_cancelled, tag))
        else:
            # Without a callback pika sends nowait, at once, even while another request waits for
            # its answer.  pika keeps the tag until the channel ends; this channel ends soon.
            self._pika.basic_cancel(on_wire)
            self._consumers.discard(tag)

    def give_back(self, tag: int) -> None:
        """Return a delivery that no handler has begun; for the hub.  Never switches or raises."""
        if self._not_rejecting:
            self.reject(tag, requeue=True)
        elif self.alive and self._acks.discard(tag, requeued=True):
            self._given_back += 1
            self.codec.give_back(self.number, tag)

    def await_cancels(self, limit: float) -> float:
        """Wait until all that the broker sent before `cancel_nowait` was given back; switches.

        What is in flight when the channel is closed counts as delivered (``x-delivery-count``).
        Waits at most *limit* seconds, and returns the rest of them.
        """
        if not (self.alive and self._pika.is_open):
            return limit
        answer: Answer[Any] = Answer()
        deadline = time.monotonic() + limit
        self.on_end.append(answer.set_result)
        self.codec.send_barrier(self.number, partial(answer.set_result, None))
        with contextlib.suppress(OperationTimeout):
            answer.get("basic.qos", limit)
            if self._given_back > MANY:
                gevent.sleep(min(RETURNING, limit))
        return max(0.0, deadline - time.monotonic())

    def _end_window(self, tag: str) -> str | None:
        """Return the tag to cancel for the consumer *tag*; None if it is being cancelled anyway."""
        window = self.windows.get(tag)
        return tag if window is None else window.end()

    def cancel_reason(self, tag: str) -> str:
        """Return the likely reason for which the broker has ended the consumer *tag*, for a log."""
        seconds = self._longest_held(tag)
        usual = "was the queue deleted, or did its leader move?"
        if seconds < copies.SHORTEST_TIMEOUT:
            return usual
        return (
            f"a handler has had a message for {seconds:.0f} s: is that over the consumer timeout?  "
            f"The message will be acknowledged after its handler, and is not handled twice here; "
            f"raise x-consumer-timeout of the queue, or take less time for a message.  Or {usual}"
        )

    def _longest_held(self, tag: str) -> float:
        """Return the seconds since the earliest delivery of the consumer *tag* not yet settled."""
        held = [each.received for each in self.in_progress if each.consumer_tag == tag]
        return time.monotonic() - min(held) if held else 0.0

    def _on_cancelled(self, tag: str, _frame: Any) -> None:
        self._cancelling.discard(tag)
        self._remove_consumer(tag)

    def _on_cancel(self, frame: Any) -> None:
        on_wire: str = frame.method.consumer_tag
        known = (tag for tag, window in self.windows.items() if window.on_wire == on_wire)
        tag = next(known, on_wire)
        self._remove_consumer(tag)
        if tag not in self._not_rejecting:
            self._cancel_in_return(on_wire)
        # Sooner it can only be that the queue was deleted: nothing that we hold would come again.
        if self._longest_held(tag) >= copies.SHORTEST_TIMEOUT:
            for each in self.in_progress:
                if each.consumer_tag == tag:
                    each.mark_withdrawn()
        for callback in self.on_cancel.copy():
            callback(tag)

    def _cancel_in_return(self, on_wire: str) -> None:
        """Cancel a consumer that the broker has ended.

        After a consumer timeout RabbitMQ 4.3 only stops the consumer: it sends to that consumer
        again as soon as the late ack comes (measured with 4.3.6), and nobody would handle that.
        Brokers ignore the cancel of a consumer that they do not know.
        """
        cancel = pika.spec.Basic.Cancel(on_wire, nowait=True)
        self.transport.write(pika.frame.Method(self.number, cancel).marshal())
        self._ended_by_broker = [*self._ended_by_broker[-ENDED:], on_wire]

    def _on_stray(self, delivery: Delivery) -> None:
        """Take a delivery of a consumer that has ended, on a channel with acks.

        The delivery goes back if the broker has ended that consumer.  If our own cancel got no
        answer, the consumer may still be there, and would get the delivery again and again; so the
        delivery is kept until the channel ends.  The delivery counts as in progress, because an ack
        of other deliveries (``multiple``) must not cover it.
        """
        if delivery.consumer_tag in self._ended_by_broker:
            self.codec.give_back(self.number, delivery.delivery_tag)
        else:
            delivery.weight_known = 0
            self._acks.add(delivery.delivery_tag, delivery)

    def _remove_consumer(self, tag: str) -> None:
        self._consumers.discard(tag)
        window, ended = self.windows.pop(tag, None), {tag}
        if window is not None:
            window.end()
            ended = {tag, window.on_wire} - window.leaving  # the window discards those itself
        for each in ended:
            self.codec.discard_consumer(self.number, each)
