"""A client of the broker's `ClientConnection` that sends and receives frames, without sockets."""

from __future__ import annotations

import struct
from typing import Any

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.framing import PROTOCOL, FrameParser
from postage.broker.wire.methods import MethodCall, decode, encode
from postage.protocol import BODY, HEADER, HEARTBEAT, METHOD

__all__ = [
    "ALL_CAPABILITIES",
    "HANDSHAKE",
    "FrameClient",
    "body",
    "closed_with",
    "frame",
    "header",
    "names_of",
    "new_node",
]

ALL_CAPABILITIES = {
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
    "connection.blocked": True,
}
"""The capabilities of a current client."""
HEADER_OF_NONE = b"\x00\x00"
"""The flags of a message without properties."""


def new_node(**limits: Any) -> Node:
    """Return a broker without sockets, whose clock stands still; *limits* are those of `Limits`."""
    return Node(ManualTimers(), Limits(**limits))


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """Return a frame, valid or not."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def header(channel: int, size: int, class_id: int = 60, weight: int = 0) -> bytes:
    """Return a content header without properties."""
    return frame(HEADER, channel, struct.pack(">HHQ", class_id, weight, size) + HEADER_OF_NONE)


def body(channel: int, data: bytes) -> bytes:
    """Return a body frame."""
    return frame(BODY, channel, data)


def names_of(calls: list[MethodCall]) -> list[str]:
    """Return the names of the methods in *calls*."""
    return [call.method.name for call in calls]


class FrameClient:
    """One connection; `receive` returns the methods that have arrived since the last time."""

    def __init__(self, node: Node, address: str = "127.0.0.1") -> None:
        self.node = node
        self.outputs = 0
        self.connection = node.open_connection(
            self._on_output, address=address, loopback=address == "127.0.0.1"
        )
        self._parser = FrameParser(1 << 20)
        self.bodies: list[bytes] = []
        self.heartbeats = 0

    def _on_output(self) -> None:
        self.outputs += 1

    @property
    def stage(self) -> Stage:
        return self.connection.stage

    # --- sending

    def send(self, *data: bytes) -> None:
        self.connection.feed(b"".join(data))

    def send_method(self, name: str, channel: int = 0, **arguments: Any) -> None:
        if name == "queue.declare":  # RabbitMQ 4 denies queues that are transient and shared
            arguments.setdefault("durable", not arguments.get("exclusive"))
        self.send(encode(channel, name, **arguments))

    def publish(self, key: str, data: bytes = b"m", channel: int = 1, **flags: Any) -> None:
        """Send a message to a queue."""
        call = encode(channel, "basic.publish", routing_key=key, **flags)
        room = self.connection.frame_max - 8
        parts = [body(channel, data[at : at + room]) for at in range(0, len(data), room)]
        self.send(call, header(channel, len(data)), *parts)

    # --- receiving

    def receive(self) -> list[MethodCall]:
        """Return the methods that have arrived; bodies and heartbeats are kept in attributes."""
        found = []
        for kind, _channel, payload in self._parser.feed(self.connection.take_output()):
            if kind == METHOD:
                found.append(decode(payload))
            elif kind == BODY:
                self.bodies.append(payload)
            elif kind == HEARTBEAT:
                self.heartbeats += 1
        return found

    def call(self, name: str, channel: int = 0, **arguments: Any) -> MethodCall:
        """Send a method and return the only answer."""
        self.send_method(name, channel, **arguments)
        (answer,) = self.receive()
        return answer

    # --- opening the connection

    def start(self) -> MethodCall:
        """Send the protocol header; return connection.start."""
        self.send(PROTOCOL)
        (start,) = self.receive()
        return start

    def log_in(
        self,
        response: bytes = b"\0guest\0guest",
        mechanism: str = "PLAIN",
        capabilities: dict[str, bool] | None = None,
    ) -> list[MethodCall]:
        """Send connection.start_ok; return the answers."""
        self.log_in_by(response, mechanism, capabilities)
        return self.receive()

    def log_in_by(
        self,
        response: bytes,
        mechanism: str = "PLAIN",
        capabilities: dict[str, bool] | None = None,
    ) -> None:
        """Send connection.start_ok."""
        properties = {"capabilities": ALL_CAPABILITIES if capabilities is None else capabilities}
        self.send_method(
            "connection.start_ok",
            client_properties=properties,
            mechanism=mechanism,
            response=response,
            locale="en_US",
        )

    def tune(
        self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0
    ) -> list[MethodCall]:
        """Send connection.tune_ok; return the answers."""
        self.send_method(
            "connection.tune_ok", channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat
        )
        return self.receive()

    def open(
        self, *channels: int, capabilities: dict[str, bool] | None = None, **tuning: int
    ) -> FrameClient:
        """Open the connection and these channels."""
        self.start()
        self.log_in(capabilities=capabilities)
        self.tune(**tuning)
        assert self.call("connection.open", virtual_host="/").method.name == "connection.open_ok"
        for channel in channels:
            assert self.call("channel.open", channel).method.name == "channel.open_ok"
        return self


HANDSHAKE: list[Any] = [
    lambda new_client: new_client.start(),
    lambda new_client: new_client.log_in(),
    lambda new_client: new_client.tune(),
    lambda new_client: new_client.send_method("connection.open", virtual_host="/"),
]
"""The steps of the handshake, for a new connection."""


def closed_with(new_client: FrameClient, code: int, text: str = "") -> MethodCall:
    """Assert that the last answer is connection.close with *code*, and return it."""
    last = new_client.receive()[-1]
    assert (last.method.name, last.reply_code) == ("connection.close", code), last
    assert text.encode() in last.reply_text.encode()
    assert new_client.stage in (Stage.CLOSING, Stage.CLOSED)
    assert not new_client.connection.channels
    return last
