"""One call in flight: its request, its state, and its outcome.  No I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from postage.errors import PostageError
from postage.exchange import Exchange
from postage.green.amqp.properties import added
from postage.green.amqp.waiting import Wakeup
from postage.green.rpc.peers import Destination
from postage.message import Message, MessageResultException
from postage.send_options import SendOptions

if TYPE_CHECKING:
    from postage.green.amqp.delivery import Delivery
    from postage.green.rpc.replies import ReplyQueue

# fmt: off
__all__ = [
    "CallEvent", "CallOutcome", "CallRequest", "CallState", "PendingCall", "PreparedCall",
    "next_call_state",
]
# fmt: on

CallOutcome = Union["Delivery", MessageResultException]
"""The reply, or the result that says why there is none."""


class CallState(enum.IntEnum):
    """Where a call is."""

    PREPARING = enum.auto()
    """No try is in flight; the channel and queue for the next one are being prepared."""
    IN_FLIGHT = enum.auto()
    """A try was sent, and the caller waits for its reply."""
    ENDED = enum.auto()
    """The call has its outcome, which never changes."""


class CallEvent(enum.IntEnum):
    """What can happen to a call."""

    SENT = enum.auto()
    TIMED_OUT = enum.auto()
    """The time of the try in flight is over."""
    LOST = enum.auto()
    """A connection, channel or reply queue that the try in flight needs has ended."""
    OUTCOME = enum.auto()
    """A reply has arrived, or the call has failed."""


PREPARING, IN_FLIGHT, ENDED = CallState
SENT, TIMED_OUT, LOST, OUTCOME = CallEvent

CALL_MOVES: Mapping[CallState, Mapping[CallEvent, CallState]] = {
    # The outcome of a call in preparation: a reply to an earlier try, or a failure.
    PREPARING: {SENT: IN_FLIGHT, LOST: PREPARING, OUTCOME: ENDED},
    IN_FLIGHT: {TIMED_OUT: PREPARING, LOST: PREPARING, OUTCOME: ENDED},
    # A second reply, or a loss between the reply and the wake-up of the caller.
    ENDED: {LOST: ENDED, OUTCOME: ENDED},
}


def next_call_state(state: CallState, event: CallEvent) -> CallState:
    """Return the state after *event*; raise `AssertionError` if it cannot happen in *state*."""
    try:
        return CALL_MOVES[state][event]
    except KeyError:
        text = f"{event.name} cannot happen to a call that is {state.name}"
        raise AssertionError(text) from None


@dataclass(slots=True)  # made in half the time of a named tuple
class CallRequest:
    """An encoded call and its destination."""

    exchange: type[Exchange]
    key: str
    body: bytes
    content_type: str
    options: SendOptions | None = None
    message: Message | None = None
    """What was encoded; only set for hooks."""
    is_watched: bool = False
    """Whether hooks watch it already."""

    def extended(self, encoded: bytes, type_: str | None = None) -> bytes:
        """Return the *encoded* properties with the options of the call and the ``type``, if any."""
        given = {} if self.options is None else self.options.properties()
        if type_ is not None:
            given["type"] = type_
        return added(encoded, given) if given else encoded


PreparedCall = tuple[CallRequest, float, int, bool]
"""A call that is built and encoded: its request, timeout and retries, and whether the caller wants
only the name of its reply queue.  A plain tuple costs each call less than a class would."""


class PendingCall(Wakeup):
    """A call with all its tries, which have one correlation id; the first outcome stays.

    It wakes its caller when the call has an outcome, and when the try in flight is lost.
    """

    takes_direct_replies = True
    """Whether its replies may come on a channel that is lent to it: see `ReplyChannels`."""

    __slots__ = ("destination", "id", "loss", "outcome", "own_queue", "request", "state", "way")

    def __init__(self, id_: str, request: CallRequest) -> None:
        Wakeup.__init__(self)  # costs each call less than super()
        self.id, self.request = id_, request
        self.destination: Destination = request.exchange.name, request.key
        self.state = PREPARING
        self.outcome: CallOutcome | None = None
        self.loss: PostageError | None = None
        """Why the last try was lost, or why the next one could not be prepared."""
        self.way: object = None
        """The connection that the last try was sent on."""
        self.own_queue: ReplyQueue | None = None
        """The reply queue for all its tries; None: the call uses the shared one."""

    def finish(self, outcome: CallOutcome) -> bool:
        """Take *outcome* unless there is one already; return whether it was the first."""
        state, self.state = self.state, next_call_state(self.state, OUTCOME)
        if state is ENDED:
            return False
        self.outcome = outcome
        self.set()
        return True

    def fail(self, name: str, why: object) -> None:
        """End the call with the exception result *name*, unless it has an outcome already."""
        self.finish(MessageResultException(name, str(why)))

    def end_try(self, error: PostageError) -> None:
        """End the try in flight, if there is one: because of *error*, no reply can arrive."""
        state, self.state = self.state, next_call_state(self.state, LOST)
        if state is IN_FLIGHT:
            self.loss = error
            self.set()

    def start_try(self, way: object = None) -> None:
        """Note that a try is being sent, on the connection *way*."""
        self.way = way
        self.state = next_call_state(self.state, SENT)
        self.loss = None

    def wait_for_outcome(self, seconds: float) -> None:
        """Wait at most *seconds* for an outcome, or for the loss of the try in flight; switches."""
        self.wait(seconds)
        if self.state is IN_FLIGHT:
            self.state = next_call_state(self.state, TIMED_OUT)
        if self.state is not ENDED:
            self.clear()
