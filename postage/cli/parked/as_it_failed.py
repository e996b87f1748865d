"""A message of a queue of dead letters, as it was when its handler failed.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from postage.green.handling.keeping import NOT_COPIED
from postage.parking import FailedMessage
from postage.protocol import OWN_HEADERS
from postage.recoverability import History

__all__ = ["AsItFailed"]

_MOVED = {"expiration": f"{OWN_HEADERS}expiration", "user_id": f"{OWN_HEADERS}user-id"}
"""Properties that a parked copy has as headers."""


@dataclass(frozen=True)
class AsItFailed:
    """What was delivered to the handler: the message without its dossier, and its way."""

    body: bytes
    properties: dict[str, Any]
    """By name; without the headers."""
    headers: dict[str, Any]
    """With the number of earlier tries, so that `green.message` shows the attempt that failed."""
    queue: str
    exchange: str
    routing_key: str

    @classmethod
    def of(cls, message: FailedMessage) -> AsItFailed:
        """Return *message* as it failed, as far as its dossier tells; never raises."""
        values, about = message.properties.as_dict(), message.dossier
        headers = values.pop("headers", {})
        values.pop("delivery_mode", None)  # a copy has one of its own
        for name, header in _MOVED.items():
            if isinstance(headers.get(header), str):
                values[name] = headers[header]
        left_out = {name for name in headers if name.startswith(OWN_HEADERS)} | NOT_COPIED
        theirs = {name: each for name, each in headers.items() if name not in left_out}
        history = History.of(headers)
        if history.attempts > 1:
            theirs |= history._replace(attempts=history.attempts - 1).headers()
        way = (about.exchange, about.routing_key)
        if not about.why:  # nobody has told
            way = (message.exchange, message.routing_key)
        return cls(message.body, values, theirs, about.queue or message.queue, *way)
