"""A client of a `ClientConnection`, down to its bytes: no sockets, and time by hand."""

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
    "EVERYTHING",
    "STEPS",
    "Talk",
    "answered",
    "body",
    "closed_with",
    "frame",
    "header",
    "new_node",
]

EVERYTHING = {
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
    "connection.blocked": True,
}
"""What a modern client can do."""
HEADER_OF_NONE = b"\x00\x00"
"""The flags of a message without properties."""


def new_node(**limits: Any) -> Node:
    """Return a broker without sockets, whose clock stands still."""
    return Node(ManualTimers(), Limits(**limits))


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """Return a frame, right or wrong."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def header(channel: int, size: int, class_id: int = 60, weight: int = 0) -> bytes:
    """Return a content header without properties."""
    return frame(HEADER, channel, struct.pack(">HHQ", class_id, weight, size) + HEADER_OF_NONE)


def body(channel: int, data: bytes) -> bytes:
    """Return a body frame."""
    return frame(BODY, channel, data)


def answered(calls: list[MethodCall]) -> list[str]:
    """Return the names of methods."""
    return [call.method.name for call in calls]


class Talk:
    """One connection; `say` sends a method, `hear` returns those that came since."""

    def __init__(self, node: Node, *, loopback: bool = True) -> None:
        self.node = node
        self.outputs = 0
        self.connection = node.open_connection(self._on_output, loopback=loopback)
        self._parser = FrameParser(1 << 20)
        self.bodies: list[bytes] = []
        self.heartbeats = 0

    def _on_output(self) -> None:
        self.outputs += 1

    @property
    def stage(self) -> Stage:
        return self.connection.stage

    # --- out

    def send(self, *data: bytes) -> None:
        self.connection.feed(b"".join(data))

    def say(self, name: str, channel: int = 0, **arguments: Any) -> None:
        self.send(encode(channel, name, **arguments))

    def publish(self, key: str, data: bytes = b"m", channel: int = 1, **flags: Any) -> None:
        """Send a message to a queue."""
        call = encode(channel, "basic.publish", routing_key=key, **flags)
        room = self.connection.frame_max - 8
        parts = [body(channel, data[at : at + room]) for at in range(0, len(data), room)]
        self.send(call, header(channel, len(data)), *parts)

    # --- in

    def hear(self) -> list[MethodCall]:
        """Return the methods that came; bodies and heartbeats are kept apart."""
        found = []
        for kind, _channel, payload in self._parser.feed(self.connection.take_output()):
            if kind == METHOD:
                found.append(decode(payload))
            elif kind == BODY:
                self.bodies.append(payload)
            elif kind == HEARTBEAT:
                self.heartbeats += 1
        return found

    def ask(self, name: str, channel: int = 0, **arguments: Any) -> MethodCall:
        """Send a method and return the only one that comes back."""
        self.say(name, channel, **arguments)
        (answer,) = self.hear()
        return answer

    # --- a connection from its beginning

    def greet(self) -> MethodCall:
        """Send the protocol header; return connection.start."""
        self.send(PROTOCOL)
        (start,) = self.hear()
        return start

    def log_in(
        self,
        response: bytes = b"\0guest\0guest",
        mechanism: str = "PLAIN",
        capabilities: dict[str, bool] | None = None,
    ) -> list[MethodCall]:
        """Send connection.start_ok; return what comes."""
        properties = {"capabilities": EVERYTHING if capabilities is None else capabilities}
        self.say(
            "connection.start_ok",
            client_properties=properties,
            mechanism=mechanism,
            response=response,
            locale="en_US",
        )
        return self.hear()

    def tune(
        self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0
    ) -> list[MethodCall]:
        """Send connection.tune_ok; return what comes."""
        self.say(
            "connection.tune_ok", channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat
        )
        return self.hear()

    def open(
        self, *channels: int, capabilities: dict[str, bool] | None = None, **tuning: int
    ) -> Talk:
        """Go all the way to an open connection, with these channels open."""
        self.greet()
        self.log_in(capabilities=capabilities)
        self.tune(**tuning)
        assert self.ask("connection.open", virtual_host="/").method.name == "connection.open_ok"
        for channel in channels:
            assert self.ask("channel.open", channel).method.name == "channel.open_ok"
        return self


STEPS: list[Any] = [
    lambda talk: talk.greet(),
    lambda talk: talk.log_in(),
    lambda talk: talk.tune(),
    lambda talk: talk.say("connection.open", virtual_host="/"),
]
"""The handshake, from a connection with nothing said yet."""


def closed_with(talk: Talk, code: int, text: str = "") -> MethodCall:
    """The last thing that came is connection.close with *code*."""
    last = talk.hear()[-1]
    assert (last.method.name, last.reply_code) == ("connection.close", code), last
    assert text.encode() in last.reply_text.encode()
    assert talk.stage in (Stage.CLOSING, Stage.CLOSED)
    assert not talk.connection.channels
    return last
