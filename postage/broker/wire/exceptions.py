"""Mistakes of clients: each has an AMQP reply code and closes a channel or a connection."""

from __future__ import annotations

from typing import Any

from postage.errors import PostageError

__all__ = ["ChannelFault", "ConnectionFault", "Fault", "SyntaxFault"]

LONGEST_TEXT = 255
"""Bytes of a reply text."""

NAMES = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}


class Fault(PostageError):
    """A client's mistake; *code* is the AMQP reply code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{NAMES[code]} - {text}")
        self.code = code
        self.method = (0, 0)
        """The ids of the method that was wrong, if known."""

    @property
    def close_arguments(self) -> dict[str, Any]:
        """The arguments of channel.close or connection.close."""
        text = str(self).encode("utf-8", "surrogateescape")
        if len(text) > LONGEST_TEXT:
            text = text[: LONGEST_TEXT - 3] + b"..."
        class_id, method_id = self.method
        return {
            "reply_code": self.code,
            "reply_text": text,
            "class_id": class_id,
            "method_id": method_id,
        }


class ChannelFault(Fault):
    """A mistake that closes the channel (AMQP 0-9-1, soft errors)."""


class ConnectionFault(Fault):
    """A mistake that closes the connection (AMQP 0-9-1, hard errors)."""


class SyntaxFault(ConnectionFault):
    """A frame that cannot be decoded.

    The code is 501 even where the specification asks for 502, because RabbitMQ sends 501.
    """

    def __init__(self, text: str, code: int = 501) -> None:
        super().__init__(code, text)
