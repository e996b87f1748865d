"""Looking at the messages of a queue of dead letters, without changing anything."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TypeVar

from postage.errors import ChannelRefused, NoSuchMessage
from postage.parking.failed import ID_DIGITS, FailedMessage
from postage.parking.walk import Walk, connection_to
from postage.values import number, text

__all__ = ["Look", "check_limit", "existing_queue", "find", "look", "whole_ids"]

LARGEST_LOOK = 1 << 26
"""Bytes of bodies after which a look ends, so that its memory is bounded."""
SUFFIX = ".parked"
SHORTEST = 6
"""Digits of an id that name a message which is to be changed."""
T = TypeVar("T")

check_limit = number(0, none=True)
"""The rule of how many messages to look at, or to replay."""


class Look(list[FailedMessage]):
    """The messages that a look has found, in the order of the queue, and what it has left out."""

    more = 0
    """How many messages are behind the last one that was found."""
    consumers = 0
    """How many consumers the queue has: messages that consumers hold cannot be seen."""


def look(
    queue: str, *, url: str | None = None, limit: int | None = 1000, anyway: bool = False
) -> Look:
    """Return the first *limit* messages of *queue*, and leave the queue as it was; switches.

    *limit* None: all.  A look ends earlier after 64 MiB of bodies; `Look.more` is the number of
    messages that it has left out.  *url* is that of the broker; None: that of the settings.

    Raises `LookRefused` where each look counts as a delivery, of which the queue allows only some;
    *anyway* looks nevertheless.  Raises `ChannelRefused` (404) if there is no such queue,
    `OperationTimeout` if the broker does not answer within ``operation_timeout``, `SettingsError`
    for a *limit* that is no number of messages, and what connecting raises.  After an exception, or
    if the greenlet is killed, the messages return to the queue, too.
    """
    check_limit("limit", limit)
    found, size = Look(), 0
    with closing(Walk(connection_to(url), queue, anyway=anyway)) as walk:
        found.consumers = walk.consumers
        if limit != 0:
            for each in walk:
                found.append(each)
                size += len(each.body)
                if len(found) == limit or size >= LARGEST_LOOK:
                    break
        found.more = max(0, walk.size - walk.taken)
    return found


def find(queue: str, id: str, *, url: str | None = None, anyway: bool = False) -> FailedMessage:  # noqa: A002 - what it is
    """Return the message of *queue* with this *id*; switches.

    *id* is an id, the beginning of an id, or the number of a place in the queue; if a number fits
    both, it is taken as a place.  Raises `NoSuchMessage` if no message fits, or if the beginning
    fits several, and what `look` does.  Only one message at a time is in memory.
    """
    text("id", id)
    place = int(id) if id.isascii() and id.isdigit() and len(id) < ID_DIGITS else 0
    found: list[FailedMessage] = []
    with closing(Walk(connection_to(url), queue, anyway=anyway)) as walk:
        for each in walk:
            if each.number == place:
                return each
            if id and each.id.startswith(id.lower()):
                found = [*found[:1], each]
    return _only(queue, id, found)


def _only(queue: str, id: str, found: list[T]) -> T:  # noqa: A002 - what it is
    if len(found) > 1:
        raise NoSuchMessage(queue, id, "several messages begin with it: give more digits")
    if not found:
        raise NoSuchMessage(queue, id)
    return found[0]


def whole_ids(
    queue: str, ids: Iterable[str], *, url: str | None = None, anyway: bool = False
) -> set[str]:
    """Return the ids of the messages of *queue* that *ids*, or beginnings of ids, name; switches.

    Raises `NoSuchMessage` for one that no message has, or several have, and for a beginning that is
    so short that it may be the number of a place, which changes.
    """
    for each in (ids := list(ids)):
        text("an id", each)
    wanted = {each.lower() for each in ids}
    found: dict[str, list[str]] = {each: [] for each in wanted}
    for each in wanted:
        if len(each) < SHORTEST:
            why = f"give at least {SHORTEST} digits of an id; the numbers of places change"
            raise NoSuchMessage(queue, each, why)
    with closing(Walk(connection_to(url), queue, anyway=anyway)) as walk:
        for message in walk:
            for length in range(SHORTEST, ID_DIGITS + 1):
                if message.id[:length] in found:
                    found[message.id[:length]].append(message.id)
    return {_only(queue, each, ids) for each, ids in found.items()}


def existing_queue(name: str, *, url: str | None = None) -> str:
    """Return the parking queue of the queue *name* if it exists, else *name*, if that exists.

    Switches.  Raises `ChannelRefused` (404) if neither queue exists, and what `look` does.
    """
    connection = connection_to(url)
    candidates = [name] if name.endswith(SUFFIX) else [f"{name}{SUFFIX}", name]
    for each in candidates:
        try:
            with connection.lease() as channel:
                channel.queue_counts(each)
        except ChannelRefused as exc:  # noqa: PERF203 - each try is one
            if each == name or not exc.misses(each):
                raise
        else:
            return each
    raise AssertionError(name)  # the last candidate is the name itself
