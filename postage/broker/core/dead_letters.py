"""Dead letters: messages that have expired, were rejected, or exceed a limit (RabbitMQ, DLX)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from postage.broker.core.backlog import AT_ONCE, MOST_EFFORT, Backlog
from postage.broker.core.clock import Timers
from postage.broker.core.likeness import Likeness
from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.routing import BrokerExchange
from postage.broker.wire.content import (
    MessageHeader,
    PublishedMessage,
    encode_properties,
    encoded_headers,
)
from postage.broker.wire.exceptions import ChannelFault
from postage.broker.wire.fields import Long, Timestamp
from postage.log_records import counted, logger_of

__all__ = ["MOST_LETTERS", "DeadLetters", "Lineage", "dead_letter"]

logger = logger_of(__name__)

MOST_LETTERS = 1_000
"""Dead letters that one message may cause before the next letter of its letters is dropped.

RabbitMQ lets N queues that pass their dead letters to each other make N! letters of one message.
"""


_OF_FIRST = ("x-first-death-reason", "x-first-death-queue", "x-first-death-exchange")
_OF_LAST = ("x-last-death-reason", "x-last-death-queue", "x-last-death-exchange")
_OF_DEATHS = ("x-death", *_OF_FIRST, *_OF_LAST)
_READ = ("x-death", "CC")
"""The headers that the next entry of x-death depends on."""


class Lineage:
    """Counts the dead letters that have come of one message, letters of letters included.

    It starts when a message dies for the first time, and again when a client rejects a letter.
    """

    __slots__ = ("letters",)

    def __init__(self) -> None:
        self.letters = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether no further letter may come of the message."""
        return self.letters >= MOST_LETTERS


class Death(NamedTuple):
    """In which queue a message has died, and why.

    The queue may be deleted before the letter is published, and would be kept in memory by it.
    """

    queue: str
    reason: str
    letter_exchange: str
    letter_key: str | None
    """The routing key of the letter; None: that of the message."""


class Router(Protocol):
    """A virtual host as dead letters see it."""

    exchanges: dict[str, BrokerExchange]
    likeness: Likeness
    backlog: Backlog

    def route(self, message: PublishedMessage) -> Sequence[BrokerQueue]:
        """Return the queues that *message* goes to; raises 406 if they are hard to find."""

    def put_all(self, message: PublishedMessage, queues: Sequence[BrokerQueue]) -> bool:
        """Put *message* into *queues*."""


class DeadLetters:
    """Publishes the dead letters of a virtual host, one after the other."""

    def __init__(self, router: Router, timers: Timers, account: Callable[[int], None]) -> None:
        self._router, self._timers, self._account = router, timers, account

    def publish(self, queue: BrokerQueue, queued: QueuedMessage, reason: str) -> None:
        """Publish *queued* as a dead letter, after all that waits in the backlog."""
        target = queue.options.dead_letter_exchange
        if target is None or target not in self._router.exchanges:
            return
        self._account(queued.size)  # until it is published: many of them may wait
        death = Death(queue.name, reason, target, queue.options.dead_letter_key)
        work = f"a dead letter of {queue.name!a}"
        self._router.backlog.add(partial(self._publish, queued, death), work)

    def _publish(self, queued: QueuedMessage, death: Death) -> int:
        """Publish *queued* as a dead letter; return the effort."""
        self._account(-queued.size)
        lineage = queued.header.lineage
        if lineage is None or death.reason == "rejected":  # each letter has cost a client a reject
            lineage = Lineage()
        if lineage.is_exhausted:
            text = "A message that died in queue %a is dropped: it has caused %d dead letters."
            logger.warning(text, death.queue, lineage.letters, extra=counted())
            return 10
        likeness = self._router.likeness
        letter = dead_letter(queued.message, death, self._timers.wall(), lineage, likeness=likeness)
        try:
            found = self._router.route(letter)
        except ChannelFault as exc:
            text = "A dead letter of queue %a is dropped: %s"
            logger.warning(text, death.queue, exc, extra=counted())
            return MOST_EFFORT
        passed = _queues_passed(letter, death.reason)
        queues = [each for each in found if each.name not in passed]
        lineage.letters += len(queues)
        self._router.put_all(letter, queues)
        return 50 + 10 * min(len(queues), AT_ONCE) + len(letter.header.data)


