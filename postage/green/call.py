"""One call in flight: what it asks, and what has become of it.  No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gevent.event import Event

from postage.errors import PostageError
from postage.exchange import Exchange
from postage.green.echoes import Destination
from postage.message import MessageResultException

if TYPE_CHECKING:
    from postage.green.amqp.delivery import Delivery
    from postage.green.replies import ReplyQueue

__all__ = ["Call", "Request"]


@dataclass(frozen=True)
class Request:
    """A call, encoded, and where it goes."""

    exchange: type[Exchange]
    key: str
    body: bytes
    content_type: str

    @property
    def destination(self) -> Destination:
        """What decides who answers."""
        return self.exchange.name, self.key


class Call:
    """A call with all its tries, which have one correlation id; the first outcome stays."""

    __slots__ = ("_news", "id", "loss", "outcome", "own_queue", "request", "shares")

    def __init__(self, id_: str, request: Request) -> None:
        self.id, self.request = id_, request
        self.outcome: Delivery | MessageResultException | None = None
        """The reply, or the result that says why there is none."""
        self.loss: PostageError | None = None
        """Why the present try cannot be answered any more."""
        self.own_queue: ReplyQueue | None = None
        """For the replies to all its tries, while nothing shows that the peer echoes the id."""
        self.shares = False
        """Whether its reply may come on the shared queue."""
        self._news = Event()

    def settle(self, outcome: Delivery | MessageResultException) -> bool:
        """Take *outcome* unless there is one already; tell whether it was the first."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._news.set()
        return True

    def lose(self, error: PostageError) -> None:
        """The present try will not be answered: the connection, channel or queue is gone."""
        self.loss = error
        self._news.set()

    def begin_try(self) -> None:
        """Forget what became of the try before; an outcome stays."""
        self.loss = None
        if self.outcome is None:
            self._news.clear()

    def wait(self) -> None:
        """Wait for an outcome or a loss; switches, without a limit of its own."""
        self._news.wait()
