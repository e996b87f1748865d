"""The fleet: generic applications, asked all at once, and those that answer in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import gevent

from postage.cli.exchanges import named
from postage.cli.remote import Remote
from postage.errors import TimeoutError, TopologyMismatch  # noqa: A004 - the classic name
from postage.exchange import Exchange
from postage.green import GenericApplicationExchange
from postage.message import MessageResult, MessageResultException

__all__ = ["everybody", "merged", "one"]

MANY = 1_000_000
"""More answers than there will be: who asks waits until the time is over."""

EXCHANGE: type[Exchange] = named(GenericApplicationExchange.name, passive=True)
"""Theirs; asking does not make it."""


def everybody(key: str, wait: float) -> list[dict[str, Any]]:
    """Return the descriptions of the applications behind *key* that answer within *wait* seconds.

    Those that know ``ping`` alone, older ones, have nothing but their fingerprint.
    """
    try:
        remote = Remote(EXCHANGE, key)
    except TopologyMismatch:
        return []  # nobody has ever made it
    asked = [gevent.spawn(_answers, remote, what, wait) for what in ("ping", "describe")]
    pings, descriptions = (greenlet.get() for greenlet in asked)
    return merged(pings, descriptions)


def _answers(remote: Remote, what: str, wait: float) -> list[Any]:
    queue = remote.rpc_queue_command(what, {})
    try:
        results = remote.consume_rpc(queue, MANY, timeout=wait)
    except TimeoutError as late:
        results = list(late.results)
    return [result.body["content"]["value"] for result in results if result]


def merged(pings: Iterable[Any], descriptions: Iterable[Any]) -> list[dict[str, Any]]:
    """Return *descriptions*, and for each fingerprint that pinged more often one with that alone.

    Several applications of a process have one fingerprint: only their number tells who is missing.
    What is no fingerprint or description is left out.
    """
    known = [each for each in descriptions if _is_description(each)]
    described = Counter(_identity(each["fingerprint"]) for each in known)
    for fingerprint in filter(_is_fingerprint, pings):
        if described[_identity(fingerprint)] > 0:
            described[_identity(fingerprint)] -= 1
        else:
            known.append({"fingerprint": fingerprint})
    return sorted(known, key=lambda each: (_identity(each["fingerprint"]), str(each.get("key"))))


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


def _is_description(value: Any) -> bool:
    return isinstance(value, dict) and _is_fingerprint(value.get("fingerprint"))


def _identity(fingerprint: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(fingerprint.get(key)) for key in ("name", "host", "pid"))


def one(key: str, wait: float) -> MessageResult:
    """Return the first description that comes from behind *key*, or why none came."""
    try:
        remote = Remote(EXCHANGE, key)
    except TopologyMismatch:
        return MessageResultException("NoRoute", f"there are no applications here, nor {key!r}")
    result: MessageResult = remote.rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    return result
