"""How the consumers of a channel end: we cancel them, or the broker does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from postage.errors import PostageError
from postage.green.amqp.codec import Codec
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.intake import Window
from postage.green.amqp.waiting import Callbacks

__all__ = ["ConsumerCancels"]

logger = HubLogger(__name__)


class ConsumerCancels:
    """The operations of a channel that end a consumer."""

    alive: bool
    shared: bool
    number: int
    codec: Codec
    _pika: Any
    _consumers: set[str]
    _cancelling: set[str]
    windows: dict[str, Window]
    """The consumers that acknowledge, by their tags."""
    on_cancel: Callbacks[Callable[[str], None]]
    """Called in the hub with the tag of a consumer that the broker ends."""

    def _ask(self, operation: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of pika's channel; wait for the broker's answer, and return it."""
        raise NotImplementedError

    def has_consumer(self, tag: str) -> bool:
        """Return whether the consumer *tag* runs or is being started."""
        return self.alive and tag in self._consumers

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
                self._ask("basic.cancel", self._pika.basic_cancel, consumer_tag=on_wire)
        except PostageError as exc:
            logger.debug("%r: its consumer %s could not be cancelled: %s", self, tag, exc)
        finally:
            self._cancelling.discard(tag)
        self._remove_consumer(tag)

    def cancel_nowait(self, tag: str, *, drop: bool = False) -> None:
        """End a consumer without waiting; never switches.

        Deliveries that the broker sent before it saw the cancel still come to the callback.  With
        *drop*, for a consumer that does not acknowledge, they are dropped.
        """
        if drop:
            self.codec.discard_consumer(self.number, tag)
        if tag in self._cancelling or not self.has_consumer(tag):
            return
        on_wire = self._end_window(tag)
        if on_wire is None:
            self._remove_consumer(tag)
        elif drop or self.shared:
            self._cancelling.add(tag)
            self._pika.basic_cancel(on_wire, callback=partial(self._on_cancelled, tag))
        else:
            # Without a callback pika sends nowait, at once, even while another request waits for
            # its answer.  pika keeps the tag until the channel ends; this channel ends soon.
            self._pika.basic_cancel(on_wire)
            self._consumers.discard(tag)

    def _end_window(self, tag: str) -> str | None:
        """Return the tag to cancel for the consumer *tag*; None if it is being cancelled anyway."""
        window = self.windows.get(tag)
        return tag if window is None else window.end()

    def _on_cancelled(self, tag: str, _frame: Any) -> None:
        self._cancelling.discard(tag)
        self._remove_consumer(tag)

    def _on_cancel(self, frame: Any) -> None:
        on_wire: str = frame.method.consumer_tag
        known = (tag for tag, window in self.windows.items() if window.on_wire == on_wire)
        tag = next(known, on_wire)
        self._remove_consumer(tag)
        for callback in self.on_cancel.copy():
            callback(tag)

    def _remove_consumer(self, tag: str) -> None:
        self._consumers.discard(tag)
        window = self.windows.pop(tag, None)
        if window is not None:
            window.end()
            self.codec.discard_consumer(self.number, window.on_wire)
        self.codec.discard_consumer(self.number, tag)
