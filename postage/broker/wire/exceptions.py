"""What the broker says of a client's mistake: an AMQP reply code, and how much it closes."""

from __future__ import annotations

from postage.errors import PostageError

__all__ = ["ChannelFault", "ConnectionFault", "Fault", "SyntaxFault"]

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
    """A client's mistake.  *code* is the AMQP reply code, *method* what the client had called."""

    def __init__(self, code: int, text: str, method: tuple[int, int] = (0, 0)) -> None:
        super().__init__(f"{NAMES[code]} - {text}")
        self.code, self.method = code, method


class ChannelFault(Fault):
    """Closes the channel (AMQP 0-9-1, soft errors)."""


class ConnectionFault(Fault):
    """Closes the connection (AMQP 0-9-1, hard errors)."""


class SyntaxFault(ConnectionFault):
    """A frame that cannot be read (501, as RabbitMQ has it also where 502 were in place)."""

    def __init__(self, text: str, code: int = 501) -> None:
        super().__init__(code, text)