def dead_letter(
    message: PublishedMessage, death: Death, wall: float, lineage: Lineage, *, likeness: Likeness
) -> PublishedMessage:
    """Return *message* as it is published after its *death*."""
    values, came = encoded_headers(message.header.data)
    headers: dict[str, Any] = dict(came)
    if likeness.own_deaths_only:
        if message.header.lineage is None:
            headers = {name: headers[name] for name in headers if name not in _OF_DEATHS}
        headers |= dict(zip(_OF_LAST, (death.reason, death.queue, message.exchange), strict=True))
    expiration = values.pop("expiration", None)
    known = {name: each.decoded for name, each in came.items() if name in headers and name in _READ}
    headers["x-death"] = _deaths(message, known, death.queue, death.reason, wall, expiration)
    for name, value in zip(_OF_FIRST, (death.reason, death.queue, message.exchange), strict=True):
        headers.setdefault(name, value)
    values["headers"] = headers
    key = death.letter_key
    if key is not None and not likeness.keeps_copied_keys:
        headers.pop("CC", None)  # the queue's key replaces all keys of the message
    header = message.header
    more_keys, cost = (header.more_keys, header.keys_cost) if key is None else ((), 0)
    data = encode_properties(values)
    return PublishedMessage(
        death.letter_exchange,
        message.key if key is None else key,
        MessageHeader(data, header.priority, more_keys=more_keys, keys_cost=cost, lineage=lineage),
        message.body,
    )


def _deaths(  # noqa: PLR0913 - the contents of an entry of x-death
    message: PublishedMessage,
    headers: dict[str, Any],
    queue: str,
    reason: str,
    wall: float,
    expiration: str | None,
) -> list[dict[str, Any]]:
    """Return the x-death table: the newest death first, one for each pair of queue and reason."""
    before = headers.get("x-death")
    deaths = [each for each in before if isinstance(each, dict)] if isinstance(before, list) else []
    same = [each for each in deaths if _is_death(each, queue, reason)]
    known = same[0] if same and _is_sound(same[0]) else {}
    copies = headers.get("CC")
    copies = copies if isinstance(copies, list) else []
    keys = [message.key, *(each for each in copies if isinstance(each, str))]
    newest: dict[str, Any] = {
        "count": Long(known.get("count", 0) + 1),
        "reason": reason,
        "queue": queue,
        "time": known.get("time", Timestamp(wall)),
        "exchange": known.get("exchange", message.exchange),
        "routing-keys": known.get("routing-keys", keys),
    }
    if expiration is not None:
        newest["original-expiration"] = expiration
    return [newest, *(each for each in deaths if not _is_death(each, queue, reason))]


def _is_death(entry: dict[str, Any], queue: str, reason: str) -> bool:
    return (entry.get("queue"), entry.get("reason")) == (queue, reason)


def _is_sound(entry: dict[str, Any]) -> bool:
    """Tell whether a broker may have written *entry*; a publisher can write anything there."""
    return all(
        name not in entry or (type(entry[name]) in types and fits(entry[name]))
        for name, (types, fits) in _ENTRY.items()
    )


def _is_count(value: int) -> bool:
    return 0 < value < _MOST_DEATHS


def _are_keys(values: list[Any]) -> bool:
    return all(isinstance(each, str) for each in values)


_MOST_DEATHS = (1 << 63) - 1
"""One more than this fits into no field of a table."""
_ENTRY: dict[str, tuple[set[type], Callable[[Any], bool]]] = {
    "count": ({int, Long}, _is_count),
    "time": ({Timestamp}, bool),
    "exchange": ({str}, lambda _: True),
    "routing-keys": ({list}, _are_keys),
}
"""The types of the fields of an entry of x-death that the broker takes over, and their check."""


def _queues_passed(letter: PublishedMessage, reason: str) -> set[str]:
    """Return the queues that *letter* has passed since a client rejected it.

    It must not enter them again.  Only names that can be names of queues are returned.
    """
    deaths = letter.headers.get("x-death")
    if reason == "rejected" or not isinstance(deaths, list):
        return set()
    entries = (each for each in deaths if isinstance(each, dict))
    path = takewhile(lambda entry: entry.get("reason") != "rejected", entries)
    return {name for each in path if isinstance(name := each.get("queue"), str)}
