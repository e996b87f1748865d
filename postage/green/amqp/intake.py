"""Keeps what a process has in hand within the setting ``memory``: see `postage.budget`.

How it works
------------
The prefetch of a consumer cannot be changed while it runs, so a `Window` starts another consumer of
the same queue and cancels the old one.  The owner of the consumer keeps its tag, and learns nothing
of that.

* **Order.**  The new consumer starts when the old one is cancelled for certain.  What the broker
  had already sent to the old one has arrived then.  If the window shrinks, that was dropped as it
  arrived, and returned to its place in the queue.
* **Queues that end with their last consumer** (``auto_delete``) would be lost by that.  There the
  new consumer starts first, so it may get a message before those that are returned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, ClassVar, Protocol

import pika.channel
import pika.spec

from postage.budget import (
    Holding,
    WindowEvent,
    WindowState,
    next_window_state,
    step,
    too_heavy,
    wider,
)
from postage.green.amqp.codec import Codec, not_called
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.transport import Transport
from postage.typed_queue import PLAIN

__all__ = ["Intake", "Window", "cancel_consumer", "new_tag", "not_awaited"]

logger = HubLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks while anything is in hand, or a window is narrow."""
NOTHING = -1
"""A limit of bodies that drops even empty ones."""


_tags = itertools.count(1)


def new_tag() -> str:
    """Return a consumer tag that no other consumer of the process has."""
    return f"postage-{next(_tags)}"


def cancel_consumer(
    channel: pika.channel.Channel, tag: str, callback: Callable[[Any], object]
) -> None:
    """Cancel the consumer *tag*; *callback* gets the answer of the broker to that.  Never switches.

    pika calls the callbacks of all cancels of a channel at the answer to the first of them, while
    the broker still sends to the other consumers: what arrived for them would have no consumer.
    """
    channel.callbacks.add(
        channel.channel_number, pika.spec.Basic.CancelOk, callback, arguments={"consumer_tag": tag}
    )
    channel.basic_cancel(tag, callback=not_awaited)


def not_awaited(_frame: object) -> None:
    """Take an answer that nobody waits for; without a callback, pika asks for none."""


class Window:
    """A consumer, and how many messages the broker sends it in advance.

    *tag* is what its owner calls it, and *receive* takes its deliveries.
    """

    __slots__ = (
        "_channel", "_codec", "_max_body", "_receive", "_state", "_tag", "full",
        "heaviest", "leaving", "may_vanish", "no_ack", "on_wire", "options", "queue", "size",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - the arguments of a consumer
        self,
        codec: Codec,
        channel: pika.channel.Channel,
        queue: str,
        receive: Callable[[Delivery], None],
        tag: str,
        prefetch: int,
        max_body: int | None,
    ) -> None:
        self._codec, self._channel, self.queue = codec, channel, queue
        self._receive, self._max_body, self._state = receive, max_body, WindowState.OPEN
        self.no_ack = False
        """Whether its deliveries need no ack; its size cannot be changed then."""
        self.may_vanish = True
        """Whether the queue may end with its last consumer."""
        self.options = PLAIN
        """The arguments of basic.consume that the queue asks for."""
        self.full = self.size = prefetch
        self.heaviest = 0
        """Bytes of its heaviest message of late."""
        self._tag = self.on_wire = tag
        """The tag by which the broker knows its consumer."""
        self.leaving: frozenset[str] = frozenset()  # an empty set would take 200 bytes of each
        """The tags whose cancel has no answer yet: the broker may still send to them."""

    def __repr__(self) -> str:
        return f"<Window of {self.size} on queue {self.queue!r}, {self._state.name.lower()}>"

    def start(self, callback: Callable[[Any], None]) -> None:
        """Start the consumer; *callback* gets the answer of the broker.  Never switches."""
        number, tag = self._channel.channel_number, self.on_wire
        receive = self._receive if tag == self._tag else self._receive_renamed
        self._codec.add_consumer(number, tag, receive, self._max_body, no_ack=self.no_ack)
        # basic.qos applies to the consumers started after it.  Its answer is not awaited, because
        # another greenlet could then send its qos before our basic.consume.
        if not self.no_ack:
            self._channel.basic_qos(prefetch_count=self.size)
        self._channel.basic_consume(
            queue=self.queue,
            on_message_callback=not_called,
            auto_ack=self.no_ack,
            consumer_tag=tag,
            exclusive=self.options.exclusive,
            arguments=dict(self.options.arguments) or None,
            callback=callback,
        )

    @property
    def is_open(self) -> bool:
        """Whether its size can be changed now."""
        return self._state is WindowState.OPEN and self._channel.is_open

    def change(self, size: int) -> None:
        """Let the broker send *size* messages in advance; never switches."""
        shrinks = not self.size or size < self.size
        old, self.size = self.on_wire, size
        self.leaving |= {old}
        if shrinks:
            number = self._channel.channel_number
            self._codec.add_consumer(number, old, self._give_back, NOTHING)
        if self.may_vanish:
            self._restart()
            cancel_consumer(self._channel, old, partial(self._on_cancelled, old))
        else:
            self._move(WindowEvent.CHANGE)
            cancel_consumer(self._channel, old, partial(self._on_changed, old))

    def end(self) -> str | None:
        """Never start another consumer; return the tag to cancel, or None: that has been done."""
        was_changing = self._state is WindowState.CHANGING
        self._move(WindowEvent.END)
        return None if was_changing else self.on_wire

    def _move(self, event: WindowEvent) -> None:
        self._state = next_window_state(self._state, event)

    def _on_changed(self, old: str, frame: Any) -> None:
        self._on_cancelled(old, frame)
        self._move(WindowEvent.CHANGED)
        if self.is_open:
            self._restart()

    def _on_cancelled(self, old: str, _frame: Any) -> None:
        self.leaving -= {old}
        self._codec.discard_consumer(self._channel.channel_number, old)

    def _restart(self) -> None:
        self.on_wire = new_tag()
        self.start(not_awaited)

    def _receive_renamed(self, delivery: Delivery) -> None:
        delivery.consumer_tag = self._tag
        self._receive(delivery)

    def _give_back(self, delivery: Delivery) -> None:
        """Return a delivery to its queue; its body was dropped."""
        if self._channel.is_open:
            self._codec.give_back(self._channel.channel_number, delivery.delivery_tag)


