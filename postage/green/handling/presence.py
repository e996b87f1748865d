"""Answers queries for all processors of a process: see `postage.discovery`.

How it works
------------
All processors of one hub with the same settings share a `Station`.  The first one that starts opens
it, and the end of the last one closes it.  The station has one exclusive queue, which ends with the
connection, so a process that is killed stops answering at once.  It takes one query after the
other, and tells; no query changes anything.

A processor never fails because of its station: if the broker refuses the queue, the log says so
once, and the processor is not found.
"""

from __future__ import annotations

import functools
import itertools
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import gevent

from postage.addressing import PRIVATE_QUEUES, matches_any
from postage.discovery import ASK, GOODBYE, QUERIES, GenericApplicationExchange, keys_of
from postage.encoding import JsonEncoder, body_of
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
    PostageError,
)
from postage.exchange import Exchange
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties
from postage.green.consumer import GenericConsumer
from postage.green.handling import telling
from postage.green.publishing import publish_confirmed
from postage.green.runtime import Runtime, runtime_of
from postage.log_records import counted
from postage.message import MessageResult, MessageStatus, check_body
from postage.queues import Classic

__all__ = ["Station", "enter"]

logger = HubLogger(__name__)

TOLD_AT_ONCE = 20
"""Descriptions in one answer.  Between two answers, other greenlets run."""
DELAY = 0.2
"""Seconds from the start of the first processor until its station opens, so that processors begin
to work first, and programs that end at once declare nothing."""
FAREWELL_LIMIT = 0.25
"""Seconds that the good-bye of a processor may take."""
CLOSE_LIMIT = 0.5
QUEUE = Classic("", exclusive=True, auto_delete=True, max_length=100)


class PassiveApplicationExchange(GenericApplicationExchange):
    """The exchange for a user who may not declare it."""

    passive = True


class _QueryConsumer(GenericConsumer):
    """Takes one query at a time."""

    prefetch = 1
    max_body = 1 << 14


def enter(processor: Any) -> Station | None:
    """Let queries find *processor*, which starts; return its station, or None if it has none.

    Never switches.
    """
    settings = processor.consumer.settings
    if not settings.discovery:
        return None
    runtime = runtime_of(settings)
    station: Station | None = runtime.station
    if station is None or station.is_closed:
        station = runtime.station = Station(runtime, settings)
    station.add(processor)
    return station


_numbers = itertools.count()
"""The numbers of the processors of this process that are no applications."""


