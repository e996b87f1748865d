"""A hook that notes what it sees."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from postage import Around, Handled, MessageResult, OutgoingMessage, ReceivedMessage

Handling = Generator[None, Handled, None]
Sending = Generator[None, MessageResult | None, None]


class Audit(Around):
    """Notes what it sees."""

    def __init__(self, name: str = "audit", log: list[Any] | None = None) -> None:
        self.name, self.log = name, [] if log is None else log
        self.outcomes: list[Any] = []

    def handle(self, message: ReceivedMessage) -> Handling:
        yield from self._note(message.name)

    def send(self, message: OutgoingMessage) -> Sending:
        yield from self._note(message.name)

    def _note(self, name: str) -> Generator[None, Any, None]:
        self.log.append((self.name, "before", name))
        try:
            self.outcomes.append((yield))
        except BaseException as exc:
            self.outcomes.append(exc)
            raise
        self.log.append((self.name, "after", name))
