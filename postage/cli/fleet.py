"""The fleet: generic applications, asked all at once, and those that answer in time."""

from __future__ import annotations

from typing import Any

import gevent

from postage.cli.descriptions import Description, merged, rated
from postage.cli.exchanges import named
from postage.cli.remote import Remote
from postage.errors import TimeoutError, TopologyMismatch  # noqa: A004 - the classic name
from postage.exchange import Exchange
from postage.green import GenericApplicationExchange
from postage.message import MessageResult, MessageResultException

__all__ = ["everybody", "one", "present"]

MANY = 1_000_000
"""More answers than there will be: who asks waits until the time is over."""

EXCHANGE: type[Exchange] = named(GenericApplicationExchange.name, passive=True)
"""Theirs; asking does not make it."""


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
    pings, first, second = (greenlet.get() for greenlet in asked)
    return rated(merged([], first), merged(pings, first + second))


def present(key: str, wait: float) -> list[Description]:
    """Return the same, asked once: without the rates."""
    remote = _remote(key)
    if remote is None:
        return []
    asked = [gevent.spawn(_answers, remote, what, wait) for what in ("ping", "describe")]
    return merged(*(greenlet.get() for greenlet in asked))


def _remote(key: str) -> Remote | None:
    """Return who asks; None where nobody has ever made the exchange, and so nobody is there."""
    try:
        return Remote(EXCHANGE, key)
    except TopologyMismatch:
        return None


def _answers(remote: Remote, what: str, wait: float) -> list[Any]:
    queue = remote.rpc_queue_command(what, {})
    try:
        results = remote.consume_rpc(queue, MANY, timeout=wait)
    except TimeoutError as late:
        results = list(late.results)
    return [result.body["content"]["value"] for result in results if result]


def one(key: str, wait: float) -> MessageResult:
    """Return the first description that comes from behind *key*, or why none came."""
    remote = _remote(key)
    if remote is None:
        return MessageResultException("NoRoute", f"there are no applications here, nor {key!r}")
    result: MessageResult = remote.rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    return result
