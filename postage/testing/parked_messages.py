"""Looking at the messages that a component under test has parked."""

from __future__ import annotations

import time

import gevent

from postage.errors import ChannelRefused
from postage.foreign_text import brief
from postage.parking import FailedMessage, look
from postage.parking.walk import connection_to
from postage.recoverability import parking_queue
from postage.testing.polling import PAUSE


class ParkedMessages:
    """What lies in one parking queue.  The messages stay there."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        """The name of the parking queue."""

    def wait(self, count: int = 1, within: float = 5.0) -> list[FailedMessage]:
        """Wait until *count* messages lie there, and return them, the oldest first; switches.

        Raises AssertionError if there are fewer after *within* seconds, or more; it says why each
        was parked.  Each call is one look, which quorum queues of RabbitMQ before 4.3 count as a
        delivery.
        """
        deadline = time.monotonic() + within
        while (there := self._count()) < count and time.monotonic() < deadline:
            gevent.sleep(PAUSE)
        found = look(self.queue, limit=None, anyway=True) if there else []
        if len(found) < count:
            raise AssertionError(f"{self._shown(found)}: not {count} after {within} s")
        if len(found) > count:
            raise AssertionError(f"{self._shown(found)}: more than {count}")
        return found

    def _count(self) -> int:
        try:
            with connection_to(None).lease() as channel:
                messages, _consumers = channel.queue_counts(self.queue)
        except ChannelRefused as exc:
            if exc.misses(self.queue):  # the first message that is parked declares it
                return 0
            raise
        return messages

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.queue!r}>"

    def _shown(self, found: list[FailedMessage]) -> str:
        lines = [f"{len(found)} in {self.queue!r}", *map(_line, found)]
        return "\n    ".join(lines) + ("\n" if found else "")


def _line(message: FailedMessage) -> str:
    about = message.dossier
    what = f"{about.exception}: {about.text}" if about.exception else about.text
    where = about.handler or about.processor
    return ", ".join(map(str, filter(None, (about.why, where, what, brief(message.body)))))


def parked_of(queue: str, park: str = "{queue}.parked") -> ParkedMessages:
    """The fixture ``postage_parked``: ``postage_parked("orders")`` shows what *queue* has parked.

    *park* is that of the processor, if it is not the default.
    """
    return ParkedMessages(parking_queue(park, queue))
