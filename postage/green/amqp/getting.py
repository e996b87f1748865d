"""Takes messages off a queue one by one (basic.get), for tools that look at queues.

A consumer would get as many messages as its prefetch allows, and nobody could tell when the queue
is empty.  An answer to basic.get is a message, with the number of those behind it, or says that the
queue is empty.  Handlers never use it: each message costs a round trip.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

import pika.exceptions
import pika.frame
import pika.spec

from postage.green.amqp.channel import Channel
from postage.green.amqp.codec import LARGEST_BODY
from postage.green.amqp.delivery import Delivery, UnfinishedMessage
from postage.green.amqp.properties import short_string_at
from postage.green.amqp.waiting import Answer
from postage.protocol import BASIC, method_id

__all__ = ["Gets"]

_EMPTY = method_id(BASIC, 72)


class Gets:
    """The gets of one channel.

    `ask` writes one, and `answer` waits for the first that has no answer yet, so one can be asked
    before the message before it is settled.
    """

    def __init__(self, channel: Channel, limit: float) -> None:
        self.channel, self._limit = channel, limit
        self._asked: deque[Answer[Delivery | None]] = deque()
        self._open: deque[Answer[Delivery | None]] = deque()  # those without an answer
        channel.codec.on_got[channel.number] = self._on_got
        channel.on_end.append(self._on_end)

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, queue: str) -> None:
        """Write a get; never switches."""
        answer: Answer[Delivery | None] = Answer()
        self._asked.append(answer)
        self._open.append(answer)
        frame = pika.frame.Method(self.channel.number, pika.spec.Basic.Get(queue=queue))
        self.channel.transport.write(frame.marshal())

    def answer(self) -> Delivery | None:
        """Return the message for the first get, None if the queue was empty; switches.

        The message must be settled with the channel's codec; `Channel.ack` does not know it.  Its
        ``channel`` is not set.  Raises what `Channel` does.
        """
        return self._asked.popleft().get("basic.get", self._limit)

    def _on_got(self, payload: bytes, now: float) -> UnfinishedMessage | None:
        """Take the payload of basic.get-ok or get-empty."""
        if payload[:4] == _EMPTY:
            self._answered(None)
            return None
        try:
            tag, redelivered = int.from_bytes(payload[4:12], "big"), payload[12] != 0
            exchange, at = short_string_at(payload, 13)
            key, at = short_string_at(payload, at)
        except IndexError as exc:
            raise pika.exceptions.InvalidFrameError("a basic.get-ok is cut short") from exc
        delivery = Delivery("", tag, redelivered, exchange, key, now)
        return UnfinishedMessage(delivery, self._answered, LARGEST_BODY, False)  # noqa: FBT003 - no no_ack

    def _answered(self, delivery: Delivery | None) -> None:
        with suppress(IndexError):  # nobody has asked
            self._open.popleft().set_result(delivery)

    def _on_end(self, error: BaseException) -> None:
        for answer in self._open:
            answer.set_exception(error)
        self._open.clear()
