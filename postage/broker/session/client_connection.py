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
from postage.broker.core.vhost import VHost
from postage.broker.session import handshake
from postage.broker.session.assembly import ContentAssembler
from postage.broker.session.client_channel import CHANNEL_METHODS, ClientChannel
from postage.broker.session.client_output import BURST, ClientOutput
from postage.broker.session.handshake import Stage, StageEvent
from postage.broker.session.host import Host
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault, SyntaxFault
from postage.broker.wire.framing import (
    PROTOCOL,
    WHOLE_PUBLISH,
    FrameParser,
    Publish,
    single_frames,
)
from postage.broker.wire.methods import MethodCall, decode, decode_publish, encode
from postage.log_records import counted, logger_of, place_of
from postage.protocol import HEARTBEAT, HEARTBEAT_FRAME, METHOD

__all__ = ["ClientConnection"]

logger = logger_of(__name__)

LONGEST_NAME = 255
"""Characters that are kept of the name of a connection."""

CAPABILITIES = ("consumer_cancel_notify", "connection.blocked", "authentication_failure_close")
"""The capabilities of clients that the broker acts on."""

MOST_SILENT = 4
"""Half heartbeat intervals of silence after which a client is considered dead (4.2.7)."""

_METHODS = {
    (Stage.STARTING, "connection.start_ok"): "_on_start_ok",
    (Stage.TUNING, "connection.tune_ok"): "_on_tune_ok",
    (Stage.OPENING, "connection.open"): "_on_open",
    (Stage.OPEN, "connection.update_secret"): "_on_update_secret",
    (Stage.CLOSING, "connection.close_ok"): "_on_close_ok",
}
"""Handlers of the methods that a client may call on channel 0, besides connection.close."""


