"""One client's connection: handshake, channels, heartbeats, its end.  Bytes in, bytes out."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from postage._version import __version__
from postage.broker.fastpath.fast_publish import Express
from postage.broker.session.assembly import ContentAssembler, PartialContent
from postage.broker.session.auth import MECHANISMS, credentials
from postage.broker.session.client_channel import ClientChannel
from postage.broker.session.heartbeats import Heartbeats
from postage.broker.session.publisher import Publisher
from postage.broker.wire import framing
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault, SyntaxFault
from postage.broker.wire.framing import FrameParser
from postage.broker.wire.methods import MethodCall, decode, encode

if TYPE_CHECKING:
    from postage.broker.core.vhost import VHost
    from postage.broker.faults import FrameInterceptor
    from postage.broker.session.node import Node

__all__ = ["ClientConnection", "Stage"]

logger = logging.getLogger(__name__)

LEAST_FRAME_MAX = 4096
BURST = 1 << 18
"""Bytes written at once after which deliveries wait for others to have their turn."""
LONGEST_TEXT = 255
"""Bytes of a reply text."""


class Stage(enum.Enum):
    """How far a connection has come; the values are RabbitMQ's words for it."""

    GREETING = "handshake"
    STARTING = "starting"
    TUNING = "tuning"
    OPENING = "opening"
    OPEN = "running"
    CLOSING = "closing"
    CLOSED = "closed"


# What a client may call on channel 0 at each stage, and who takes it.
_STEPS: dict[Stage, dict[str, str]] = {
    Stage.STARTING: {"connection.start_ok": "_on_start_ok"},
    Stage.TUNING: {"connection.tune_ok": "_on_tune_ok"},
    Stage.OPENING: {"connection.open": "_on_open"},
    Stage.OPEN: {"connection.update_secret": "_on_update_secret"},
    Stage.CLOSING: {"connection.close_ok": "_on_close_ok"},
}


