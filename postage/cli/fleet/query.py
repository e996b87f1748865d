"""The fleet: generic applications, asked all at once, and those that answer in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gevent

from postage.cli.exchanges import named
from postage.cli.fleet.descriptions import Description, merged, rated
from postage.cli.remote import Remote
from postage.errors import (
    PostageError,
    TimeoutError,  # noqa: A004 - the classic name
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green import GenericApplicationExchange
from postage.message import NO_ROUTE, MessageResult, MessageResultException

__all__ = ["connect", "everybody", "one", "present"]

MANY = 1_000_000
"""More answers than there will be: who asks waits until the time is over."""

BRIEFLY = {"brief": True}
"""Parameters of ``describe``: hundreds may answer, and handlers are not shown."""

Answers = list[Any] | PostageError

EXCHANGE: type[Exchange] = named(GenericApplicationExchange.name, passive=True)
"""Theirs; asking does not make it."""


def connect(key: str) -> None:
    """Connect, as whoever asks for *key* does; raises `ConnectionFailed`, and switches."""
    _remote(key)


def everybody(key: str, wait: float) -> list[Description]:
    """Return the descriptions of the applications behind *key* that answer within *wait* seconds.

    They are asked for it again in the middle of that time: each has the ``rate`` of messages that
    it handled since it was asked first.  Those that know ``ping`` alone, older ones, have nothing
    but their fingerprint.
    """
    remote = _remote(key)
    if remote is None:
        return []
    half = wait / 2
    asked = [
        gevent.spawn(_answers, remote, "ping", wait),
        gevent.spawn(_answers, remote, "describe", wait),
        gevent.spawn_later(half, _answers, remote, "describe", half),
    ]
    pings, first, second = _gathered(asked)
    return rated(merged([], first), merged(pings, first + second))


def present(key: str, wait: float) -> list[Description]:
    """Return the same, asked once: without the rates."""
    remote = _remote(key)
    if remote is None:
        return []
    asked = [gevent.spawn(_answers, remote, what, wait) for what in ("ping", "describe")]
    return merged(*_gathered(asked))


def _remote(key: str) -> Remote | None:
    """Return who asks; None where nobody has ever made the exchange, and so nobody is there."""
    try:
        return Remote(EXCHANGE, key)
    except TopologyMismatch:
        return None


def _answers(remote: Remote, what: str, wait: float) -> Answers:
    """Return what is answered within *wait* seconds, or why that cannot be had.

    An error is returned and not raised: of a greenlet's own gevent prints the traceback.
    """
    try:
        results = remote.consume_rpc(remote.rpc_queue_command(what, BRIEFLY), MANY, timeout=wait)
    except TimeoutError as late:
        results = list(late.results)
    except PostageError as exc:
        return exc
    return [result.body["content"]["value"] for result in results if result]


def _gathered(asked: Iterable[gevent.Greenlet[..., Answers]]) -> list[list[Any]]:
    found = [greenlet.get() for greenlet in asked]
    for each in found:
        if isinstance(each, PostageError):
            raise each
    return [each for each in found if isinstance(each, list)]


def one(key: str, wait: float) -> MessageResult:
    """Return the first description that comes from behind *key*, or why none came."""
    remote = _remote(key)
    if remote is None:
        return MessageResultException(NO_ROUTE, f"there are no applications here, nor {key!r}")
    result: MessageResult = remote.rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    return result
