"""The bottom of the runtime: pika's connection over a gevent socket.

`Transport` is the only subclass of a pika class.  The socket is read by a watcher of the hub, one
``recv`` per turn of its loop, and written once per turn with all that the turn produced; so
nothing here blocks, and no greenlet owns the socket.  Measured against pika's own adapters this is
worth two to three times the rate.

While the hub is late, one other native thread writes as well: heartbeats, by `Transport.beat`.

pika calls its own hooks with a leading underscore; those that are overridden or called here:
`PIKA_PRIVATE_NAMES`.  A test fails by name when a release of pika moves one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from select import POLLIN, POLLOUT
from typing import Any

import gevent.hub
import gevent.monkey
import gevent.socket
import pika
import pika.connection
import pika.exceptions
import pika.frame

from postage.errors import OperationTimeout
from postage.green.amqp.hub_monitor import hub_monitor
from postage.green.amqp.stream import stream_of
from postage.green.amqp.waiting import WaitQueue

__all__ = ["PIKA_PRIVATE_NAMES", "Transport"]

logger = logging.getLogger(__name__)

PIKA_PRIVATE_NAMES = (
    "_adapter_add_callback_threadsafe",
    "_adapter_call_later",
    "_adapter_connect_stream",
    "_adapter_disconnect_stream",
    "_adapter_emit_data",
    "_adapter_remove_timeout",
    "_on_data_available",
    "_on_stream_connected",
    "_on_stream_terminated",
    "_process_frame",
    "_remove_heartbeat",
)

HIGH_WATER = 1 << 20
"""Bytes not yet sent above which publishers wait: a broker that stops reading costs no memory."""

CHUNK = 1 << 18
"""Bytes that are sent before the turn of the loop ends: more would only take memory.  Much less
would break up what all sides handle as one: with 8 kB, of a hundred calls each takes a third more.
"""

FIRST_BYTES = (
    b"\x01\x08A"  # a method frame, a heartbeat, or "AMQP" from a broker of another version
)

HEARTBEAT: bytes = pika.frame.Heartbeat().marshal()

NOTHING = memoryview(b"")

Feed = Callable[[bytes], None]


class Transport(pika.connection.Connection):
    """A pika connection that lives in one hub.

    Its callbacks run in the hub and must not block.  All methods are for greenlets of that hub,
    except `beat`.  With a *late_after*, in seconds, the `HubMonitor` keeps it alive from `start` to
    its end.
    """

    def __init__(  # noqa: PLR0913 - the callbacks have names
        self,
        parameters: pika.connection.Parameters,
        sock: gevent.socket.socket,
        *,
        on_open: Callable[[Any], None],
        on_failure: Callable[[Any, BaseException], None],
        on_close: Callable[[Any, BaseException], None],
        late_after: float = 0.0,
    ) -> None:
        self.feed: Feed = super()._on_data_available
        """Takes what was read; the hot path puts itself in its place."""
        self._late_after = late_after
        self._stream = stream_of(sock)
        self._lock, self._write = self._stream.lock, self._stream.write
        self._loop = gevent.hub.get_hub().loop
        self._reader = self._loop.io(sock.fileno(), 1)
        self._writer = self._loop.io(sock.fileno(), 2)
        # For another native thread: run_callback_threadsafe counts references, which is a race.
        self._waker = self._loop.async_(ref=False)
        self._waker.start(self._flush)
        self._timers: set[Any] = set()
        # Whole frames, from the hub alone; and under the lock, what of them is being sent.
        self._out: list[bytes] = []
        self._sending = NOTHING
        self.written = 0
        """Bytes, sent or not, of all frames."""
        self._sent = 0  # bytes; it is under the lock, too
        self._tried = 0
        self.this_turn = 0
        """Bytes that were written since the loop has turned, sent or not."""
        self._flush_due = False
        self._writers = WaitQueue(lambda: self._torn_down or not self.congested)
        self._heard = self._disconnecting = self._torn_down = False
        super().__init__(
            parameters, on_open, on_failure, on_close, internal_connection_workflow=False
        )

    def start(self) -> None:
        """Begin the AMQP handshake; ends in *on_open* or *on_failure*."""
        self._reader.start(self._on_readable)
        if self._late_after:
            hub_monitor.add(self, self._late_after)
        self._on_stream_connected()

    # --- reading

    def _on_readable(self) -> None:
        try:
            data = self._stream.read()
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(exc)
            return
        if not data:
            self._lose(EOFError("the broker closed the connection"))
            return
        try:
            self._take(data)
        except Exception as exc:  # whatever it is, the stream can no longer be understood
            # While the connection opens, the error that its maker gets says it all.
            logger.log(
                logging.ERROR if self.is_open else logging.DEBUG,
                "The AMQP stream could not be understood; the connection is given up.",
                exc_info=True,
            )
            self._lose(exc)

    def _take(self, data: bytes) -> None:
        if not self._heard and data[0] not in FIRST_BYTES:
            raise pika.exceptions.ProtocolVersionMismatch(data[:40])
        self._heard = True
        self.feed(data)

    def _on_data_available(self, data_in: bytes) -> None:
        self.feed(data_in)

    def _lose(self, exc: BaseException) -> None:
        if not self._torn_down:
            self._tear_down()
            self._on_stream_terminated(
                pika.exceptions.StreamLostError(f"{type(exc).__name__}: {exc}")
            )

    # --- writing

    def _adapter_emit_data(self, data: bytes) -> None:
        self._out.append(data)
        size = len(data)
        self.written += size
        self.this_turn += size
        if not self._flush_due:
            self._flush_due = True
            self._loop.run_callback(self._flush)
        if self.written - self._sent > CHUNK:
            self.send_early(CHUNK)

    def send_early(self, chunk: int) -> None:
        """Send what there is, if it is more than *chunk* bytes, and the turn has not ended yet.

        Never switches.  What goes wrong here goes wrong again at the end of the turn.
        """
        # Where the socket takes no more, it is tried again after as much again.
        if min(self.unsent, self.this_turn - self._tried) > chunk and not self._torn_down:
            self._tried = self.this_turn
            with contextlib.suppress(OSError):  # BlockingIOError is one
                self._send()

    def _flush(self) -> None:
        """Send what there is; where the socket takes no more, go on when it can."""
        if self._torn_down:
            return
        self._tried = self.this_turn = 0
        try:
            self._send()
        except BlockingIOError:
            self._writer.start(self._flush)
        except OSError as exc:
            self._lose(exc)
        else:
            self._writer.stop()
            self._flush_due = False
        self._writers.wake()

    def _send(self) -> None:
        with self._lock:
            while self._sending or self._out:
                if not self._sending:
                    self._sending = memoryview(b"".join(self._out))
                    self._out.clear()
                self._push()
            self._sending = NOTHING  # its end, however empty, would keep all that it is the end of

    def _push(self) -> None:
        sent = self._write(self._sending)
        self._sending = self._sending[sent:]
        self._sent += sent

    def beat(self) -> None:
        """Write a heartbeat frame, after the frames that are half written; never blocks.

        For the monitor's native thread.  What the socket does not take now, the hub writes when it
        is back; a connection that is lost is for the hub to find out.
        """
        with contextlib.suppress(OSError), self._lock:
            if self._torn_down or not self.is_open:
                return
            while self._sending:
                self._push()
            self._sending = memoryview(HEARTBEAT)
            self._sent -= len(HEARTBEAT)  # it never was in `written`
            self._waker.send()
            self._push()

    @property
    def interval(self) -> float:
        """The heartbeat that was agreed, in seconds; 0: none.  Before: what we propose."""
        agreed: float = self.params.heartbeat or 0
        return agreed

    @property
    def loop(self) -> Any:
        """The event loop of its hub."""
        return self._loop

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.written - self._sent

    @property
    def congested(self) -> bool:
        """True while more than `HIGH_WATER` bytes wait to be sent."""
        return self.written - self._sent > HIGH_WATER

    def wait_writable(self, limit: float) -> None:
        """Wait until at most `HIGH_WATER` bytes are unsent, or the connection ends; switches.

        Raises `OperationTimeout` after *limit* seconds.
        """
        if not self._writers.wait(limit):
            raise OperationTimeout("write: the broker takes no data", limit)

    # --- the rest of pika's adapter interface

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        timer = self._loop.timer(delay)
        self._timers.add(timer)
        timer.start(self._fire, timer, callback)
        return timer

    def _fire(self, timer: Any, callback: Callable[[], Any]) -> None:
        # When the hub was late, the timer and the socket are due in the same turn of the loop, in
        # any order: a broker that has spoken must not be judged dead because nobody listened.
        if not self._torn_down:
            self._on_readable()
        if timer in self._timers:  # what came may have ended the connection, its timers with it
            self._adapter_remove_timeout(timer)
            callback()

    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        self._timers.discard(timeout_id)
        timeout_id.stop()
        timeout_id.close()

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        self._loop.run_callback_threadsafe(callback)

    def _adapter_connect_stream(self) -> None:
        raise AssertionError("the socket is connected before the transport is made")

    def _adapter_disconnect_stream(self) -> None:
        # Not at once: pika is still in the middle of what made it disconnect.
        self._disconnecting = True
        if not self._torn_down:
            self._loop.run_callback(self._disconnect)

    def _disconnect(self) -> None:
        if not self._torn_down:
            self._flush()
        self.drop()

    def drop(self) -> None:
        """End at once what is closing: whoever waits on it hears of the end as of any other."""
        if not self._torn_down:
            self._tear_down()
            self._on_stream_terminated(None)

    def _tear_down(self, *, silently: bool = False) -> None:
        self._remove_heartbeat()  # its timers would keep the transport for as long as the hub runs
        for watcher in (self._reader, self._writer, self._waker):
            watcher.stop()
            watcher.close()
        with self._lock:  # or the monitor may write to what gets the same file descriptor next
            self._torn_down = True
            self._stream.close(silently=silently)
        hub_monitor.discard(self)
        self._out.clear()
        self._writers.wake()

    def cut(self) -> None:
        """Break the connection, as a failing network does; for tests.  Never switches."""
        if not self._torn_down:
            self._stream.cut()

    # --- ends without the hub

    def close_now(self, limit: float) -> None:
        """Flush, close properly, and return within *limit* seconds; the hub does not run.

        For the end of the program or of the hub's thread, when the hub will never run again.
        """
        deadline = time.monotonic() + limit
        poll = gevent.monkey.get_original("select", "poll")()
        try:
            if self.is_open:
                self.close()
            while self._is_ending() and (left := deadline - time.monotonic()) > 0:
                poll.register(self._stream.fileno(), POLLIN | (POLLOUT if self.unsent else 0))
                self._turn(poll.poll(left * 1000))
        except (OSError, pika.exceptions.AMQPError):
            logger.debug("The connection was gone before it could be closed.", exc_info=True)
        finally:
            self.abandon()

    def _is_ending(self) -> bool:
        return self.is_closing and not (self._torn_down or self._disconnecting)

    def _turn(self, events: list[tuple[int, int]]) -> None:
        for _, event in events:
            if event & POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    self._send()
            if event & ~POLLOUT:
                self._on_readable()

    def abandon(self) -> None:
        """Drop the socket without a word to the broker, as a forked child must."""
        if not self._torn_down:
            self._tear_down(silently=True)