class ClientConnection:
    """The broker's side of one connection.

    `feed` takes what the client sent; what is to be sent to it is in `take_output`, and *on_output*
    is called when there is some.  Nothing that a client sends makes `feed` raise.
    """

    def __init__(
        self, node: Node, id_: int, on_output: Callable[[], object], *, loopback: bool = True
    ) -> None:
        self.node, self.id = node, id_
        self.stage = Stage.GREETING
        self.user = ""
        self.frame_max = node.limits.frame_max
        self.vhost: VHost
        self.client_properties: dict[str, Any] = {}
        self.channels: dict[int, ClientChannel] = {}
        self.paused = False
        """True while much is unsent: deliveries wait, see `resume`."""
        self.publishes = self.deliveries = 0
        self.blocked = False
        self.sent = self.received = False
        """Whether anything was since `Heartbeats` last looked."""
        self.interceptor: FrameInterceptor | None = None
        """What meddles with the frames, for tests; see `postage.broker.faults`."""
        self._parser = FrameParser(node.limits.frame_max)
        self._contents = ContentAssembler(node.limits, node.account)
        self.express = Express(self, self._contents)
        self._to_confirm: list[Publisher] = []
        self._output: list[bytes] = []
        self._unsent = self._answers = self._turn = 0
        self._on_output = on_output
        self._loopback = loopback
        self._channel_max = node.limits.channels
        self._greeting = b""
        self._deadline = node.timers.later(node.limits.handshake, self.drop)

    def __repr__(self) -> str:
        return f"<ClientConnection {self.id} of {self.user!r}, {self.stage.name.lower()}>"

    @property
    def name(self) -> str:
        """What the client calls itself, or the empty string."""
        return str(self.client_properties.get("connection_name", ""))

    def capability(self, name: str) -> bool:
        """Tell whether the client has said that it can do *name*."""
        capabilities = self.client_properties.get("capabilities")
        return isinstance(capabilities, dict) and bool(capabilities.get(name))

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more and nothing goes."""
        return self.stage is Stage.CLOSED

    # --- output

    def write(self, data: bytes) -> None:
        """Have *data* sent."""
        self.sent = True
        size = len(data)
        self._unsent += size
        if self.paused:
            self._answers += size
        elif self._unsent > BURST:
            self.paused = True
        self._output.append(data)
        if len(self._output) == 1:
            self._on_output()

    def take_output(self) -> bytes:
        """Return what is to be sent, and forget it."""
        data = b"".join(self._output)
        self._output.clear()
        self._unsent = 0
        return data if self.interceptor is None else self.interceptor.outgoing(data)

    def resume(self) -> None:
        """All output is sent: go on with the deliveries that waited for that."""
        self._answers = 0
        if self.paused and self.stage is Stage.OPEN:
            self.paused = False
            self._serve_queues()

    def _serve_queues(self) -> None:
        """Serve the queues that this connection consumes from, each time another one first."""
        consumers = (c for channel in self.channels.values() for c in channel.consumers.values())
        queues = list({id(c.queue): c.queue for c in consumers if c.queue is not None}.values())
        self._turn = (self._turn + 1) % max(1, len(queues))
        for queue in queues[self._turn :] + queues[: self._turn]:
            queue.dispatch()

    @property
    def is_held_back(self) -> bool:
        """Whether nothing should be read from the client now.

        Either publishers are blocked, or it asks and asks and does not read the answers.
        """
        return self.blocked or self._answers > self.node.limits.unsent

    def confirm_later(self, publisher: Publisher) -> None:
        """Have *publisher* confirm when the present input is done."""
        if publisher not in self._to_confirm:
            self._to_confirm.append(publisher)

    def block(self, reason: str | None) -> None:
        """Tell the client that publishers wait (a *reason*), or no more (None)."""
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
        """Take bytes from the client."""
        self.received = True
        if self.has_ended:
            return
        try:
            if self.stage is Stage.GREETING:
                data = self._greet(data)
            for kind, channel, payload in self._parser.feed(data, self.express.skip):
                if self.stage is Stage.CLOSED:
                    return
                if self.interceptor is None:
                    self._frame(kind, channel, payload)
                else:
                    self.interceptor.incoming(kind, channel, payload, self._frame)
        except SyntaxFault as exc:
            self._fail(exc)
            self.drop()  # the stream itself cannot be followed any more
        finally:
            self._flush_confirms()

    def _flush_confirms(self) -> None:
        publishers, self._to_confirm = self._to_confirm, []
        for publisher in publishers:
            publisher.flush_confirms()

    def _greet(self, data: bytes) -> bytes:
        """Take the protocol header; return what follows it."""
        self._greeting += data
        known = framing.PROTOCOL
        if not known.startswith(self._greeting[: len(known)]):
            self.write(known)
            self.drop()
            return b""
        if len(self._greeting) < len(known):
            return b""
        self.stage = Stage.STARTING
        self.write(
            encode(
                0,
                "connection.start",
                version_major=0,
                version_minor=9,
                server_properties=_PROPERTIES,
                mechanisms=MECHANISMS,
                locales="en_US",
            )
        )
        return self._greeting[len(known) :]

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        try:
            if kind == framing.METHOD:
                self._method(channel, decode(payload))
            elif kind != framing.HEARTBEAT:
                self._content(kind, channel, payload)
            else:
                _check_heartbeat(channel, payload)
        except ChannelFault as exc:
            self._fail_channel(channel, exc)
        except ConnectionFault as exc:
            self._fail(exc)

    def _method(self, channel: int, call: MethodCall) -> None:
        try:
            if channel == 0:
                self._step(call)
            elif self.stage is Stage.OPEN:
                self._channel_method(channel, call)
            elif self.stage is not Stage.CLOSING:
                text = f"{call.method.name} in connection state {self.stage.value}"
                raise ConnectionFault(505, text)
        except Fault as exc:
            exc.method = exc.method if any(exc.method) else call.method.ids
            raise

    def _step(self, call: MethodCall) -> None:
        name = call.method.name
        if name == "connection.close":
            self._release()
            self.write(encode(0, "connection.close_ok"))
            self.drop()
            return
        step = _STEPS.get(self.stage, {}).get(name)
        if step is not None:
            getattr(self, step)(call)
        elif self.stage is not Stage.CLOSING:
            text = f"unexpected method in connection state {self.stage.value}"
            raise ConnectionFault(504, text)

    # --- handshake

    def _on_start_ok(self, call: MethodCall) -> None:
        self.client_properties = call.client_properties
        user, password = credentials(call.mechanism, call.response)
        if not self.node.admits(user, password, loopback=self._loopback):
            logger.info("A login as %r was refused.", user)
            text = (
                f"Login was refused using authentication mechanism {call.mechanism}. "
                f"For details see the broker logfile."
            )
            if self.capability("authentication_failure_close"):
                raise ConnectionFault(403, text)
            self.drop()
            return
        self.user = user
        self.stage = Stage.TUNING
        limits = self.node.limits
        self.write(
            encode(
                0,
                "connection.tune",
                channel_max=limits.channels,
                frame_max=limits.frame_max,
                heartbeat=limits.heartbeat,
            )
        )

    def _on_tune_ok(self, call: MethodCall) -> None:
        limits = self.node.limits
        if call.frame_max > limits.frame_max:
            raise ConnectionFault(
                530,
                f"negotiated frame_max = {call.frame_max} is higher than the maximum allowed value "
                f"({limits.frame_max})",
            )
        if 0 < call.frame_max < LEAST_FRAME_MAX:
            raise ConnectionFault(
                530,
                f"negotiated frame_max = {call.frame_max} is lower than the minimum allowed value "
                f"({LEAST_FRAME_MAX})",
            )
        self.frame_max = self._parser.frame_max = call.frame_max or limits.frame_max
        self._channel_max = min(call.channel_max or limits.channels, limits.channels)
        self.stage = Stage.OPENING
        if call.heartbeat:
            Heartbeats(self, call.heartbeat)

    def _on_open(self, call: MethodCall) -> None:
        if len(self.node.connections) > self.node.limits.connections:
            limit = self.node.limits.connections
            text = f"connection refused: node connection limit ({limit}) is reached"
            raise ConnectionFault(530, text)
        vhost = self.node.vhosts.get(call.virtual_host)
        if vhost is None:
            raise ConnectionFault(530, f"vhost {call.virtual_host} not found")
        self.vhost = vhost
        self.stage = Stage.OPEN
        self._deadline.cancel()
        self.write(encode(0, "connection.open_ok"))

    def _on_update_secret(self, call: MethodCall) -> None:  # noqa: ARG002
        self.write(encode(0, "connection.update_secret_ok"))

    def _on_close_ok(self, call: MethodCall) -> None:  # noqa: ARG002
        self.drop()

    # --- channels

    def _channel_method(self, number: int, call: MethodCall) -> None:
        name, channel = call.method.name, self.channels.get(number)
        if number in self._contents:
            self._contents.refuse_method(number)
        elif name == "channel.open":
            self._open_channel(number, channel)
        elif channel is None:
            raise ConnectionFault(504, "expected 'channel.open'")
        elif channel.closing:
            self._closing_method(number, name)
        elif name == "basic.publish":
            self._contents.begin(number, call)
        elif name == "channel.close":
            self._end_channel(number)
            self.write(encode(number, "channel.close_ok"))
        else:
            channel.handle(call)

    def _closing_method(self, number: int, name: str) -> None:
        """All is ignored but the end, and the client's own close which crossed ours (RabbitMQ)."""
        if name == "channel.close":
            self.write(encode(number, "channel.close_ok"))
        elif name == "channel.close_ok":
            del self.channels[number]

    def _open_channel(self, number: int, channel: ClientChannel | None) -> None:
        if channel is not None:
            raise ConnectionFault(504, "second 'channel.open' seen")
        if len(self.channels) >= self._channel_max:
            raise ConnectionFault(
                530,
                f"number of channels opened ({len(self.channels)}) has reached the negotiated "
                f"channel_max ({self._channel_max})",
            )
        self.channels[number] = ClientChannel(self, number)
        self.write(encode(number, "channel.open_ok"))

    def _end_channel(self, number: int) -> None:
        self._contents.forget(number)
        channel = self.channels.pop(number)
        channel.publisher.flush_confirms()
        channel.close()

    def _fail_channel(self, number: int, fault: Fault) -> None:
        channel = self.channels[number]
        channel.publisher.flush_confirms()
        self._contents.forget(number)
        channel.close()
        self.write(encode(number, "channel.close", **_close_arguments(fault)))

    def _content(self, kind: int, number: int, payload: bytes) -> None:
        """Take a header or body frame."""
        channel = self.channels.get(number)
        if self.stage is Stage.CLOSING or (channel is not None and channel.closing):
            return
        content = self._contents.add(number, kind, payload)
        if content is not None and channel is not None:
            self._note_publisher()
            self._publish(channel, content)

    def _publish(self, channel: ClientChannel, content: PartialContent) -> None:
        try:
            channel.publisher.publish(content.call, content.header or b"", content.body)
        except Fault as exc:
            exc.method = content.call.method.ids
            raise

    def _note_publisher(self) -> None:
        self.publishes += 1
        if self.publishes == 1 and self.node.alarm is not None:
            self.block(self.node.alarm)

    # --- the end

    def _fail(self, fault: Fault) -> None:
        """Close the connection over *fault*; wait for the client to confirm it."""
        if self.stage in (Stage.CLOSING, Stage.CLOSED):
            return
        logger.info("%r is closed: %a", self, str(fault))
        self._release()
        self.stage = Stage.CLOSING
        self.write(encode(0, "connection.close", **_close_arguments(fault)))
        self._deadline.cancel()
        self._deadline = self.node.timers.later(self.node.limits.handshake, self.drop)

    def shut_down(self, code: int, text: str) -> None:
        """Close the connection on the broker's own account."""
        if self.stage is Stage.OPEN:
            self._fail(ConnectionFault(code, text))
        else:
            self.drop()

    def drop(self) -> None:
        """End at once: what the client holds goes back; the socket is to be closed after output."""
        if self.stage is not Stage.CLOSED:
            self._release()
            self.stage = Stage.CLOSED
            self._deadline.cancel()
            self.node.forget(self)
            self._on_output()

    def _release(self) -> None:
        self.paused, self.blocked = True, False  # what goes back is not to come here again
        for number in list(self.channels):
            self._end_channel(number)
        vhost = getattr(self, "vhost", None)
        if vhost is not None:
            for queue in [q for q in vhost.queues.values() if q.owner is self]:
                vhost.remove_queue(queue)


def _check_heartbeat(channel: int, payload: bytes) -> None:
    if channel or payload:
        raise ConnectionFault(505 if channel else 501, "this is no heartbeat")


def _close_arguments(fault: Fault) -> dict[str, Any]:
    class_id, method_id = fault.method
    text = str(fault).encode("utf-8", "surrogateescape")
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 3] + b"..."
    return {
        "reply_code": fault.code,
        "reply_text": text,
        "class_id": class_id,
        "method_id": method_id,
    }


_PROPERTIES: dict[str, Any] = {
    "product": "postage-embedded",
    "version": __version__,
    "platform": "Python",
    "information": "For development and tests: nothing survives its end.",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    },
}
