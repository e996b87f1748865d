"""Asking processors: all of them at once, again and again, or one of them.

The station of each process answers for all its processors: see `postage.discovery`.  Applications
of Postage 1.2.1, and those whose processes have no station, answer for themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
import gevent.event

from postage import green
from postage.cli.arguments import exchange_named
from postage.cli.fleet.descriptions import (
    AppList,
    Description,
    identified,
    merged,
    rated,
    told,
)
from postage.cli.remote import Remote
from postage.discovery import ASK, GOODBYE
from postage.encoding import JsonEncoder
from postage.errors import (
    PostageError,
    TimeoutError,  # noqa: A004 - the classic name
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green import Classic, GenericApplicationExchange, GenericConsumer
from postage.green.amqp.delivery import Delivery
from postage.message import NO_ROUTE, MessageResult, MessageResultException

NO_LIMIT = 20_000
"""More answers than there will be: a query waits until its time is over."""
BRIEF = {"brief": True}
"""Parameters of ``describe`` that leave out the handlers: hundreds of applications may answer."""
WAIT = 1.0
"""Seconds for which `FleetPoller` waits for answers, as ``postage ps`` does by default."""

GOODBYES = Classic("", exclusive=True, auto_delete=True, max_length=10_000)
Answers = list[Any] | PostageError

EXCHANGE: type[Exchange] = exchange_named(GenericApplicationExchange.name, passive=True)
"""The exchange of generic applications; a query must not create it."""


def everybody(key: str, wait: float) -> list[Description]:
    """Return the descriptions of the processors behind *key* that answer within *wait* seconds.

    They are asked again in the middle of that time, so each description has the ``rate`` of
    messages handled in between.  Applications of Postage 1.2.1 only answer ``ping``; of them there
    is only the fingerprint.  Switches.
    """
    fleet = _Fleet.at(key)
    if fleet is None:
        return []
    half = wait / 2
    later = gevent.spawn_later(half, fleet.ask, half)
    first = fleet.ask(wait)
    second = later.get()
    for each in (first, second):
        if isinstance(each, PostageError):
            raise each
    before = merged([], first.descriptions)
    after = merged(first.pings, first.descriptions + second.descriptions)
    return list(rated(dict(identified(before)), after).values())


class _Round(NamedTuple):
    """The answers to one round of queries."""

    pings: list[Any]
    descriptions: list[Any]


class _Fleet(NamedTuple):
    """The way to all processors behind one key."""

    applications: Remote
    stations: Remote
    key: str

    @classmethod
    def at(cls, key: str) -> _Fleet | None:
        """Return the way to *key*; None if nothing has ever listened.  Switches."""
        applications, stations = remote_to(key), remote_to(ASK)
        if applications is None or stations is None:
            return None
        return cls(applications, stations, key)

    def ask(self, wait: float) -> Any:
        """Return what is answered within *wait* seconds, or a `PostageError`; switches."""
        queries = [
            gevent.spawn(answers_to, self.applications, "ping", wait),
            gevent.spawn(answers_to, self.applications, "describe", wait),
            gevent.spawn(answers_to, self.stations, "stats", wait, {"to": self.key}),
        ]
        try:
            pings, described, answers = gathered(queries)
        except PostageError as exc:
            return exc
        return _Round(pings, described + told(answers))


def one(key: str, wait: float) -> MessageResult:
    """Return the first description from behind *key*, or an exception result.  Switches."""
    remote = remote_to(key)
    if remote is None:
        return MessageResultException(NO_ROUTE, f"there are no applications here, nor {key!r}")
    result: MessageResult = remote.rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    if result:
        return result
    stations = Remote(EXCHANGE, ASK)
    answer = stations.rpc_command("info", {"to": key}, _timeout=wait, _max_retry=0)
    found = told([answer.value]) if answer else []
    return MessageResult(found[0]) if found else result


def remote_to(key: str) -> Remote | None:
    """Return a producer for queries; None if the exchange does not exist, so no application does.

    Connects: raises `ConnectionFailed`, and switches.
    """
    try:
        return Remote(EXCHANGE, key)
    except TopologyMismatch:
        return None


def answers_to(remote: Remote, command: str, wait: float, parameters: Any = BRIEF) -> Answers:
    """Return the answers to *command* within *wait* seconds, or the error that prevents them.

    An error is returned, not raised: gevent would print the traceback of the greenlet.
    """
    try:
        results = remote.consume_rpc(
            remote.rpc_command(command, parameters, _queue_only=True), NO_LIMIT, timeout=wait
        )
    except TimeoutError as exc:
        results = list(exc.results)
    except PostageError as exc:
        return exc
    return [result.value for result in results if result]


def gathered(queries: Iterable[gevent.Greenlet[..., Answers]]) -> list[list[Any]]:
    """Wait for all *queries*; return their answers, or raise the first error."""
    found = [greenlet.get() for greenlet in queries]
    for each in found:
        if isinstance(each, PostageError):
            raise each
    return [each for each in found if isinstance(each, list)]


def hear_goodbyes(on_end: Callable[[object, object], object]) -> GenericConsumer:
    """Call *on_end* with the instance and the key of each processor that says good-bye.

    Returns the consumer that hears them.  *on_end* is called in the hub.  Switches, and raises what
    making a consumer raises.
    """

    def take(delivery: Delivery) -> None:
        delivery.ack()
        with suppress(Exception):  # any program may send anything
            content = JsonEncoder.decode(delivery.body)["content"]
            on_end(content["instance"], content["key"])

    consumer = GenericConsumer([(EXCHANGE, [(GOODBYES, GOODBYE)])])
    consumer.prefetch = 100
    consumer.start(take)
    return consumer


def lost_connection() -> str:
    """Return that the connection to the broker is lost, as a text; empty if it is not.

    A query that waits for a new connection has not failed yet, so nothing else tells.
    """
    is_lost = any(each.losses and each.state != "open" for each in green.statistics())
    return "the connection to the broker is lost" if is_lost else ""


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
        self._goodbyes: GenericConsumer | None = None

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
            fleet = _Fleet.at(self.key)
            if fleet is None:
                self.apps.update([])
            else:
                self._goodbyes = self._goodbyes or hear_goodbyes(self._end)
                found = fleet.ask(wait)
                if isinstance(found, PostageError):
                    raise found
                self.apps.update(merged(*found))
        except PostageError as exc:
            self._error = f"{type(exc).__name__}: {exc}"
        else:
            self.as_of, self._error = time.strftime("%H:%M:%S"), ""

    def _end(self, instance: object, key: object) -> None:
        self.apps.end(instance, key)
        self.changed.set()

    @property
    def problem(self) -> str:
        """Why asking fails at the moment; empty if it does not."""
        return self._error or lost_connection()
