"""pika's connection over a gevent socket.

How it works
------------
`Transport` is the only subclass of a pika class.  pika does the AMQP handshake, opens and closes
channels, and checks heartbeats; the transport gives it a socket and timers.  No greenlet owns the
socket and nothing here blocks: watchers of the hub call it.

* **Reading.**  When the socket is readable, one ``recv`` per turn of the event loop passes its
  bytes to `feed`: pika's decoder, which the `Codec` replaces.
* **Writing.**  `write` appends whole frames to a list.  At the end of the turn `_flush` joins them
  and sends them with one system call.  When a turn produces more than `chunk` bytes, they are sent
  earlier.  What the socket does not take stays in ``_sending`` until the socket is writable.
* **Back pressure.**  When more than `HIGH_WATER` bytes are unsent, or the broker has an alarm
  (connection.blocked), `takes_data` is False, and publishers call `wait_writable`.
* **A late hub.**  While a handler computes, the native thread of the `HubMonitor` sends what was
  written (`send_waiting`), acks included, and heartbeats (`beat`).  So the socket, ``_sending`` and
  ``_sent`` are used under `lock`, and frames are taken from ``_out`` under it.  Appending to
  ``_out`` needs no lock.  It always holds whole frames, so a heartbeat may precede it.
* **The end.**  `lose` handles a broken stream, ``close`` is pika's proper AMQP close, `disconnect`
  gives up a close that takes too long, `close_socket` is for a forked child, and
  `close_without_hub` for the end of the program.  Each of them calls `_tear_down`, which runs once.

pika calls some of our methods by private names, and we call some private methods of pika.  All of
them are in `PIKA_PRIVATE_NAMES`, and a test names those that a new release of pika has changed.
This transport carries two to three times the messages of pika's own gevent adapter.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from select import POLLIN, POLLOUT
from typing import Any

import gevent.hub
import gevent.monkey
import gevent.socket
import pika
import pika.connection
import pika.exceptions

from postage.errors import OperationTimeout
from postage.foreign_text import one_line
from postage.green.amqp.delivery import AckWriter
from postage.green.amqp.hub_door import hub_door
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.hub_monitor import hub_monitor
from postage.green.amqp.silence import LOOK_INTERVAL, Silence, SilenceVerdict
from postage.green.amqp.stream import stream_of
from postage.green.amqp.waiting import WaitQueue
from postage.log_records import counted, place_of
from postage.protocol import HEARTBEAT_FRAME

__all__ = ["PIKA_PRIVATE_NAMES", "Transport"]

logger = HubLogger(__name__)

_poll = gevent.monkey.get_original("select", "poll")
"""The original: the hub does not run when it is used.  It cannot be looked up at the very end."""

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
"""Unsent bytes above which publishers wait, so that a broker that stops reading costs no memory."""

FIRST_BYTES = b"\x01\x08A"
"""Valid first bytes of a stream: a method frame, a heartbeat, or "AMQP" (another version)."""

HELD = 0.003
"""Seconds that a turn of the hub may take before the `HubMonitor` sends what waits.  Most turns of
a busy hub are shorter."""

NOTHING = memoryview(b"")

Feed = Callable[[bytes], None]


class Transport(pika.connection.Connection):
    """A pika connection that lives in one hub.

    Its callbacks run in the hub and must not block.  All methods are for greenlets of that hub,
    except `beat` and `send_waiting`.  With a *late_after*, in seconds, the `HubMonitor` keeps the
    connection alive, and sends what the hub does not send, from `start` to its end.
    """

    chunk = 1 << 18
    """Bytes above which data is sent before the turn of the loop ends; more would only take memory.

    Much less would split data that broker and clients handle as one: with 8 kB, each of a hundred
    concurrent calls takes a third longer.  0 at the end of the program, as the loop may not turn.
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
        """Takes the bytes that were read; the `Codec` replaces it by its own `Codec.feed`."""
        self._late_after = late_after
        self._stream = stream_of(sock)
        self.lock, self._send_some = self._stream.lock, self._stream.write
        """Held while anything is taken to be sent, and while it is sent."""
        self._loop = gevent.hub.get_hub().loop
        self._reader = self._loop.io(sock.fileno(), 1)
        self._writer = self._loop.io(sock.fileno(), 2)
        # `beat` uses it: run_callback_threadsafe counts references to the loop without a lock.
        self._waker = self._loop.async_(ref=False)
        self._waker.start(self._flush)
        self.door = hub_door()
        """The way into its hub for other native threads."""
        self._timers: set[Any] = set()
        self._out: list[bytes] = []
        self._sending = NOTHING
        self.ack_writers: dict[AckWriter, None] = {}
        """Those that have noted acks in this turn, and not written them."""
        self._feeding = False
        self.written = 0
        """Bytes of all frames, sent or not."""
        self._sent = 0
        self.this_turn = 0
        """Bytes that were written in this turn of the loop, sent or not."""
        self._tried = 0  # this_turn at the last try to send
        self._flush_due = self._full = False
        self.silence = Silence()
        self._written_when_heard = 0
        self._next_look: Any = None
        self.blocked: str | None = None
        """Why the broker accepts no publishes now (an alarm), or None (RabbitMQ, alarms)."""
        self.writers = WaitQueue(lambda: self._torn_down or self.takes_data)
        """The publishers that wait until they can write."""
        self._disconnecting = self._torn_down = False
        super().__init__(
            parameters, on_open, on_failure, on_close, internal_connection_workflow=False
        )
        self.add_on_connection_blocked_callback(self._on_alarm)
        self.add_on_connection_unblocked_callback(self._on_alarm_over)

    def start(self) -> None:
        """Start the AMQP handshake, whose outcome goes to *on_open* or *on_failure*."""
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
            self.lose(exc)
            return
        self._written_when_heard = self.written
        if not data:
            self.lose(EOFError("the broker closed the connection"))
            return
        if not self.bytes_received and data[0] not in FIRST_BYTES:
            self.lose(pika.exceptions.ProtocolVersionMismatch(data[:40]))
            return
        self._feeding = True
        try:
            self.feed(data)
        except Exception as exc:  # after any error, the rest of the stream has no meaning
            # While the connection opens, its maker raises the error.
            logger.log(
                logging.ERROR if self.is_open else logging.DEBUG,
                "The AMQP stream could not be understood; the connection is given up.",
                exc_info=True,
                extra=counted(*place_of(exc)),
            )
            self.lose(exc)
        finally:
            self._feeding = False

    def handle_frame(self, frame: Any) -> None:
        """Let pika handle a frame that `pika.frame` has decoded."""
        self._process_frame(frame)

    def lose(self, exc: BaseException) -> None:
        """End the connection as lost, because of *exc*; never switches."""
        if not self._torn_down:
            self._tear_down()
            error = pika.exceptions.StreamLostError(f"{type(exc).__name__}: {exc}")
            self._on_stream_terminated(error)

    def watch(self, is_owed: Callable[[], bool], ask: Callable[[], None]) -> None:
        """Give up the connection from now on when it is half-open: see `Silence`.

        *is_owed* tells whether the broker owes us an answer, and *ask* asks it for one.  Both are
        called in the hub.
        """
        if not self._torn_down:
            look = partial(self._look, is_owed, ask)
            self._next_look = self._adapter_call_later(LOOK_INTERVAL, look)

    def _look(self, is_owed: Callable[[], bool], ask: Callable[[], None]) -> None:
        self._next_look = None
        verdict = self.silence.look(
            received=self.bytes_received,
            unanswered=self.written - self._written_when_heard,
            is_owed=is_owed(),
            waiting=self.waiting,
            blocked=self.blocked is not None,
        )
        if verdict is SilenceVerdict.ASK:
            ask()
        if verdict is SilenceVerdict.GIVE_UP:
            self.lose(TimeoutError("the broker answers nothing; the connection is half-open"))
        else:
            self.watch(is_owed, ask)

    # --- writing

    def write(self, data: bytes) -> None:
        """Send *data*, whole frames, at the end of this turn; never switches."""
        self._out.append(data)
        size = len(data)
        self.written += size
        self.this_turn += size
        if not self._flush_due:
            self._flush_due = True
            self._loop.run_callback(self._flush)
        if hub_monitor.asleep:
            hub_monitor.wake()
        if self.written - self._sent > self.chunk:
            self.send_early(self.chunk)

    _adapter_emit_data = write  # pika's name for it

    def note_acks(self, writer: AckWriter) -> None:
        """Let *writer* write its acks at the end of this turn."""
        self.ack_writers[writer] = None
        self._loop.run_callback(writer.flush_acks)
        if hub_monitor.asleep:
            hub_monitor.wake()

    def send_early(self, chunk: int) -> None:
        """Send what is unsent if it is more than *chunk* bytes, before the turn ends.

        Never switches.  An error here occurs again, and is handled, at the end of the turn.
        """
        # When the socket is full, try again only after another *chunk* bytes.
        if min(self.unsent, self.this_turn - self._tried) > chunk and not self._torn_down:
            self._tried = self.this_turn
            with contextlib.suppress(OSError):  # BlockingIOError is one
                self._send()

    def _flush(self) -> None:
        """Send what is unsent; if the socket is full, continue when it is writable."""
        if self._torn_down:
            return
        self._tried = self.this_turn = 0
        try:
            self._send()
        except BlockingIOError:
            self._full = True
            self._writer.start(self._flush)
        except OSError as exc:
            self.lose(exc)
        else:
            self._flush_due = False
            if self._full:
                self._writer.stop()
                self._full = False
        if self.writers.waiting:
            self.writers.wake()

    def _send(self) -> None:
        out = self._out
        with self.lock:
            data = self._sending
            while data or out:
                if not data:
                    parts = out[:]
                    del out[: len(parts)]  # the hub may have appended others meanwhile
                    self._sending = data = memoryview(b"".join(parts))
                sent = self._send_some(data)  # as `_send_part`; a call for each turn would cost
                self._sent += sent
                self._sending = data = data[sent:]
            self._sending = NOTHING  # an empty slice would keep the whole buffer alive

    def _send_part(self) -> None:
        sent = self._send_some(self._sending)
        self._sending = self._sending[sent:]
        self._sent += sent

    def beat(self) -> None:
        """Write a heartbeat frame after the data being sent; never blocks.

        For the native thread of the `HubMonitor`.  The hub sends the rest when it runs again, and
        handles a lost connection.
        """
        with contextlib.suppress(OSError), self.lock:
            if self._torn_down or not self.is_open:
                return
            while self._sending:
                self._send_part()
            self._sending = memoryview(HEARTBEAT_FRAME)
            self._sent -= len(HEARTBEAT_FRAME)  # `written` does not count it
            self._waker.send()
            self._send_part()

    @property
    def is_needed(self) -> bool:
        """Whether anything waits for the hub; for any native thread."""
        return self.door.is_needed()

    def send_waiting(self) -> bool:
        """Send what waits, if the hub does not turn; never blocks.

        Returns whether anything waits that the hub is about to send: to send it now would only make
        more and smaller pieces.  For the native thread of the `HubMonitor`.
        """
        # Frames, or acks of this turn, that wait for more than room in the socket.
        waits = bool(self.ack_writers) or (self.written != self._sent and not self._full)
        if not waits or self._torn_down:
            return False
        if time.time() - self._loop.now() < HELD:
            return True
        # While the hub reads, it may be about to learn that the channel of the acks has ended.
        if self.ack_writers and not self._feeding:
            with self.lock:
                acks = b"".join([writer.take_acks() for writer in list(self.ack_writers)])
                self._out.append(acks)
                self._sent -= len(acks)  # `written`, which only the hub changes, lacks them
        with contextlib.suppress(OSError):  # which the hub handles when it runs again
            self._send()
        return False

    @property
    def interval(self) -> float:
        """The heartbeat in seconds, 0: none; before the handshake, the one that we propose."""
        agreed: float = self.params.heartbeat or 0
        return agreed

    @property
    def loop(self) -> Any:
        """The event loop of its hub."""
        return self._loop

    # --- back pressure

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.written - self._sent

    @property
    def takes_data(self) -> bool:
        """Whether a publish can be written without waiting."""
        return self.blocked is None and self.written - self._sent <= HIGH_WATER

    @property
    def waiting(self) -> int:
        """Bytes that have not left this machine."""
        return self.unsent + self._stream.unacknowledged()

    def wait_writable(self, limit: float) -> None:
        """Wait until publishes can be written, or the connection ends.

        Switches unless that is so already.  Raises `OperationTimeout` after *limit* seconds.
        """
        if not self.writers.wait(limit):
            if self.blocked is not None:
                raise OperationTimeout(f"publish: the broker takes none ({self.blocked})", limit)
            raise OperationTimeout("write: the broker takes no data", limit)

    def _on_alarm(self, _transport: object, frame: Any) -> None:
        self.blocked = reason = one_line(frame.method.reason)
        logger.warning("The broker takes no publishes: %s.  They wait.", reason, extra=counted())

    def _on_alarm_over(self, _transport: object, _frame: object) -> None:
        self.blocked = None
        logger.info("The broker takes publishes again.", extra=counted())
        self.writers.wake()

    # --- the rest of pika's adapter interface

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        timer = self._loop.timer(delay)
        self._timers.add(timer)
        timer.start(self._on_timer, timer, callback)
        return timer

    def _on_timer(self, timer: Any, callback: Callable[[], Any]) -> None:
        # After a late turn, the timer and the socket are due at the same time, in any order.  Read
        # first: pika's timer would declare the broker dead whose heartbeat is still in the socket.
        if not self._torn_down:
            self._on_readable()
        if timer in self._timers:  # reading may have ended the connection, and with it its timers
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
        # In the next turn: pika is still in the middle of the method that disconnects.
        self._disconnecting = True
        if not self._torn_down:
            self._loop.run_callback(self._flush_and_disconnect)

    def _flush_and_disconnect(self) -> None:
        if not self._torn_down:
            self._flush()
        self.disconnect()

    # --- the end

    def disconnect(self) -> None:
        """Close the socket of a connection that is closing; its waiters get the error."""
        if not self._torn_down:
            self._tear_down()
            self._on_stream_terminated(None)

    def _tear_down(self, *, silently: bool = False) -> None:
        self._remove_heartbeat()  # its timers would keep the transport alive
        if self._next_look is not None:
            self._adapter_remove_timeout(self._next_look)
        for watcher in (self._reader, self._writer, self._waker):
            watcher.stop()
            watcher.close()
        with self.lock:  # or `beat` might write to the next socket with this descriptor
            self._torn_down = True
            self._stream.close(silently=silently)
        hub_monitor.discard(self)
        self._out.clear()
        self.writers.wake()

    def cut(self) -> None:
        """Break the connection, as a failing network does; for tests.  Never switches."""
        if not self._torn_down:
            self._stream.cut()

    def close_socket(self) -> None:
        """Close the socket, as a forked child must: tells no broker and calls no callback."""
        if not self._torn_down:
            self._tear_down(silently=True)

    def close_without_hub(self, limit: float) -> None:
        """Flush and close properly, within *limit* seconds, while the hub does not run.

        For the end of the program or of the hub's thread, after which the hub never runs again.
        """
        deadline = time.monotonic() + limit
        poll = _poll()
        try:
            if self.is_open:
                self.close()
            while self.is_closing and not (self._torn_down or self._disconnecting):
                left = max(0.0, deadline - time.monotonic())
                if not left:
                    break
                poll.register(self._stream.fileno(), POLLIN | (POLLOUT if self.unsent else 0))
                self._handle_events(poll.poll(left * 1000))
        except (OSError, pika.exceptions.AMQPError):
            logger.debug("The connection had ended before it could be closed.", exc_info=True)
        finally:
            self.close_socket()

    def _handle_events(self, events: list[tuple[int, int]]) -> None:
        for _, event in events:
            if event & POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    self._send()
            if event & ~POLLOUT:
                self._on_readable()
