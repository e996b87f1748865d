"""How the consumers of a channel end: we cancel them, or the broker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postage.errors import PostageError
from postage.green.amqp.codec import Codec
from postage.green.amqp.hub_logging import HubLogger
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
            if self.has_consumer(tag):
                self._ask("basic.cancel", self._pika.basic_cancel, consumer_tag=tag)
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
        if drop or self.shared:
            self._cancelling.add(tag)
            self._pika.basic_cancel(tag, callback=self._on_cancelled)
        else:
            # Without a callback pika sends nowait, at once, even while another request waits for
            # its answer.  pika keeps the tag until the channel ends; this channel ends soon.
            self._pika.basic_cancel(tag)
            self._consumers.discard(tag)

    def _on_cancelled(self, frame: Any) -> None:
        tag: str = frame.method.consumer_tag
        self._cancelling.discard(tag)
        self._remove_consumer(tag)

    def _on_cancel(self, frame: Any) -> None:
        tag: str = frame.method.consumer_tag
        self._remove_consumer(tag)
        for callback in self.on_cancel.copy():
            callback(tag)

    def _remove_consumer(self, tag: str) -> None:
        self._consumers.discard(tag)
        self.codec.discard_consumer(self.number, tag)
