"""The publishes of a channel that the broker may not have handled yet, because none is confirmed.

How it works
------------
A broker does not answer a publish without a confirm, except by closing the channel when it refuses
the publish.  It handles what comes on a channel in order: the publishes before the refused one were
carried out, and those after it are discarded.  So a channel keeps a `PublishRecord` of its last
publishes, and when the broker refuses one of them,

* the publisher of that one gets the error: the broker's text says which one it was;
* those after it are written again, on the channel that replaces this one.

The record must stay short.  So every `INTERVAL` seconds or `BYTES` bytes, while there are publishes
in it, the channel sends a *barrier*: a basic.qos, which the broker answers in its turn.  What was
written before an answered barrier was handled, and is removed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import gevent

from postage.errors import ChannelRefused, ConnectionLost, PostageError
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties, short_string_at
from postage.green.amqp.transport import Transport
from postage.log_records import counted
from postage.protocol import CONTENT_HEAD, FRAME_HEAD, FRAME_OVERHEAD, PUBLISH

__all__ = ["OnFailure", "PublishEntry", "PublishRecord", "Republish", "log_failure", "split"]

logger = HubLogger(__name__)

INTERVAL = 0.4
"""Seconds from the first publish in an empty record to its barrier."""
PATIENCE = 0.5
"""Seconds after which a barrier without an answer shows that the broker is behind."""
BYTES = 1 << 18
"""Bytes, those of other channels included, after which a barrier is sent sooner."""


class PublishEntry(NamedTuple):
    """One publish of a record: the arguments of `Channel.publish`."""

    exchange: str
    key: str
    properties: Properties
    body: bytes
    mandatory: bool

    @classmethod
    def decode(cls, frames: bytes) -> PublishEntry:
        """Return the publish that `Codec.publish` has written as *frames*."""
        method, header, *parts = _payloads(frames)
        exchange, at = short_string_at(method, len(PUBLISH) + 2)
        key, at = short_string_at(method, at)
        properties = Properties.decode(header[CONTENT_HEAD.size - FRAME_HEAD.size :])
        return cls(exchange, key, properties, b"".join(parts), method[at] == 1)

    def publish_on(self, channel: Any) -> None:
        """Publish it on *channel*, as `Channel.publish` does."""
        *arguments, mandatory = self
        channel.publish(*arguments, mandatory=mandatory)

    def caused(self, error: ChannelRefused) -> bool:
        """Tell whether the broker refuses this publish, by the text of *error*."""
        return error.was_caused_by(self.exchange, self.key, len(self.body))


OnFailure = Callable[[list[PublishEntry], PostageError], None]
"""Called in the hub: `ChannelRefused` if the broker refused these publishes, else the broker may or
may not have handled them."""
Republish = Callable[[PublishEntry], object]
"""Writes a publish again, on another channel; may switch, and raises `PostageError`."""


def split(
    written: Iterable[bytes], error: ChannelRefused
) -> tuple[list[PublishEntry], list[PublishEntry]]:
    """Return the publishes that the broker refuses, and the others that it has not handled.  Pure.

    Those before the first refused one are in neither list, because the broker has handled them.  If
    the text of *error* fits no publish, each of them may have been handled or not.
    """
    refused: list[PublishEntry] = []
    others: list[PublishEntry] = []
    for each in map(PublishEntry.decode, written):
        is_refused = each.caused(error)
        if is_refused and not refused:
            others.clear()
        (refused if is_refused else others).append(each)
    return refused, others


def _payloads(frames: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(frames):
        start = at + FRAME_HEAD.size
        _, _, size = FRAME_HEAD.unpack_from(frames, at)
        yield frames[start : start + size]
        at += size + FRAME_OVERHEAD


class PublishRecord:
    """The publishes of one channel since its last answered barrier; for its hub.

    *ask* sends a barrier, and calls its argument when the broker has answered.  The channel gives
    `note` the frames of each publish, and calls `mark` if ``transport.written`` has reached
    `due_at`.  The record holds bytes, because more objects would cost each message several percent.
    """

    __slots__ = (
        "_ask",
        "_barrier",
        "_loop",
        "_on_behind",
        "_removed",
        "_timer",
        "_transport",
        "_waiting",
        "answers",
        "due_at",
        "entries",
        "is_behind",
        "note",
    )

    def __init__(
        self,
        transport: Transport,
        ask: Callable[[Callable[[], None]], None],
        on_behind: Callable[[], None],
    ) -> None:
        self._transport, self._loop, self._ask = transport, transport.loop, ask
        self.entries: list[bytes] = []
        self.note: Callable[[bytes], None] = self.entries.append
        """Takes the frames of a publish that was written."""
        self._removed = 0
        self.due_at = 0
        """The value of ``transport.written`` from which on a publish must call `mark`."""
        self._barrier: int | None = None  # entries before the barrier that is not answered yet
        self._timer: Any = None
        self._on_behind, self._waiting = on_behind, 0
        self.is_behind = False
        """Whether a barrier has not been answered in time."""
        self.answers = 0
        """How many barriers were answered."""

    @property
    def published(self) -> int:
        """How many publishes were written."""
        return self._removed + len(self.entries)

    def mark(self) -> None:
        """Start the time of the record if it was empty, else send the barrier; never switches."""
        if self._timer is None:
            self._start()
        else:
            self._send_barrier()

    def _start(self) -> None:
        self.due_at = self._transport.written + BYTES
        self._timer = self._loop.timer(INTERVAL, ref=False)  # does not keep the hub running
        self._timer.start(self._send_barrier, update=True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _send_barrier(self) -> None:
        self._stop_timer()
        self._barrier, self.due_at = len(self.entries), sys.maxsize
        self._ask(self._on_answer)
        self._look_later()

    def _look_later(self) -> None:
        self._waiting = self._transport.waiting
        self._timer = self._loop.timer(PATIENCE, ref=False)
        # In the next turn, because after a late one the answer may be in the socket.
        self._timer.start(self._loop.run_callback, self._look, update=True)

    def _look(self) -> None:
        """See whether the broker has stopped reading: the barrier is still unanswered."""
        if self._barrier is None or self._timer is None:
            return
        self._stop_timer()
        before = self._waiting
        self._look_later()
        is_draining = 0 < self._waiting < before  # the network is slow
        self.is_behind = not is_draining and self._transport.blocked is None
        if self.is_behind:
            self._on_behind()

    def take(self) -> list[PublishEntry]:
        """Remove and return the publishes that the broker may not have handled."""
        written = self._remove(None)
        self._barrier = None if self._barrier is None else 0
        return [PublishEntry.decode(each) for each in written]

    def _remove(self, count: int | None) -> list[bytes]:
        """Remove and return the oldest *count* entries, or all."""
        removed = self.entries[:count]
        del self.entries[:count]
        self._removed += len(removed)
        return removed

    def _on_answer(self) -> None:
        self._stop_timer()
        self._remove(self._barrier)
        self._barrier, self.due_at, self.is_behind = None, 0, False
        self.answers += 1
        if self.entries:
            self._start()

    def end(self, error: PostageError, on_failure: OnFailure, republish: Republish | None) -> None:
        """Tell publishers, and write again what can be, because *error* has ended the channel.

        Called in the hub.  What is written before our side closes a channel is handled.
        """
        self._stop_timer()
        written = self._remove(None)
        if isinstance(error, ConnectionLost) and on_failure is not log_failure:
            on_failure([PublishEntry.decode(each) for each in written], error)
        if not isinstance(error, ChannelRefused):
            return
        refused, others = split(written, error)
        on_failure(refused, error)
        if refused and republish is not None:
            gevent.spawn(_write_again, others, on_failure, republish)
        else:  # one of them may be what the broker refuses, and would be refused again and again
            on_failure(others, _lost_by(error))


def _write_again(
    entries: Iterable[PublishEntry], on_failure: OnFailure, republish: Republish
) -> None:
    for each in entries:
        try:
            republish(each)
        except ChannelRefused as exc:  # noqa: PERF203 - the others must still be written
            on_failure([each], exc if each.caused(exc) else _lost_by(exc))
        except PostageError as exc:
            on_failure([each], exc)


def _lost_by(error: ChannelRefused) -> ConnectionLost:
    """Return the error for a publish that was lost because another one was refused by *error*."""
    return ConnectionLost(f"the channel was closed, because of another message: {error}")


def log_failure(entries: list[PublishEntry], error: PostageError) -> None:
    """Log that messages without confirm are lost, which nobody else can notice."""
    text = "Messages without confirm are lost, number: %d, the first to exchange %r, key %r: %s"
    for first in entries[:1]:
        sort = counted(first.exchange, type(error).__name__)
        logger.warning(text, len(entries), first.exchange, first.key, error, extra=sort)
