"""Tries on the broker what components do: declare, bind, publish and consume.

`BrokerTrial.close` removes the queue and the exchange.  If this process is killed before, the
broker does so: the queue is exclusive, and the exchange ends with its only binding.  (An exchange
stays if the process is killed, by SIGKILL, after it was declared and before it was bound.)

RabbitMQ tells of an alarm only when a connection publishes, and reads nothing more from it then.
Publishing therefore has a connection of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event

from postage.cli.checking.doctor import broker_advice as advice
from postage.cli.checking.doctor.broker_advice import Act
from postage.cli.checking.doctor.diagnoses import Diagnosis, Rating
from postage.errors import OperationTimeout, PostageError
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import PUBLISHING, Connection
from postage.green.amqp.getting import Gets
from postage.green.amqp.properties import Properties
from postage.settings import Settings
from postage.url import Address

CLOSE_LIMIT = 1.0
"""Seconds for closing a connection: one that publishes may be blocked by an alarm."""
REMOVAL_LIMIT = 5.0
"""Seconds for removing what was made: a busy broker answers an interrupted declaration first."""
BODY = b"postage doctor"


def connect(settings: Settings, role: str, address: Address) -> Connection:
    """Return a new connection to *address*; switches, and raises what `Connection` does."""
    return Connection(settings, role, lambda _reason, _properties: None, address)


class BrokerTrial:
    """A trial over *connection*, with names that begin with *prefix*; each step takes *limit* s."""

    def __init__(self, connection: Connection, prefix: str, limit: float) -> None:
        self._connection, self._limit = connection, limit
        self._settings = connection.settings
        self.name = f"{prefix}{secrets.token_hex(8)}"
        """The name of the queue and of the exchange."""
        self._queue = self._exchange = False
        self._held: Channel | None = None
        self._publishing: Connection | None = None

    def diagnoses(self) -> Iterator[Diagnosis]:
        """Yield a diagnosis for each step; switches, and raises no `PostageError`."""
        name = self.name
        queue = self._try(advice.DECLARE_QUEUE, self._declare_queue)
        yield queue
        exchange = self._try(advice.DECLARE_EXCHANGE, self._declare_exchange)
        yield exchange
        has_queue, has_exchange = (each.rating is Rating.OK for each in (queue, exchange))
        if has_queue and has_exchange:
            bound = self._try(advice.BIND, lambda: self._channel().queue_bind(name, name, name))
        else:
            bound = self._skipped(advice.BIND)
        yield bound
        before = time.time()
        yield from self._publish(name if has_exchange else "")
        if not has_queue:
            yield self._skipped(advice.CONSUME)
            return
        stamps: list[float] = []
        yield self._try(advice.CONSUME, lambda: self._take(stamps))
        for stamp in stamps:
            yield advice.judge_clock(stamp, before, time.time())

    def close(self) -> None:
        """Remove what the trial has made, and end its connections; switches, never raises."""
        if self._publishing is not None:
            self._publishing.close(CLOSE_LIMIT)
        steps: list[Callable[[Channel], object]] = []
        if self._queue:
            steps.append(lambda channel: channel.queue_delete(self.name))
        if self._exchange:
            steps.append(lambda channel: channel.exchange_delete(self.name))
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(REMOVAL_LIMIT):
            for step in steps:
                with contextlib.suppress(PostageError):
                    step(self._channel())
        self._connection.close(CLOSE_LIMIT)

    def _channel(self) -> Channel:
        """Return the channel of all declarations: the broker carries out its requests in order.

        A removal over another channel could overtake a declaration that was interrupted.
        """
        if self._held is None or not self._held.alive:
            self._held = self._connection.open_channel()
        return self._held

    def _try(self, act: Act, step: Callable[[], object]) -> Diagnosis:
        error: PostageError | None = None
        try:
            step()
        except PostageError as exc:
            error = exc
        return advice.judge_act(act, self.name, self._settings, error)

    def _skipped(self, act: Act) -> Diagnosis:
        return advice.diagnosis(act.name, Rating.SKIPPED, "it needs what could not be declared")

    def _declare_queue(self) -> None:
        channel = self._channel()
        self._queue = True  # before: an interrupted declaration may still be carried out
        channel.queue_declare(self.name, exclusive=True)

    def _declare_exchange(self) -> None:
        channel = self._channel()
        self._exchange = True  # as above
        channel.exchange_declare(
            exchange=self.name, exchange_type="direct", durable=False, auto_delete=True
        )

    # --- publishing and consuming

    def _publish(self, exchange: str) -> Iterator[Diagnosis]:
        """Yield the diagnoses of publishing to *exchange* and on alarms."""
        address = self._connection.host, self._connection.port
        try:
            connection = connect(self._settings, PUBLISHING, address)
        except PostageError as exc:
            yield advice.judge_act(advice.PUBLISH, exchange, self._settings, exc)
            return
        self._publishing = connection
        ended = gevent.event.Event()
        connection.transport.add_on_connection_blocked_callback(lambda *_: ended.set())
        publishing = gevent.spawn(self._publish_over, connection, exchange)
        publishing.rawlink(lambda _: ended.set())
        try:
            ended.wait(self._limit)
            blocked = connection.transport.blocked
            yield advice.judge_alarm(blocked)
            if blocked is not None and not publishing.ready():
                text = "it waits for the end of the alarm"
                yield advice.diagnosis(advice.PUBLISH.name, Rating.SKIPPED, text)
            else:
                late = OperationTimeout("basic.publish", self._limit)
                error = publishing.value if publishing.ready() else late
                name = exchange or "amq.default"
                yield advice.judge_act(advice.PUBLISH, name, self._settings, error)
        finally:
            publishing.kill()

    def _publish_over(self, connection: Connection, exchange: str) -> PostageError | None:
        """Publish a message, and return why that failed, or None."""
        try:
            channel = connection.open_channel(confirms=True)
            properties = Properties(message_id=self.name)
            channel.publish_confirmed(exchange, self.name, properties, BODY, limit=self._limit)
            # In an alarm, RabbitMQ may confirm this message, but it reads nothing after it.
            connection.open_channel()
        except PostageError as exc:
            return exc
        return None

    def _take(self, stamps: list[float]) -> None:
        """Get the message, if there is one, and note the broker's time if it has stamped it."""
        channel = self._channel()
        gets = Gets(channel, self._limit)
        gets.ask(self.name)
        delivery = gets.answer()
        if delivery is not None:
            stamp = _stamp(delivery.properties)
            stamps += [] if stamp is None else [stamp]


def _stamp(properties: Any) -> float | None:
    """Return the time at which the broker has taken the message, by the timestamp plugin."""
    try:
        stamp = properties.timestamp
    except PostageError:
        return None
    return None if stamp is None else float(stamp)
