"""What a broker may refuse by ending the whole connection, and what it has refused.  Pure: no I/O.

How it works
------------
Most refusals end a channel, so declarations run on leased channels.  A few end the connection
(AMQP 0-9-1, hard errors), which all components share: exchange types that the broker does not know
(RabbitMQ before 4), shared queues that are not durable (RabbitMQ 4).

`Declaration` knows which declarations no broker refuses in this way.  Any other is *doubtful*,
until this connection has seen one of its sort accepted: `Trials` carries it out on a connection
of its own.

`Refusals` remembers what was refused, so that a program that repeats its mistake does not repeat
the trial.  It also remembers what was under way when a connection was ended by a refusal that
nobody foresaw: these declarations are *suspect*, and so they are doubtful, too.  The broker does
not reliably say which request it refused.  To suspect an innocent one costs one trial.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from postage.errors import ChannelRefused

__all__ = ["Declaration", "Refusals"]

REMEMBERED = 60.0
"""Seconds for which a refusal is repeated without asking the broker, whose plugins may change."""
COUNTED = 2.0
"""Seconds for which a busy RabbitMQ may still count a channel that has ended: the end reaches the
counter as an event (``rabbit_channel_tracking``)."""
MOST_REMEMBERED = 1000
"""Refusals and suspicions that are remembered.  Beyond that all are forgotten."""

TYPES = ("direct", "fanout", "topic", "headers")
"""The exchange types that every broker has (AMQP 0-9-1)."""
QUEUE_TYPES = ("classic", "quorum")
# Where these have wrong values, every known version of RabbitMQ ends only the channel.
QUEUE_ARGUMENTS = {
    "x-consumer-disconnected-timeout",
    "x-consumer-timeout",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-delayed-retry-max",
    "x-delayed-retry-min",
    "x-delayed-retry-type",
    "x-delivery-limit",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-mode",
    "x-queue-type",
    "x-queue-version",
    "x-quorum-initial-group-size",
    "x-single-active-consumer",
}
LONGEST_ARGUMENTS = 4096
"""Characters of arguments that fit into a frame of any broker."""

_CORRECT = "Correct the declaration, or enable the feature or plugin of the broker that it needs"
_DURABLE = (
    "RabbitMQ 4 denies queues that are neither durable nor exclusive: leave durable = False out, "
    "and write green.Classic(name, auto_delete=True) or Classic(name, expires=seconds) for a queue "
    "that shall not stay; or set deprecated_features.permit.transient_nonexcl_queues = true on the "
    "broker"
)
_STREAM = (
    "The embedded broker has no streams: run what needs them on RabbitMQ, or declare another type "
    "of queue for this broker"
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """An exchange or queue as it is declared."""

    what: str
    """The exchange or queue with its name and the flags that may be refused, for people."""
    sort: tuple[Hashable, ...]
    """All of it that may be refused by ending the connection: not the name, and of the arguments
    only the names."""
    is_usual: bool
    """Whether every broker carries it out, or refuses it by ending only the channel."""
    is_exclusive: bool = False
    """Whether it belongs to the connection that declares it."""
    is_sort_checked_first: bool = False
    """Whether a refusal that ends only the channel shows that all of its sort do: brokers check the
    type of an exchange first, but a queue that exists before its flags."""
    remedy: str = _CORRECT
    """What to do if it is refused."""

    @classmethod
    def of_exchange(cls, parameters: Mapping[str, Any]) -> Declaration:
        """Return the declaration of an exchange with these ``Exchange.parameters``."""
        type_, arguments = str(parameters["exchange_type"]), parameters["arguments"] or {}
        what = f"exchange {parameters['exchange']!r} of type {type_!r}"
        fits = len(str(arguments)) <= LONGEST_ARGUMENTS
        is_usual = fits and (parameters["passive"] or type_ in TYPES)
        flags = parameters["durable"], parameters["auto_delete"]
        sort = "exchange", type_, *map(bool, flags), _names(arguments)
        return cls(what, sort, is_usual, is_sort_checked_first=True)

    @classmethod
    def of_queue(cls, name: str, flags: Mapping[str, Any]) -> Declaration:
        """Return the declaration of the queue *name* with the *flags* of queue.declare."""
        arguments = flags.get("arguments") or {}
        type_ = str(arguments.get("x-queue-type", "classic"))
        durable, exclusive = bool(flags.get("durable")), bool(flags.get("exclusive"))
        fits = len(str(arguments)) <= LONGEST_ARGUMENTS
        is_known = type_ in QUEUE_TYPES and QUEUE_ARGUMENTS.issuperset(arguments) and fits
        given = {key: value for key, value in flags.items() if value or key == "durable"}
        shown = ", ".join(f"{key} = {value!r}" for key, value in given.items())
        return cls(
            f"queue {name!r} with {shown}",
            ("queue", type_, durable, exclusive, bool(flags.get("auto_delete")), _names(arguments)),
            bool(flags.get("passive")) or (is_known and (durable or exclusive)),
            exclusive,
            remedy=_remedy(type_, is_shared_and_transient=not (durable or exclusive)),
        )

    def refused(self, code: int, text: str) -> ChannelRefused:
        """Return the error for this declaration, which the broker has refused."""
        remedy = "" if self.is_usual else self.remedy
        return ChannelRefused(code, text, what=self.what, remedy=remedy)


def _remedy(type_: str, *, is_shared_and_transient: bool) -> str:
    """Return what to do if a queue of this type is refused by ending the connection."""
    if type_ == "stream" and not is_shared_and_transient:
        return _STREAM
    return _DURABLE if is_shared_and_transient and type_ in QUEUE_TYPES else _CORRECT


def _names(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(map(str, arguments)))


class Refusals:
    """What one broker has refused, and what is suspect.  The connections of a pair share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Hashable, tuple[float, int, str]] = {}
        self._suspects: set[Hashable] = set()
        self._channel_ended_at = -math.inf
        self.channels: int | None = None
        """How many channels the broker allows all connections of the user; None: not known."""
        self.channels_used = 0
        """How many of them the connections of the pair have."""
        self.acks_only: set[str] = set()
        """The queues that end a connection when a delivery is rejected: streams of RabbitMQ 3."""
        self.on_limit: list[Callable[[], object]] = []
        """Called when `channels` becomes less."""

    def note_channel_end(self) -> None:
        """Note that a channel of the pair, which was open, has ended."""
        self._channel_ended_at = self._clock()

    @property
    def counts_ended(self) -> bool:
        """Whether the broker may still count a channel of the pair that has ended."""
        return self._clock() < self._channel_ended_at + COUNTED

    def limit_channels(self, told: int) -> None:
        """Note that the broker has refused a channel, and has *told* the number that it allows."""
        known = self.channels
        if known is None or told < known:
            self.channels = told
        elif self.channels_used:  # other processes of this user have channels, too
            self.channels = min(known, max(2, known // 2))
        for callback in [*self.on_limit]:
            callback()

    @property
    def allows_channel(self) -> bool:
        """Whether the user may have one more channel, as far as is known."""
        return self.channels is None or self.channels_used < self.channels

    def check(self, declaration: Declaration) -> None:
        """Raise `ChannelRefused` if the broker has refused *declaration* lately."""
        refused = self._refused and self._refused.get(_culprit(declaration))
        if not refused:
            return
        until, code, text = refused
        if self._clock() < until:
            raise declaration.refused(code, text)
        del self._refused[_culprit(declaration)]

    def is_suspect(self, declaration: Declaration) -> bool:
        """Return whether *declaration* may have ended a connection."""
        return not self._suspects.isdisjoint(_marks(declaration))

    def suspect(self, declaration: Declaration) -> None:
        """Note that *declaration* was under way when a refusal ended its connection."""
        if len(self._suspects) >= MOST_REMEMBERED:
            self._suspects.clear()
        self._suspects |= _marks(declaration)

    def accept(self, declaration: Declaration) -> None:
        """Note that the broker has carried out *declaration*."""
        self._suspects -= _marks(declaration)

    def refuse(self, declaration: Declaration, error: ChannelRefused) -> ChannelRefused:
        """Remember *error*, which is about *declaration*; return the error to raise."""
        if error.is_final:
            if len(self._refused) >= MOST_REMEMBERED:
                self._refused.clear()
            until = self._clock() + REMEMBERED
            self._refused[_culprit(declaration)] = until, error.code, error.text
        return declaration.refused(error.code, error.text)


def _marks(declaration: Declaration) -> set[Hashable]:
    """Return what is suspect with *declaration*: itself, its sort, and its type."""
    return {declaration, declaration.sort, declaration.sort[:2]}


def _culprit(declaration: Declaration) -> Hashable:
    # A usual sort has other, innocent members, so there must be something about this one.
    return declaration if declaration.is_usual else declaration.sort