class ClientConnection(ClientOutput):
    """The broker's side of one connection.

    *on_output* is called when there is output to send, when the connection has ended, and when
    reading may go on.
    """

    def __init__(
        self, host: Host, id_: int, on_output: Callable[[], object], *, loopback: bool = True
    ) -> None:
        super().__init__(on_output, host.limits.unsent)
        self.host, self.id = host, id_
        self.stage = Stage.GREETING
        self.user = ""
        self.vhost: VHost | None = None
        """The virtual host; None before connection.open."""
        self.frame_max = host.limits.frame_max
        self.name = ""
        """The name that the client has given itself, or the empty string."""
        self._capabilities: frozenset[str] = frozenset()
        self.channels: dict[int, ClientChannel] = {}
        self.publishes = self.deliveries = 0
        self.held = 0
        """Bytes that are in the account of the broker because of this connection, and no queue."""
        self.has_more = False
        """Whether `feed` has stopped early, to go on after `resume`: the client does not read."""
        self._has_received = False
        """Whether anything was received since `_check_heartbeats` last ran."""
        self._held_rest = 0
        self._parser = FrameParser(host.limits.frame_max)
        self._contents = ContentAssembler(host.limits, self.hold)
        self._turn = 0
        self._loopback, self._channel_max = loopback, host.limits.channels
        self._message_max = host.limits.message_max
        self._greeting = b""
        self._deadline = host.timers.later(host.limits.handshake, self.close)
        self._heartbeat = self._deadline  # until it is negotiated

    def __repr__(self) -> str:
        return f"<ClientConnection {self.id} of {self.user!r}, {self.stage.name.lower()}>"

    def capability(self, name: str) -> bool:
        """Tell whether the client has announced that it supports *name*."""
        return name in self._capabilities

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

        Either publishers are blocked, or the client does not read the answers to its methods.
        """
        return self.blocked or self._answers > self._most_unread

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
            interceptor = self.interceptor
            with closing(self._parser.feed(data, single=interceptor is not None)) as frames:
                for frame in frames:
                    if self.stage is Stage.CLOSED:
                        return
                    if interceptor is None:
                        self._frame(*frame)
                    else:
                        interceptor.incoming(partial(self._frame, *frame))
                    if self._answers > self._most_unread:
                        self.has_more = True  # a pipeline may cause any number of answers
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

    def _greet(self, data: bytes) -> bytes:
        """Handle the protocol header; return what follows it."""
        self._greeting += data
        if not PROTOCOL.startswith(self._greeting[: len(PROTOCOL)]):
            self.write(PROTOCOL)
            self.close()
            return b""
        if len(self._greeting) < len(PROTOCOL):
            return b""
        self._advance(StageEvent.GREETED)
        self.write(handshake.start())
        return self._greeting[len(PROTOCOL) :]

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

    def _connection_method(self, number: int, call: MethodCall) -> None:
        """Carry out a method on channel 0, or one on a channel before the connection is open."""
        name, state = call.method.name, f"connection state {self.stage.value}"
        handler = _METHODS.get((self.stage, name))
        if number and self.stage is not Stage.CLOSING:
            raise ConnectionFault(505, f"{name} in {state}")
        if not number and name == "connection.close":
            self._release()
            self.write(encode(0, "connection.close_ok"))
            self.close()
        elif not number and handler is not None:
            getattr(self, handler)(call)
        elif self.stage is not Stage.CLOSING:
            raise ConnectionFault(504, f"unexpected method in {state}")

    def _advance(self, event: StageEvent) -> None:
        self.stage = handshake.next_stage(self.stage, event)

    # --- handshake

    def _on_start_ok(self, call: MethodCall) -> None:
        # What the broker does not use is not kept: the client has not logged in yet.
        self.name = str(call.client_properties.get("connection_name", ""))[:LONGEST_NAME]
        announced = call.client_properties.get("capabilities")
        if isinstance(announced, dict):
            self._capabilities = frozenset(each for each in CAPABILITIES if announced.get(each))
        user, password = handshake.credentials(call.mechanism, call.response)
        if self.host.admits(user, password, loopback=self._loopback):
            self.user = user
            self._advance(StageEvent.LOGGED_IN)
            self.write(handshake.tune(self.host.limits))
            return
        logger.info("A login as %r was refused.", user, extra=counted())
        if self.capability("authentication_failure_close"):
            text = f"Login was refused using authentication mechanism {call.mechanism}. "
            raise ConnectionFault(403, text + "For details see the broker logfile.")
        self.close()

    def _on_tune_ok(self, call: MethodCall) -> None:
        tuning = handshake.negotiate(call, self.host.limits)
        self.frame_max = self._parser.frame_max = tuning.frame_max
        self._channel_max = tuning.channel_max
        self._advance(StageEvent.TUNED)
        if tuning.heartbeat:
            half = tuning.heartbeat / 2
            check = partial(self._check_heartbeats, half, silent=0)
            self._heartbeat = self.host.timers.later(half, check)

    def _on_open(self, call: MethodCall) -> None:
        if self.host.is_crowded:
            limit = self.host.limits.connections
            text = f"connection refused: node connection limit ({limit}) is reached"
            raise ConnectionFault(530, text)
        vhost = self.host.vhosts.get(call.virtual_host)
        if vhost is None:
            raise ConnectionFault(530, f"vhost {call.virtual_host} not found")
        self.vhost = vhost
        self._advance(StageEvent.OPENED)
        self._deadline.cancel()
        self.write(encode(0, "connection.open_ok"))

    def _on_update_secret(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self.write(encode(0, "connection.update_secret_ok"))

    def _on_close_ok(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self.close()

    # --- heartbeats

    def _check_heartbeats(self, seconds: float, silent: int) -> None:
        """Send a heartbeat if nothing else was sent in the last *seconds*, half an interval.

        Ends the connection of a client that has been *silent* for `MOST_SILENT` half intervals.
        """
        if self.is_closed:
            return
        if not self._has_sent:
            self.write(HEARTBEAT_FRAME)
        # While the owner does not read, the broker cannot hear the client.
        silent = 0 if self._has_received or self.reading_paused else silent + 1
        self._has_sent = self._has_received = False
        if silent < MOST_SILENT:
            check = partial(self._check_heartbeats, seconds, silent)
            self._heartbeat = self.host.timers.later(seconds, check)
        else:
            logger.info("%r missed its heartbeats.", self, extra=counted())
            self.close()

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

    def _fail(self, fault: Fault) -> None:
        """Close the connection because of *fault*, and wait until the client confirms that."""
        if self.stage in (Stage.CLOSING, Stage.CLOSED):
            return
        logger.info("%r is closed: %s", self, fault, extra=counted(fault.code))
        self._release()
        self._advance(StageEvent.FAILED)
        self.write(encode(0, "connection.close", **fault.close_arguments))
        self._deadline.cancel()
        self._deadline = self.host.timers.later(self.host.limits.handshake, self.close)

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
            self._deadline.cancel()
            self._heartbeat.cancel()  # which would keep this connection in memory
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