class HoldingChannel(Protocol):
    """What the intake needs of a channel."""

    windows: dict[str, Window]
    """Its consumers by their tags."""

    @property
    def in_progress(self) -> Collection[Delivery]:
        """The deliveries that are not settled."""


class Intake:
    """The deliveries in hand of one connection, within a budget of *limit* bytes for the process.

    For the hub of the connection, which calls `stop` at its end.
    """

    in_hand: ClassVar[dict[Intake, int]] = {}
    """The bytes in hand of each connection of the process, as of its last look."""

    def __init__(
        self,
        limit: int,
        transport: Transport,
        codec: Codec,
        channels: Iterable[HoldingChannel],
    ) -> None:
        self._limit, self._channels = limit, channels
        self._transport, self._codec = transport, codec
        self._timer: Any = None
        codec.on_look = self._on_bytes
        codec.look_at = step(limit)

    def stop(self, _error: object = None) -> None:
        """Forget everything, at the end of the connection."""
        self._codec.look_at = float("inf")
        self.in_hand.pop(self, None)
        self._stop_timer()

    def _on_bytes(self) -> None:
        """Weigh what is in hand, because much has arrived, and narrow the heaviest windows."""
        self._codec.look_at = self._transport.bytes_received + step(self._limit)
        holdings, total = self._weigh()
        heavy = too_heavy(holdings, total, self._limit)
        for window in heavy:
            logger.info(
                "%d bytes of messages are in hand, and the setting memory allows %d: the consumer "
                "of queue %r takes one message at a time.", total, self._limit, window.queue,
            )  # fmt: skip
            window.change(1)
        self._look_later()

    def _on_timer(self) -> None:
        """Let windows grow again, if little is in hand."""
        self._stop_timer()
        for channel in self._channels:
            for window in channel.windows.values():
                window.heaviest //= 2
        holdings, total = self._weigh()
        for window, size in wider(holdings, total, self._limit).items():
            window.change(size)
        if total or any(window.size != window.full for window in holdings):
            self._look_later()

    def _weigh(self) -> tuple[dict[Window, Holding], int]:
        """Return what each consumer holds, and what the process does."""
        holdings: dict[Window, Holding] = {}
        mine = 0
        for channel in self._channels:
            weights: dict[str, list[int]] = {}
            for delivery in channel.in_progress:
                weights.setdefault(delivery.consumer_tag, []).append(delivery.weight)
            mine += sum(map(sum, weights.values()))
            for tag, window in channel.windows.items():
                held = weights.get(tag, [])
                window.heaviest = max((window.heaviest, *held))
                if window.is_open:
                    holdings[window] = Holding(window.size, window.full, sum(held), window.heaviest)
        self.in_hand[self] = mine
        return holdings, sum([*self.in_hand.values()])

    def _look_later(self) -> None:
        if self._timer is None:
            loop = self._transport.loop
            self._timer = loop.timer(INTERVAL, ref=False)
            self._timer.start(self._on_timer, update=True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
