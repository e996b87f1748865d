"""What a channel declares, binds and deletes: each operation is one question to the broker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from postage.addressing import Headers, Key
from postage.green.amqp import error_translation
from postage.green.amqp.properties import short_string

__all__ = ["TopologyOperations", "check_short"]


class TopologyOperations:
    """The operations of a channel on exchanges, queues and bindings.

    All of them switch greenlets, and raise the errors that `Channel` lists.
    """

    _pika: Any

    def _ask(self, operation: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of pika's channel; wait for the broker's answer, and return it."""
        raise NotImplementedError

    def _check_alive(self) -> None:
        """Raise the error that has ended the channel, if it has ended."""
        raise NotImplementedError

    def exchange_declare(self, **parameters: Any) -> None:
        """Declare an exchange; the keywords are those of ``Exchange.parameters``."""
        with error_translation.declaring("exchange", parameters["exchange"]):
            self._ask("exchange.declare", self._pika.exchange_declare, **parameters)

    def queue_declare(self, queue: str, **flags: Any) -> str:
        """Declare a queue; return its name, which the broker chooses if *queue* is empty."""
        with error_translation.declaring("queue", queue):
            frame = self._ask("queue.declare", self._pika.queue_declare, queue=queue, **flags)
        name: str = frame.method.queue
        return name

    def queue_counts(self, queue: str) -> tuple[int, int]:
        """Return how many messages of *queue* are ready, and how many consumers it has."""
        frame = self._ask("queue.declare", self._pika.queue_declare, queue=queue, passive=True)
        return frame.method.message_count, frame.method.consumer_count

    def queue_bind(self, queue: str, exchange: str, key: Key) -> None:
        """Bind *queue* to *exchange* by *key*; binding twice is fine."""
        binding = {"queue": queue, "exchange": exchange, **_bound_by(key)}
        self._ask("queue.bind", self._pika.queue_bind, **binding)

    def queue_declare_bound(
        self,
        queue: str,
        flags: Mapping[str, Any],
        bindings: Sequence[tuple[str, Key]],
        *,
        probe: bool = False,
    ) -> str:
        """Declare a queue and bind it by *bindings*, exchanges and keys; return its name.

        Takes one round trip in all, or one more if the broker chooses the name.  With *probe*, it
        also asks the queue itself: RabbitMQ declares and binds a queue that exists from what each
        node knows of it, although the node of the queue may hang.
        """
        check_short([queue, *itertools.chain.from_iterable(bindings)])
        if queue and bindings:
            self._check_alive()
            self._pika.queue_declare(queue, **flags)  # without a callback: nowait
        else:
            queue = self.queue_declare(queue, **flags)
        with error_translation.declaring("queue", queue):
            for exchange, key in bindings[:-1]:
                self._pika.queue_bind(queue, exchange, **_bound_by(key))
            for exchange, key in bindings[-1:]:  # its answer says that all before it went well
                self.queue_bind(queue, exchange, key)
        if probe:
            self._ask("queue.declare", self._pika.queue_declare, queue=queue, passive=True)
        return queue

    def repeat(
        self,
        exchanges: Iterable[Mapping[str, Any]],
        bindings: Collection[tuple[str, str, Key]],
        *,
        anew: bool = False,
    ) -> None:
        """Declare *exchanges* and make *bindings* again, all in one round trip.

        An exchange is given by its parameters; a binding by queue, exchange and key.  With *anew*,
        each binding is removed before, which takes a round trip each.  Raises `ChannelRefused` also
        if an exchange was deleted meanwhile.
        """
        self._check_alive()
        for parameters in exchanges:
            self._pika.exchange_declare(**parameters)  # without a callback: nowait
        for queue, exchange, key in bindings:
            if anew:  # pika writes nothing more before the unbind-ok
                self._pika.queue_unbind(queue, exchange, **_bound_by(key))
            self._pika.queue_bind(queue, exchange, **_bound_by(key))
        for exchange in {exchange for _, exchange, _ in bindings}:
            self._pika.exchange_declare(exchange, passive=True)
        self._ask("basic.qos", self._pika.basic_qos)  # its answer says that all went well

    def queue_unbind(self, queue: str, exchange: str, key: Key) -> None:
        """Remove a binding; one that does not exist is fine."""
        binding = {"queue": queue, "exchange": exchange, **_bound_by(key)}
        self._ask("queue.unbind", self._pika.queue_unbind, **binding)

    def queue_delete(self, queue: str) -> None:
        """Delete a queue with its messages; one that does not exist is fine."""
        self._ask("queue.delete", self._pika.queue_delete, queue=queue)

    def exchange_delete(self, exchange: str) -> None:
        """Delete an exchange with its bindings; one that does not exist is fine."""
        self._ask("exchange.delete", self._pika.exchange_delete, exchange=exchange)


def _bound_by(key: Key) -> dict[str, Any]:
    """Return the arguments of queue.bind and queue.unbind for *key*."""
    if isinstance(key, Headers):
        return {"routing_key": "", "arguments": key.arguments}
    return {"routing_key": key}


def check_short(arguments: Iterable[object]) -> None:
    """Raise `SettingsError` for a text over AMQP's 255 bytes.

    pika checks only when it writes the text, which may be later, and then ends the connection.
    """
    for each in arguments:
        if isinstance(each, str):
            short_string(each)
