"""One call in flight: what it asks, and what has become of it.  No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Union

from postage.errors import PostageError
from postage.exchange import Exchange
from postage.green.amqp.waiting import Wakeup
from postage.green.rpc.peers import Destination
from postage.message import MessageResultException

if TYPE_CHECKING:
    from postage.green.amqp.delivery import Delivery
    from postage.green.rpc.replies import ReplyQueue

__all__ = ["CallRequest", "Outcome", "PendingCall"]

Outcome = Union["Delivery", MessageResultException]
"""The reply, or the result that says why there is none."""


class CallRequest(NamedTuple):
    """A call, encoded, and where it goes."""

    exchange: type[Exchange]
    key: str
    body: bytes
    content_type: str

    @property
    def destination(self) -> Destination:
        """What decides who answers."""
        return self.exchange.name, self.key


class PendingCall:
    """A call with all its tries, which have one correlation id; the first outcome stays."""

    __slots__ = (
        *("has_waited", "id", "is_scout", "loss", "news", "outcome", "own_queue", "request"),
        *("shares", "under_way"),
    )

    def __init__(self, id_: str, request: CallRequest) -> None:
        self.id, self.request = id_, request
        self.outcome: Outcome | None = None
        self.loss: PostageError | None = None
        """Why the last try cannot be answered any more, or why there was no further one."""
        self.own_queue: ReplyQueue | None = None
        """For the replies to all its tries, while nothing shows that the peer echoes the id."""
        self.is_scout = self.has_waited = False
        """Whether it asks for a receipt, or has waited for that of another call: see `scouts`."""
        self.shares = False
        """Whether its reply may come on the shared queue."""
        self.under_way = False
        """Whether a try was sent, and is waited for: what is lost now may be its answer."""
        self.news = Wakeup()
        """Rings when there is an outcome, and when the try that is under way is lost."""

    def settle(self, outcome: Outcome) -> bool:
        """Take *outcome* unless there is one already; tell whether it was the first."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self.news.set()
        return True

    def fail(self, name: str, why: object) -> None:
        """End it with an exception result, unless there is an outcome already."""
        self.settle(MessageResultException(name, str(why)))

    def lose(self, error: PostageError) -> None:
        """End the try that is under way, if one is: the connection, channel or queue is gone."""
        if self.under_way:
            self.under_way, self.loss = False, error
            self.news.set()

    def begin_try(self, *, shares: bool) -> None:
        """Forget what became of the try before; *shares*: the reply comes on the shared queue."""
        self.under_way, self.loss = True, None
        self.shares = self.shares or shares

    def wait(self, seconds: float) -> None:
        """Wait for an outcome, or the loss of the try that has begun; switches."""
        self.news.wait(seconds)
        self.under_way = False
        if self.outcome is None:
            self.news.clear()
