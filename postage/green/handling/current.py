"""The message that the running greenlet handles.

How it works
------------
The pool runs each delivery in a greenlet of its own, and notes the delivery in a dictionary that
gevent shares between this greenlet and all that it spawns (``spawn_tree_locals``).  So `message`
also finds it in greenlets that a handler has spawned, and nothing is done for a handler that does
not ask.  A context variable would cost each message 3,500 instructions, and gevent gives a new
greenlet an empty context.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar, overload

import gevent

from postage.errors import MalformedMessage, NotHandling
from postage.foreign_text import one_line
from postage.green.amqp.delivery import Delivery
from postage.green.pool import HELD
from postage.received import ReceivedMessage
from postage.send_options import SendOptions

__all__ = [
    "MessageIds",
    "Propagation",
    "message",
    "note_tries",
    "propagation",
    "sender_in_hand",
]

T = TypeVar("T")
_REQUIRED: Any = object()
_VIEW, _TRIES = "postage.view", "postage.tries"


@overload
def message() -> ReceivedMessage: ...


@overload
def message(default: T, /) -> ReceivedMessage | T: ...


def message(default: Any = _REQUIRED, /) -> Any:
    """Return the message that the handler running here handles; never switches.

    Works in handlers, in filters, in functions that they call, and in greenlets that they spawn,
    also after the handler has ended.  Does not work in a native thread, in a periodic job, or in
    the callback of a `GenericConsumer`, which gets the parts of the message as arguments.

    Where no message is handled, returns *default*, or raises `NotHandling` if there is none.
    """
    in_hand = _in_hand()
    if in_hand is None:
        if default is _REQUIRED:
            raise NotHandling
        return default
    tree, processor, delivery = in_hand
    view = tree.get(_VIEW)
    if view is None:
        tries = tree.get(_TRIES, 0)
        view = ReceivedMessage(delivery, processor._decoded, tries)  # noqa: SLF001 - a handler may be `decoded`
        tree[_VIEW] = view
    return view


def note_tries(times: int) -> None:
    """Note that the handlers of the message in hand, if any, have failed *times* times before."""
    in_hand = _in_hand()
    if in_hand is not None:
        in_hand[0][_TRIES] = times
        in_hand[0].pop(_VIEW, None)


def _in_hand() -> tuple[dict[str, Any], Any, Delivery] | None:
    """Return what the running greenlet shares, and its processor and delivery, if it has any."""
    try:
        current = gevent.getcurrent()
    except RuntimeError:  # the interpreter ends, and greenlets have ended before it (Python 3.14)
        return None
    tree = getattr(current, "spawn_tree_locals", None)
    held = None if tree is None else tree.get(HELD)
    if held is None or not isinstance(held[1], Delivery):  # a job
        return None
    return tree, *held


def sender_in_hand(own: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of the component whose handler runs here; *own* if none does.

    With it sends a producer whose *own* fingerprint has no name.  Never switches.
    """
    in_hand = _in_hand()
    return own if in_hand is None else in_hand[1].fingerprint


# --- headers that go with everything a handler sends


class Propagation:
    """Adds headers of the message in hand to what is sent meanwhile: see `propagate`."""

    used = False
    """Whether any component of this program propagates headers, or has hooks around its sending.
    If not, senders look no further."""

    def extended(self, options: SendOptions | None) -> SendOptions | None:
        """Return *options* with the headers that the processor of the message in hand propagates.

        Raises `MalformedMessage` if the headers of that message cannot be read: to send without
        them could show the data of one tenant to another.
        """
        in_hand = _in_hand()
        names = () if in_hand is None else in_hand[1].propagate
        if in_hand is None or not names:
            return options
        headers = in_hand[2].properties.headers or {}
        found = {name: headers[name] for name in names if name in headers}
        return (options or SendOptions()).with_headers(found) if found else options


propagation = Propagation()
"""That of this process."""


# --- the log


class MessageIds(logging.Filter):
    """Adds the ids of the message in hand to log records.

    Add this filter to a handler of `logging` that runs in the thread which makes the records;
    ``postage run`` does so.  Each record gets the attributes ``message_id`` and ``correlation_id``.
    They are empty where no message is handled, or if the message has no such id.  Never switches,
    and raises nothing.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes of *record*; return True."""
        record.message_id = record.correlation_id = ""
        in_hand = _in_hand()
        if in_hand is not None:
            try:
                properties = in_hand[2].properties
            except MalformedMessage:
                return True
            # Peers write the ids: what would begin another line is escaped.
            record.message_id = one_line(properties.message_id or "")
            record.correlation_id = one_line(properties.correlation_id or "")
        return True
