"""The broker's side of one client connection: bytes in, bytes out.

How it works
------------
A `ClientConnection` has no socket.  Its owner, `postage.broker.client_socket`, calls `feed` with
the bytes that it has received, and sends the bytes that `take_output` returns.  Everything that an
input causes is done before `feed` returns: messages are in their queues, consumers have their
deliveries, answers are in the output.  Nothing that a client sends makes `feed` raise.

Input passes through four steps:

1. `FrameParser` cuts it into frames; it yields the three frames of a small publish as one.
2. Methods on channel 0 drive the handshake and the end of the connection.  `_METHODS` lists those
   that are allowed at each stage; the stages are in `postage.broker.session.handshake`.
3. The connection opens and closes channels.  All other methods on a channel go to its handlers,
   the `CHANNEL_METHODS`.
4. `ContentAssembler` collects header and body frames until a publish is complete.

`_publish` then passes method, header and body to the channel, which puts the message into its
queues.  It does so for publishes that were read at once and for those that arrived in pieces.

A client's mistake is raised as a `Fault` and caught in `_frame`.  The broker then closes the
channel or the connection, and ignores all input for it until the client confirms that.

Output is limited in two ways:

* While more than `BURST` bytes are unsent, consumers take no more messages (`deliveries_paused`).
  The owner calls `resume` when everything has been sent.
* While too many answers to the client's own methods are unsent, because the client does not read
  them, the owner should not read from the client either (`reading_paused`).

Confirms wait until the input has been handled, so that one ack confirms many publishes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from postage.broker.core.costs import PIECE
from postage.broker.session.assembly import ContentAssembler
from postage.broker.session.client_channel import CHANNEL_METHODS, ClientChannel
from postage.broker.session.client_output import BURST
from postage.broker.session.entrance import OpeningConnection
from postage.broker.session.handshake import Stage, StageEvent
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault, SyntaxFault
from postage.broker.wire.framing import WHOLE_PUBLISH, Publish, single_frames
from postage.broker.wire.methods import MethodCall, decode, decode_publish, encode
from postage.log_records import counted, logger_of, place_of
from postage.protocol import HEARTBEAT, METHOD

__all__ = ["ClientConnection"]

logger = logger_of(__name__)

LONGEST_TURN = 0.01
"""Seconds after which the rest of the input waits until others have had their turn."""


class ClientConnection(OpeningConnection):
    """The broker's side of one connection.

    *on_output* is called when there is output to send, when the connection has ended, and when
    reading may go on.
    """

    def _prepare(self) -> None:
        host = self.host
        self.channels: dict[int, ClientChannel] = {}
        self.publishes = self.deliveries = 0
        self.held = 0
        """Bytes that are in the account of the broker because of this connection, and no queue."""
        self.has_more = False
        """Whether `feed` has stopped early, to go on after `resume`."""
        self._held_rest = 0
        self._contents = ContentAssembler(host.limits, self.hold)
        self._turn = 0
        self._message_max = host.limits.message_max

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended; there may still be output to send."""
        return self.stage is Stage.CLOSED

    # --- output

    def write(self, data: bytes) -> None:
        """Add *data* to the output."""
        self._has_sent = True
        size = len(data)
        self._unsent += size
        self._output.append(data)
        if len(self._output) == 1:
            self._on_output()
        if self.deliveries_paused:
            self._answers += size
            self.hold(PIECE + size)
        elif self._unsent > BURST:
            self.pause()

    def take_output(self) -> bytes:
        """Take the output, and return it."""
        data = b"".join(self._output)
        cost = self._cost if self.deliveries_paused else 0
        self._output.clear()
        self._unsent = 0
        if cost:
            self.hold(-cost)  # which may cause output
        return data if self.interceptor is None else self.interceptor.outgoing(data)

    def resume(self) -> None:
        """Resume paused deliveries: all output has been sent."""
        self._answers = 0
        if self.deliveries_paused and self.stage is Stage.OPEN:
            self._unpause()
            consumers = [c for each in self.channels.values() for c in each.consumers.values()]
            queues = list({id(c.queue): c.queue for c in consumers if c.queue is not None}.values())
            # Each time another queue is the first: its messages may fill the output.
            self._turn = (self._turn + 1) % max(1, len(queues))
            for queue in queues[self._turn :] + queues[: self._turn]:
                queue.dispatch()

    @property
    def reading_paused(self) -> bool:
        """Whether nothing should be read from the client now.

        Either publishers are blocked, or the client does not read the answers to its methods, or
        what was read last is too much for one turn.
        """
        return self.blocked or self.has_more or self._answers > self._most_unread

    def confirm_later(self, flush: Callable[[], None]) -> None:
        """Call *flush* when the present input has been handled."""
        self._confirms.append(flush)

    def block(self, reason: str | None) -> None:
        """Ask the client to stop publishing, for *reason*; None: tell it to go on."""
        if self.stage is not Stage.OPEN:
            return
        self.blocked = reason is not None
        if not self.capability("connection.blocked"):
            self._on_output()
        elif reason is not None:
            self.write(encode(0, "connection.blocked", reason=reason))
        else:
            self.write(encode(0, "connection.unblocked"))

    # --- input

    def feed(self, data: bytes) -> None:
        """Handle bytes from the client."""
        if data:
            self._has_received = True
        if self.is_closed:
            return
        self.has_more = False
        try:
            if self.stage is Stage.GREETING:
                data = self._greet(data)
            interceptor, now = self.interceptor, self.host.timers.now
            until, was_blocked = now() + LONGEST_TURN, self.blocked
            with closing(self._parser.feed(data, single=interceptor is not None)) as frames:
                for frame in frames:
                    if self.stage is Stage.CLOSED:
                        return
                    if interceptor is None:
                        self._frame(*frame)
                    else:
                        interceptor.incoming(partial(self._frame, *frame))
                    if (
                        now() > until
                        or self.blocked is not was_blocked
                        or self._answers > self._most_unread
                    ):
                        self.has_more = True  # a pipeline may cause any amount of work
                        self._on_output()
                        break
        except SyntaxFault as exc:
            self._fail(exc)
            self.close()  # the start of the next frame is unknown
        finally:
            self._hold_rest()
            confirms, self._confirms = self._confirms, []
            for flush in confirms:
                flush()

    def hold(self, change: int) -> None:
        """Charge *change* bytes that no queue has, but this connection."""
        self.held += change
        self.host.hold(self, change)

    @property
    def greed(self) -> int:
        """Bytes that the connection holds besides one message that it is sending."""
        return self.held - min(self._contents.charged, self._message_max)

    def _hold_rest(self) -> None:
        """Charge the bytes that have arrived of a frame, and of frames that wait."""
        if self.is_closed:
            self._parser.rest = b""
        change = len(self._parser.rest) - self._held_rest
        if change:
            self._held_rest += change
            self.hold(change)

    def _frame(self, frame_type: int, number: int, payload: Any) -> None:
        call = None
        try:
            if frame_type == WHOLE_PUBLISH:
                self._whole_publish(number, payload)
            elif frame_type == METHOD:
                call = decode(payload)
                if number and self.stage is Stage.OPEN:
                    self._channel_method(number, call)
                else:
                    self._connection_method(number, call)
            elif frame_type != HEARTBEAT:
                self._content(frame_type, number, payload)
            elif number or payload:
                raise ConnectionFault(505 if number else 501, "this is no heartbeat")
        except Fault as exc:
            if call is not None and not any(exc.method):
                exc.method = call.method.ids
            if isinstance(exc, ChannelFault):
                self._end_channel(number)
                self.write(encode(number, "channel.close", **exc.close_arguments))
            else:
                self._fail(exc)

    # --- channels

    def _channel_method(self, number: int, call: MethodCall) -> None:
        name, channel = call.method.name, self.channels.get(number)
        if number in self._contents:
            self._contents.refuse_method(number)
        elif channel is None or name == "channel.open":
            self._open_channel(number, channel, name)
        elif channel.closing and name != "channel.close":
            if name == "channel.close_ok":
                self.channels.pop(number).forget()
        elif name == "basic.publish":
            self._contents.start(number, call)
        elif name == "channel.close":
            if not channel.closing:  # else it has crossed the broker's channel.close
                self._end_channel(number)
                self.channels.pop(number).forget()
            self.write(encode(number, "channel.close_ok"))
        elif name in CHANNEL_METHODS:
            CHANNEL_METHODS[name](channel, call)
        else:
            raise ConnectionFault(503, "unimplemented method")

    def _open_channel(self, number: int, channel: ClientChannel | None, method: str) -> None:
        assert self.vhost is not None, "channels are opened in stage OPEN only"
        if method != "channel.open":
            raise ConnectionFault(504, "expected 'channel.open'")
        if channel is not None:
            raise ConnectionFault(504, "second 'channel.open' seen")
        if len(self.channels) >= self._channel_max:
            text = f"number of channels opened ({len(self.channels)}) has reached the negotiated "
            raise ConnectionFault(530, f"{text}channel_max ({self._channel_max})")
        channel = ClientChannel(self, number, self.vhost)
        channel.open()
        self.channels[number] = channel
        self.write(encode(number, "channel.open_ok"))

    def _end_channel(self, number: int) -> None:
        """Confirm what the channel has published, and return its messages to their queues."""
        self._contents.discard(number)
        channel = self.channels[number]
        channel.flush_confirms()
        channel.close()

    # --- publishes

    def _whole_publish(self, number: int, publish: Publish) -> None:
        channel = self.channels.get(number)
        method, header, body = publish
        if (
            channel is None
            or channel.closing
            or number in self._contents
            or len(body) > self._message_max
        ):
            # Either a mistake, or the channel is closing and ignores its input.
            for frame in single_frames(number, publish):
                if self.stage is not Stage.CLOSED:
                    self._frame(*frame)
        else:
            self._publish(channel, decode_publish(method), header, body)

    def _content(self, frame_type: int, number: int, payload: bytes) -> None:
        """Handle a header or body frame."""
        channel = self.channels.get(number)
        if self.stage is Stage.CLOSING or (channel is not None and channel.closing):
            return
        content = self._contents.add(number, frame_type, payload)
        if content is not None and channel is not None:
            self._publish(channel, content.call, content.header or b"", content.body)

    def _publish(
        self, channel: ClientChannel, call: MethodCall, header: bytes, body: bytes
    ) -> None:
        self.publishes += 1
        if self.publishes == 1 and self.host.alarm is not None:
            self.block(self.host.alarm)
        try:
            channel.publish(call, header, body)
        except Fault as exc:
            exc.method = call.method.ids
            raise

    # --- the end

    def stop(self, code: int, text: str) -> None:
        """Close the connection for the broker's own reasons; does not wait for the client."""
        if self.stage is Stage.OPEN:
            self._fail(ConnectionFault(code, text))
        else:
            self.close()

    def close(self) -> None:
        """End the connection at once; its messages return to their queues.

        The socket is to be closed when the output has been sent.
        """
        if self.stage is not Stage.CLOSED:
            self._release()
            self._advance(StageEvent.ENDED)
            self._cancel_timers()
            self._hold_rest()
            self.host.remove(self)
            self._on_output()

    def _release(self) -> None:
        """Close all channels, and delete the queues that are exclusive to this connection.

        A bug in one of these steps does not keep the others from being taken.
        """
        # Messages that return to their queues must not be delivered here again.
        self.pause()
        vhost, channels = self.vhost, list(self.channels)
        if vhost is None:
            return
        consumers = [each for n in channels for each in self.channels[n].take_consumers()]
        self._attempt(partial(vhost.remove_consumers, consumers))
        for number in channels:
            self._attempt(partial(self._end_channel, number))
            self.channels.pop(number).forget()
        self._attempt(partial(vhost.remove_owned, self))
        self.blocked = False  # not before: messages that have returned may raise an alarm

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as exc:  # a bug in the broker
            sort = counted(*place_of(exc))
            logger.exception("%r met a bug in the broker at its end.", self, extra=sort)