class _Member:
    """A processor that queries find."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.since = processor, time.monotonic()
        known = processor.fingerprint
        address = getattr(processor, "address", None)
        key = getattr(address, "unique_key", None)  # of an application
        self.id = key or f"{known['pid']}-{next(_numbers)}@{known['host']}"

    def answers(self, to: str) -> bool:
        """Tell whether a query for *to* is for this processor."""
        groups = telling.groups_of(self.processor)
        return to in keys_of(self.processor.fingerprint, self.id, groups)

    def tell(self, query: str) -> dict[str, Any]:
        """Return what the processor tells."""
        if query in ("stats", "flows"):
            tell = telling.stats if query == "stats" else telling.flows
            return tell(self.processor, self.id, time.monotonic() - self.since)
        return (telling.info if query == "info" else telling.ping)(self.processor, self.id)


@functools.cache
def _instance_of(_pid: int) -> str:
    """Return what tells this process from another one that claims the same host and pid.

    It is one text for all stations of a process; a forked child has another one.
    """
    return secrets.token_hex(4)


class Station:
    """Answers for the processors of one hub with the same settings."""

    def __init__(self, runtime: Runtime, settings: Any) -> None:
        self.is_closed = False
        self._pair, self._settings = runtime.pair, settings
        self._instance = _instance_of(os.getpid())
        self._members: dict[int, _Member] = {}  # by id: processors of users may not be hashable
        self._consumer: GenericConsumer | None = None
        self._queries: deque[Delivery] = deque()
        self._answering: Any = None
        self._opening: Any = None
        self._may_speak = True

    def add(self, processor: Any) -> None:
        """Answer for *processor*, too; never switches."""
        self._members[id(processor)] = _Member(processor)
        if self._opening is None:
            self._opening = gevent.spawn_later(DELAY, self._open)

    def remove(self, processor: Any) -> None:
        """Answer no longer for *processor*, and say good-bye for it.

        Switches, and takes `FAREWELL_LIMIT` at most.  The last one closes the station.
        """
        member = self._members.pop(id(processor), None)
        if member is not None:
            self._say_goodbye(member)
        if not self._members and not self.is_closed:
            self.is_closed = True
            gevent.spawn(self._close)

    # --- the queue

    def _open(self) -> None:
        """Consume from the queue of the station, as soon as there is a connection."""
        backoff = Backoff()
        while not self.is_closed:
            try:
                consumer = self._made_consumer()
            except (ConnectionFailed, ConnectionLost, OperationTimeout) as exc:
                logger.debug("Discovery waits for the broker: %s", exc)
                gevent.sleep(backoff.pause())
                continue
            except ConnectionClosed:
                self.is_closed = True
                return
            except PostageError as exc:
                self._give_up(exc)
                return
            self._consumer = consumer
            if self._members:
                consumer.start(self._receive, self._on_end)
            else:  # closed meanwhile
                self._close()
            return

    def _made_consumer(self) -> GenericConsumer:
        try:
            return self._consumer_on(GenericApplicationExchange)
        except ChannelRefused:  # perhaps only the exchange, which others may have declared
            return self._consumer_on(PassiveApplicationExchange)

    def _consumer_on(self, exchange: type[Exchange]) -> GenericConsumer:
        return _QueryConsumer([(exchange, [(QUEUE, ASK)])], settings=self._settings)

    def _on_end(self, error: Exception | None) -> None:
        if isinstance(error, ConnectionClosed):
            self.is_closed = True
        elif error is not None:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        text = (
            "`postage ps` and `top` do not find the processors of this process, because the "
            "broker refuses a queue for that (POSTAGE_DISCOVERY=0 declares none): %s"
        )
        logger.info(text, error, extra=counted(type(error).__name__))

    def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.stop(CLOSE_LIMIT)

    # --- queries

    def _receive(self, delivery: Delivery) -> None:
        """Take a query; runs in the hub."""
        self._queries.append(delivery)
        if self._answering is None:
            self._answering = gevent.spawn(self._answer_all)

    def _answer_all(self) -> None:
        try:
            while self._queries:
                delivery = self._queries.popleft()
                delivery.ack()
                try:
                    self._answer(delivery)
                except Exception as exc:  # whatever a peer sends, the next query is answered
                    text = "A query was not answered: %s"
                    logger.debug(text, exc, extra=counted(type(exc).__name__))
        finally:
            self._answering = None

    def _answer(self, delivery: Delivery) -> None:
        consumer, header = self._consumer, delivery.properties
        query, to = _parsed(delivery)
        if consumer is None or not matches_any(header.reply_to, PRIVATE_QUEUES):
            return  # this process publishes to no queue that anybody names
        meant = [each for each in list(self._members.values()) if each.answers(to)]
        for told in _record(meant) if query == "flight" else _portions(meant, query):
            consumer.reply(header, MessageResult({"instance": self._instance, **told}), None)
            gevent.sleep(0)

    # --- good-bye

    def _say_goodbye(self, member: _Member) -> None:
        consumer = self._consumer
        if consumer is None or not consumer.consuming or not self._may_speak:
            return  # there is no exchange, or no connection
        message = MessageStatus("goodbye")
        message.body["content"] |= {"key": member.id, "instance": self._instance}
        try:
            properties = Properties(content_type="application/json")
            body = body_of(JsonEncoder(), message.body)
            args = PassiveApplicationExchange, GOODBYE, properties, body, False
            publish_confirmed(self._pair, args, limit=FAREWELL_LIMIT)
        except ChannelRefused as exc:
            self._may_speak = False
            logger.debug("The good-bye of a processor was refused: %s", exc)
        except Exception as exc:  # whatever it is, the processor ends in order
            logger.debug("The good-bye of a processor was not sent: %s", exc)


def _parsed(delivery: Delivery) -> tuple[str, str]:
    """Return the name of a query, and whom it is for; raise an error if it is none."""
    body = check_body(JsonEncoder.decode(delivery.body))
    query, parameters = body["name"], body["content"].get("parameters")
    to = parameters.get("to") if isinstance(parameters, dict) else None
    if body["category"] != "rpc" or query not in QUERIES or not isinstance(to, str):
        raise ValueError("it is no query")
    return query, to


def _portions(meant: list[_Member], query: str) -> Iterator[dict[str, Any]]:
    """Yield what the members *meant* tell, in answers of `TOLD_AT_ONCE`."""
    for first in range(0, len(meant), TOLD_AT_ONCE):
        yield {"processors": [each.tell(query) for each in meant[first : first + TOLD_AT_ONCE]]}


def _record(meant: list[_Member]) -> Iterator[dict[str, Any]]:
    """Yield the end of the flight record: one answer, as the process has one record."""
    for each in meant[:1]:
        yield telling.flight(each.processor, each.id)
