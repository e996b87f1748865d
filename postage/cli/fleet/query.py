"""Asking generic applications: all of them at once, again and again, or one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import gevent
import gevent.event

from postage import green
from postage.cli.arguments import exchange_named
from postage.cli.fleet.descriptions import AppList, Description, identified, merged, rated
from postage.cli.remote import Remote
from postage.errors import (
    PostageError,
    TimeoutError,  # noqa: A004 - the classic name
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green import GenericApplicationExchange
from postage.message import NO_ROUTE, MessageResult, MessageResultException

NO_LIMIT = 1_000_000
"""More answers than there will be: a query waits until its time is over."""
BRIEF = {"brief": True}
"""Parameters of ``describe`` that leave out the handlers: hundreds of applications may answer."""
WAIT = 1.0
"""Seconds for which `FleetPoller` waits for answers, as ``postage ps`` does by default."""

Answers = list[Any] | PostageError

EXCHANGE: type[Exchange] = exchange_named(GenericApplicationExchange.name, passive=True)
"""The exchange of generic applications; a query must not create it."""


def everybody(key: str, wait: float) -> list[Description]:
    """Return the descriptions of the applications behind *key* that answer within *wait* seconds.

    They are asked again in the middle of that time, so each description has the ``rate`` of
    messages handled in between.  Applications of Postage 1.2.1 only answer ``ping``; of them there
    is only the fingerprint.  Switches.
    """
    remote = remote_to(key)
    if remote is None:
        return []
    half = wait / 2
    queries = [
        gevent.spawn(_answers, remote, "ping", wait),
        gevent.spawn(_answers, remote, "describe", wait),
        gevent.spawn_later(half, _answers, remote, "describe", half),
    ]
    pings, first, second = _gathered(queries)
    before, after = merged([], first), merged(pings, first + second)
    return list(rated(dict(identified(before)), after).values())


def one(key: str, wait: float) -> MessageResult:
    """Return the first description from behind *key*, or an exception result.  Switches."""
    remote = remote_to(key)
    if remote is None:
        return MessageResultException(NO_ROUTE, f"there are no applications here, nor {key!r}")
    result: MessageResult = remote.rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    return result


def remote_to(key: str) -> Remote | None:
    """Return a producer for queries; None if the exchange does not exist, so no application does.

    Connects: raises `ConnectionFailed`, and switches.
    """
    try:
        return Remote(EXCHANGE, key)
    except TopologyMismatch:
        return None


def _answers(remote: Remote, command: str, wait: float) -> Answers:
    """Return the answers to *command* within *wait* seconds, or the error that prevents them.

    An error is returned, not raised: gevent would print the traceback of the greenlet.
    """
    try:
        results = remote.consume_rpc(
            remote.rpc_command(command, BRIEF, _queue_only=True), NO_LIMIT, timeout=wait
        )
    except TimeoutError as exc:
        results = list(exc.results)
    except PostageError as exc:
        return exc
    return [result.value for result in results if result]


def _gathered(queries: Iterable[gevent.Greenlet[..., Answers]]) -> list[list[Any]]:
    """Wait for all *queries*; return their answers, or raise the first error."""
    found = [greenlet.get() for greenlet in queries]
    for each in found:
        if isinstance(each, PostageError):
            raise each
    return [each for each in found if isinstance(each, list)]


class FleetPoller:
    """Asks the applications behind *key* every *interval* seconds, also after broker outages."""

    def __init__(self, key: str, interval: float) -> None:
        self.key, self.interval = key, interval
        self.apps = AppList()
        self.as_of = ""
        """The time of day of the last answers; empty before the first."""
        self.changed = gevent.event.Event()
        """Set when there is something new to show."""
        self._error = ""

    def run(self) -> None:
        """Ask until this greenlet is killed; switches."""
        while True:
            began = time.monotonic()
            self._ask()
            self.changed.set()
            gevent.sleep(max(0.0, began + self.interval - time.monotonic()))

    def _ask(self) -> None:
        wait = min(self.interval, WAIT)
        try:
            remote = remote_to(self.key)
            if remote is None:
                self.apps.update([])
            else:
                commands = ("ping", "describe")
                queries = [gevent.spawn(_answers, remote, each, wait) for each in commands]
                self.apps.update(merged(*_gathered(queries)))
        except PostageError as exc:
            self._error = f"{type(exc).__name__}: {exc}"
        else:
            self.as_of, self._error = time.strftime("%H:%M:%S"), ""

    @property
    def problem(self) -> str:
        """Why asking fails at the moment; empty if it does not.

        A query that waits for a new connection has not failed yet, so connections are checked.
        """
        lost = any(each.losses and each.state != "open" for each in green.statistics())
        return self._error or ("the connection to the broker is lost" if lost else "")
