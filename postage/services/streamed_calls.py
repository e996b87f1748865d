"""Streams from the caller's side: an iterator over typed parts.

How it works
------------
A stream begins as a call: `Calls` sends the request, again if necessary, and hands the messages of
the reply queue to the stream.  Unlike a call, a stream always has a reply queue of its own, and
stays among the calls in flight when the server has accepted it.  `PartStream` notes, in the hub,
what happens to the stream.  The program iterates over `Parts`.  A `PartStream` does not refer to
its `Parts`, so Python deletes an iterator that is no longer used, which closes the stream.

Each stream ends in one of these ways: the end that the server sends; an exception, also from the
server; a timeout; the loss of the reply queue, of a part, or of the server; or `Parts.close`.
Whichever comes first decides.  Parts that have arrived before it are still given to the program.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

import gevent
import gevent.hub

from postage import deadline
from postage.addressing import PRIVATE_QUEUES, matches_any
from postage.errors import NoRoute, PostageError, RemoteError
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_door import hub_door, native_thread
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties
from postage.green.rpc.calls import Calls
from postage.green.rpc.pending import CallOutcome, CallRequest, PendingCall
from postage.green.rpc.replies import ReplyQueue
from postage.green.rpc.replying import send_reply
from postage.message import (
    CONNECTION_LOST,
    EXCEPTION,
    NO_ROUTE,
    SUCCESS,
    TIMEOUT,
    MessageResult,
    MessageResultException,
)
from postage.send_options import SendOptions
from postage.services import stream_protocol
from postage.services.stream_protocol import (
    ACCEPTED,
    CREDIT,
    END,
    FIRST_WINDOW,
    NUMBER,
    PART,
    STOP,
    StreamEvent,
    StreamFlow,
    StreamState,
    next_stream_state,
    number_in,
)

__all__ = ["PartStream", "Parts"]

logger = HubLogger(__name__)

T = TypeVar("T")

LINGER = 1.0
"""Seconds that a stream waits for the next part when its server is gone: parts and the end may be
on their way while the broker returns a credit."""


class _NoQueueYet:
    """Stands for the reply queue of a stream that is not sent yet, so that it gets its own."""

    alive = False
    request_channel = None

    def close(self) -> None:
        """Do nothing."""


class PartStream(PendingCall):
    """A call whose reply is a stream; used by the hub of *pair*, and by one greenlet that waits.

    Of its own methods, only `next_part` switches.
    """

    takes_direct_replies = False  # a queue that is gone tells the server that its caller is gone

    __slots__ = ("_beats", "_pair", "_timer", "ending", "flow", "parts", "source", "stream_state")

    def __init__(self, pair: Pair, request: CallRequest) -> None:
        super().__init__(pair.new_id(), request)
        request.options = (request.options or SendOptions()).with_headers({NUMBER: FIRST_WINDOW})
        self.own_queue = cast("ReplyQueue", _NoQueueYet())
        self._pair = pair
        self.stream_state = StreamState.OPENING
        self.flow = StreamFlow(pair.settings.memory)
        self.parts: deque[Delivery] = deque()
        """Those that have arrived and were not taken yet."""
        self.source = ""
        """The queue of the server."""
        self.ending: CallOutcome | None = None
        """What ended the stream, after all `parts`."""
        self._timer: Any = None
        self._beats = 0

    # --- what happens to it; in the hub

    def finish(self, outcome: CallOutcome) -> bool:
        """Take a message of the stream, or the failure of its request; return whether it was due.

        A message that is late, forged, or of another server is not due, and is dropped.
        """
        if isinstance(outcome, MessageResultException):
            return self._end(outcome)
        properties = outcome.properties
        kind, source = properties.type, properties.reply_to
        is_opening = self.stream_state is StreamState.OPENING
        if properties.correlation_id != self.id and not (is_opening and kind is None):
            return False  # only a classic server, which does not stream, may leave the id out
        if kind == ACCEPTED:
            return self._accept(outcome, source)
        if kind not in (PART, END):
            return self._end(outcome)  # of a server that does not stream, or has lost its channel
        if is_opening or self.stream_state is StreamState.ENDED or source != self.source:
            return False
        number = number_in(properties.headers)
        if kind == PART:
            wrong = self.flow.arrive(number, len(outcome.body))
        else:
            wrong = self.flow.missing_at(number)
        if wrong:
            self._lose(wrong)
        elif kind == END:
            self._end(outcome)
        else:
            self.parts.append(outcome)
            self.set()
        return True

    def _accept(self, outcome: Delivery, source: str | None) -> bool:
        if self.stream_state is StreamState.OPENING:
            if source is None or not matches_any(source, PRIVATE_QUEUES):
                # Else a server could make its callers publish to any queue.
                self._lose(f"the server wants credit at {source!r}, which is no private queue")
                return True
            self.source = source
            self._timer = gevent.hub.get_hub().loop.timer(
                stream_protocol.PULSE, stream_protocol.PULSE, ref=False
            )
            self._timer.start(self._beat)
            super().finish(outcome)
        elif source != self.source and source is not None and matches_any(source, PRIVATE_QUEUES):
            # The request was delivered twice.  The first server may be gone: ask it.
            self._post(STOP, 0, source)
            if self.stream_state is not StreamState.ENDED:
                self._post(CREDIT, self.flow.allowed)
        self._step(StreamEvent.ACCEPTED)
        return True

    def fail(self, name: str, why: object) -> None:
        """End the stream with the exception result *name*; after a returned credit, not at once.

        Parts may still be on their way then: see `LINGER`.
        """
        if name == NO_ROUTE and self.stream_state is not StreamState.OPENING:
            self._step(StreamEvent.RETURNED)
            self.set()
        else:
            self._end(MessageResultException(name, str(why)))

    def end_try(self, error: PostageError) -> None:
        """Take the loss of a connection, channel or queue, or the return of a message."""
        if self.stream_state is StreamState.OPENING:
            super().end_try(error)
        elif self.own_queue is not None and not self.own_queue.alive:
            self._lose(f"the reply queue was lost: {error}")
        elif isinstance(error, NoRoute):
            self.fail(NO_ROUTE, error)
        # Else the connection that carries credits was lost: they are sent again.

    def _step(self, event: StreamEvent) -> None:
        self.stream_state = next_stream_state(self.stream_state, event)

    def _lose(self, why: str) -> None:
        self._end(MessageResultException(CONNECTION_LOST, f"{why} (after {self._progress})"))

    def _end(self, outcome: CallOutcome) -> bool:
        """End the stream with *outcome*, unless it has ended; return whether it had not."""
        if self.stream_state is StreamState.ENDED:
            return False
        was_opening = self.stream_state is StreamState.OPENING
        self._step(StreamEvent.ENDED)
        self.ending = outcome
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self.own_queue is not None:
            self.own_queue.close()  # what still arrives would only take memory
        if was_opening:
            super().finish(outcome)
        else:
            self.set()
        return True

    # --- what it sends

    def _beat(self) -> None:
        """Repeat the credit if nothing has arrived since the last beat; in the hub."""
        if self.flow.arrived == self._beats:
            self._post(CREDIT, self.flow.allowed)
        self._beats = self.flow.arrived

    def _post(self, kind: str, number: int, queue: str = "") -> None:
        """Send a message to the server, in a greenlet of its own."""
        own = self.own_queue
        # The name of direct replies may stand only in messages of their own channel.
        reply_to = self.source if own is None or own.request_channel is not None else own.name
        properties = Properties(
            correlation_id=self.id, type=kind, headers={NUMBER: number}, reply_to=reply_to
        )
        gevent.spawn(_send, self._pair, queue or self.source, properties)

    # --- for the greenlet that iterates

    @property
    def _progress(self) -> str:
        count = self.flow.arrived
        return f"{count} part{'s' * (count != 1)}"

    def next_part(self, seconds: float) -> Delivery | None:
        """Return the next part, or None when the stream has ended; switches if none has arrived.

        If no part arrives within *seconds*, the stream ends with a timeout, and the server is told.
        """
        until, lingers = time.monotonic() + seconds, False
        while not self.parts:
            if self.ending is not None:
                return None
            if self.stream_state is StreamState.LEFT and not lingers:
                until, lingers = min(until, time.monotonic() + LINGER), True
            remaining = until - time.monotonic()
            if remaining <= 0:
                self._give_up(seconds, lingers=lingers)
            else:
                self.wait(remaining)
                self.clear()
        part = self.parts.popleft()
        if self.flow.take() and self.ending is None:
            self._post(CREDIT, self.flow.allowed)
        return part

    def _give_up(self, seconds: float, *, lingers: bool) -> None:
        if lingers:
            self._lose("the server is gone, or has lost its connection")
        else:
            text = f"no part within {seconds:.3g} s, after {self._progress}"
            self.stop(MessageResultException(TIMEOUT, text))

    def stop(self, outcome: MessageResultException) -> None:
        """End the stream with *outcome*, and tell the server; never switches."""
        if self.stream_state is not StreamState.ENDED and self.source:
            self._post(STOP, self.flow.taken)
        self._end(outcome)


def _send(pair: Pair, queue: str, properties: Properties) -> None:
    try:
        send_reply(pair, (queue, properties.encode(), b""))
    except PostageError as exc:
        logger.debug("A message to the server of a stream was lost: %s", exc)


class Parts(Generator[T, None, None]):
    """The parts of a streamed reply, in their order: what the call of a streaming handler returns.

    Iterating switches.  Each step waits for at most the timeout of the call, and no longer than the
    deadline of the message in hand.  It returns a part, or raises what a call raises: after the
    timeout `TimeoutError`; `ConnectionLost` also if a part was lost, the server is gone, or our own
    side has closed the connection.  After an exception, or if the greenlet is killed in a step, the
    stream has ended, and the server is told to stop.

    ``close()`` ends the stream and tells the server to stop.  It never switches, and may be called
    twice; deleting the last reference has the same effect.  For one greenlet at a time: a step in a
    second one raises ValueError.
    """

    def __init__(
        self,
        calls: Calls,
        stream: PartStream,
        timeout: float,
        result: Callable[[bytes], MessageResult],
        value: Callable[[MessageResult], T],
    ) -> None:
        self._calls, self._stream, self._timeout = calls, stream, timeout
        self._result, self._value = result, value
        self._door = hub_door()
        self._is_running = self._is_closed = False

    def open(self, max_retry: int) -> None:
        """Send the request, with *max_retry* more tries, until a server accepts it; switches.

        Raises what a call raises.  After an exception the stream is closed.
        """
        try:
            outcome = self._calls.open(self._stream, timeout=self._timeout, max_retry=max_retry)
            if not self._stream.source:
                self._stream.finish(outcome)  # unless it has done so itself
                self._finish()
        except BaseException:
            self._close()
            raise

    def send(self, value: None, /) -> T:
        """Return the next part; switches.  *value* must be None, else raises TypeError."""
        if value is not None:
            raise TypeError("nothing can be sent to the server of a stream")
        if self._is_running:
            raise ValueError("another greenlet waits for the next part already")
        if self._is_closed:
            raise StopIteration
        self._is_running = True
        try:
            return self._next()
        except BaseException:
            self._close()
            raise
        finally:
            self._is_running = False

    def _next(self) -> T:
        stream, limit = self._stream, self._timeout
        if deadline.current() is not None:
            limit = min(limit, deadline.remaining())
        part = stream.next_part(limit)
        if part is not None:
            return self._value(self._result(part.body))
        self._finish()
        raise StopIteration

    def _finish(self) -> None:
        """Raise what has ended the stream, unless that is its regular end."""
        ending = self._stream.ending
        result = self._result(ending.body) if isinstance(ending, Delivery) else ending
        if result is not None and result.kind != SUCCESS:
            self._value(result)
        if not (isinstance(ending, Delivery) and ending.properties.type == END):
            raise RemoteError(EXCEPTION, "BadReply", "the server has sent a reply, and no stream")

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        """Close the stream, and raise the exception, as a generator does; never switches."""
        self._close()
        return super().throw(typ, val, tb)

    def _close(self) -> None:
        self._is_closed = True
        self._stream.stop(MessageResultException(CONNECTION_LOST, "the stream is closed"))
        self._calls.end(self._stream)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the program
            if native_thread() == self._door.thread:
                self._close()
            else:
                self._door.call(self._close)
