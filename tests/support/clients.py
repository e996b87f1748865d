"""Several AMQP clients behind one interface, each used as its own manual shows.

They block the thread.  Each library is imported when its client is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pika
import pika.exceptions
import pytest

__all__ = ["CLIENTS", "Address", "Client", "Got"]

TIMEOUT = 5.0
"""Seconds for the broker to answer."""


class Address(NamedTuple):
    """The address of a broker, with the login."""

    port: int
    vhost: str
    host: str = "127.0.0.1"
    user: str = "guest"
    password: str = "guest"


@dataclass
class Got:
    """A message from a queue."""

    body: bytes
    redelivered: bool
    headers: dict[str, Any]
    reply_to: str | None
    correlation_id: str | None
    handle: Any
    """What the client needs to acknowledge it."""


class Client(Protocol):
    """One connection with one channel."""

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        """Declare a durable queue: RabbitMQ 4 refuses others, unless they are exclusive."""

    def declare_exchange(self, name: str, kind: str) -> None:
        """Declare an exchange."""

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind a queue to an exchange."""

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        """Publish; *properties* are priority, expiration (milliseconds), reply_to and so on."""

    def get(self, queue: str) -> Got | None:
        """Take one message, or None."""

    def consume(self, queue: str, count: int) -> list[Got]:
        """Consume *count* messages, then cancel the consumer."""

    def ack(self, got: Got) -> None:
        """Acknowledge."""

    def reject(self, got: Got, *, requeue: bool) -> None:
        """Reject, and requeue or discard."""

    def confirms(self) -> Callable[[str, bytes], bool]:
        """Return a function that publishes to a queue, and returns whether it was confirmed."""

    def begin(self) -> None:
        """Start a transaction."""

    def commit(self) -> None:
        """Commit the transaction."""

    def rollback(self) -> None:
        """Roll the transaction back."""

    def close(self) -> None:
        """Close the connection."""


def _until(arrived: list[Got], count: int, drive: Callable[[], object]) -> list[Got]:
    """Call *drive* until *count* messages have arrived."""
    deadline = time.monotonic() + TIMEOUT
    while len(arrived) < count:
        assert time.monotonic() < deadline, f"{len(arrived)} of {count} messages arrived"
        drive()
    return arrived


def _bytes(body: bytes | str) -> bytes:
    """Return the bytes of *body*, which some clients have decoded."""
    return body if isinstance(body, bytes) else body.encode()


class Pika:
    """pika's blocking connection."""

    def __init__(self, address: Address) -> None:
        credentials = pika.PlainCredentials(address.user, address.password)
        where = pika.ConnectionParameters(address.host, address.port, address.vhost, credentials)
        self._connection = pika.BlockingConnection(where)
        self._channel = self._connection.channel()

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        self._channel.queue_declare(queue, durable=True, arguments=arguments)

    def declare_exchange(self, name: str, kind: str) -> None:
        self._channel.exchange_declare(name, kind)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._channel.queue_bind(queue, exchange, key)

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        self._channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))

    def _got(self, method: Any, properties: Any, body: bytes) -> Got:
        headers, tag = properties.headers or {}, method.delivery_tag
        reply_to, id_ = properties.reply_to, properties.correlation_id
        return Got(body, method.redelivered, headers, reply_to, id_, tag)

    def get(self, queue: str) -> Got | None:
        found = self._channel.basic_get(queue)
        return None if found[0] is None else self._got(*found)

    def consume(self, queue: str, count: int) -> list[Got]:
        arrived: list[Got] = []
        take = lambda _channel, *parts: arrived.append(self._got(*parts))  # noqa: E731
        tag = self._channel.basic_consume(queue, take)
        _until(arrived, count, lambda: self._connection.process_data_events(0.1))
        self._channel.basic_cancel(tag)
        return arrived

    def ack(self, got: Got) -> None:
        self._channel.basic_ack(got.handle)

    def reject(self, got: Got, *, requeue: bool) -> None:
        self._channel.basic_nack(got.handle, requeue=requeue)

    def confirms(self) -> Callable[[str, bytes], bool]:
        self._channel.confirm_delivery()
        return self._confirmed

    def _confirmed(self, queue: str, body: bytes) -> bool:
        try:
            self._channel.basic_publish("", queue, body)
        except pika.exceptions.NackError:
            return False
        return True

    def begin(self) -> None:
        self._channel.tx_select()

    def commit(self) -> None:
        self._channel.tx_commit()

    def rollback(self) -> None:
        self._channel.tx_rollback()

    def close(self) -> None:
        self._connection.close()


class PyAmqp:
    """py-amqp, on which kombu and Celery are built."""

    def __init__(self, address: Address) -> None:
        self._amqp = pytest.importorskip("amqp", reason="py-amqp is not installed")
        self._connection = self._amqp.Connection(
            f"{address.host}:{address.port}",
            userid=address.user,
            password=address.password,
            virtual_host=address.vhost,
        )
        self._connection.connect()
        self._channel = self._connection.channel()

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        self._channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)

    def declare_exchange(self, name: str, kind: str) -> None:
        self._channel.exchange_declare(name, kind, auto_delete=False)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._channel.queue_bind(queue, exchange, key)

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        self._channel.basic_publish(self._amqp.Message(body, **properties), exchange, key)

    def _got(self, message: Any) -> Got:
        properties, info = message.properties, message.delivery_info
        return Got(
            _bytes(message.body),
            info["redelivered"],
            properties.get("application_headers") or {},
            properties.get("reply_to"),
            properties.get("correlation_id"),
            message.delivery_tag,
        )

    def get(self, queue: str) -> Got | None:
        message = self._channel.basic_get(queue)
        return None if message is None else self._got(message)

    def consume(self, queue: str, count: int) -> list[Got]:
        arrived: list[Got] = []
        tag = self._channel.basic_consume(queue, callback=lambda m: arrived.append(self._got(m)))
        _until(arrived, count, lambda: self._connection.drain_events(timeout=TIMEOUT))
        self._channel.basic_cancel(tag)
        return arrived

    def ack(self, got: Got) -> None:
        self._channel.basic_ack(got.handle)

    def reject(self, got: Got, *, requeue: bool) -> None:
        self._channel.basic_reject(got.handle, requeue)

    def confirms(self) -> Callable[[str, bytes], bool]:
        return self._confirmed

    def _confirmed(self, queue: str, body: bytes) -> bool:
        nacked = self._amqp.exceptions.MessageNacked
        try:
            self._channel.basic_publish_confirm(self._amqp.Message(body), "", queue)
        except nacked:
            return False
        return True

    def begin(self) -> None:
        self._channel.tx_select()

    def commit(self) -> None:
        self._channel.tx_commit()

    def rollback(self) -> None:
        self._channel.tx_rollback()

    def close(self) -> None:
        self._connection.close()


class Kombu(PyAmqp):
    """Producer, Consumer, Queue and Exchange of kombu; confirms and transactions of py-amqp."""

    def __init__(self, address: Address) -> None:
        self._kombu = pytest.importorskip("kombu", reason="kombu is not installed")
        self._amqp = pytest.importorskip("amqp", reason="py-amqp is not installed")
        self._connection = self._kombu.Connection(
            hostname=address.host,
            port=address.port,
            userid=address.user,
            password=address.password,
            virtual_host=address.vhost,
            transport="pyamqp",
        )
        self._channel = self._connection.channel()

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        self._kombu.Queue(queue, queue_arguments=arguments)(self._channel).declare()

    def declare_exchange(self, name: str, kind: str) -> None:
        self._kombu.Exchange(name, kind, durable=False)(self._channel).declare()

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._kombu.Queue(queue)(self._channel).bind_to(exchange, key)

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        if "expiration" in properties:  # in seconds here
            properties["expiration"] = int(properties["expiration"]) / 1000
        producer = self._kombu.Producer(self._channel)
        kinds = {"content_type": "application/data", "content_encoding": "binary"}
        producer.publish(body, key, exchange=exchange, **kinds, **properties)

    def _got(self, message: Any) -> Got:
        properties, info = message.properties, message.delivery_info
        return Got(
            _bytes(message.body),
            info["redelivered"],
            message.headers,
            properties.get("reply_to"),
            properties.get("correlation_id"),
            message,
        )

    def get(self, queue: str) -> Got | None:
        message = self._kombu.Queue(queue)(self._channel).get(no_ack=False)
        return None if message is None else self._got(message)

    def consume(self, queue: str, count: int) -> list[Got]:
        arrived: list[Got] = []
        queues = [self._kombu.Queue(queue, no_declare=True)]
        take = lambda message: arrived.append(self._got(message))  # noqa: E731
        with self._kombu.Consumer(self._channel, queues, on_message=take):
            _until(arrived, count, lambda: self._connection.drain_events(timeout=TIMEOUT))
        return arrived

    def ack(self, got: Got) -> None:
        got.handle.ack()

    def reject(self, got: Got, *, requeue: bool) -> None:
        got.handle.reject(requeue=requeue)


class AmqpStorm:
    """AMQPStorm, which reads in a thread of its own."""

    def __init__(self, address: Address) -> None:
        self._storm = pytest.importorskip("amqpstorm", reason="AMQPStorm is not installed")
        self._connection = self._storm.Connection(
            address.host,
            address.user,
            address.password,
            port=address.port,
            virtual_host=address.vhost,
        )
        self._channel = self._connection.channel()

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        self._channel.queue.declare(queue, durable=True, arguments=arguments)

    def declare_exchange(self, name: str, kind: str) -> None:
        self._channel.exchange.declare(name, kind)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._channel.queue.bind(queue, exchange, key)

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        self._channel.basic.publish(body, key, exchange, properties)

    def _got(self, message: Any) -> Got:
        properties = message.properties
        return Got(
            _bytes(message.body),
            message.redelivered,
            properties.get("headers") or {},
            message.reply_to or None,
            message.correlation_id or None,
            message,
        )

    def get(self, queue: str) -> Got | None:
        message = self._channel.basic.get(queue)
        return None if message is None else self._got(message)

    def consume(self, queue: str, count: int) -> list[Got]:
        arrived: list[Got] = []
        take = lambda message: arrived.append(self._got(message))  # noqa: E731
        tag = self._channel.basic.consume(take, queue)
        _until(arrived, count, self._process)
        self._channel.basic.cancel(tag)
        return arrived

    def _process(self) -> None:
        self._channel.process_data_events()
        time.sleep(0.005)  # another thread reads it

    def ack(self, got: Got) -> None:
        got.handle.ack()

    def reject(self, got: Got, *, requeue: bool) -> None:
        got.handle.nack(requeue=requeue)

    def confirms(self) -> Callable[[str, bytes], bool]:
        self._channel.confirm_deliveries()
        return lambda queue, body: bool(self._channel.basic.publish(body, queue))

    def begin(self) -> None:
        self._channel.tx.select()

    def commit(self) -> None:
        self._channel.tx.commit()

    def rollback(self) -> None:
        self._channel.tx.rollback()

    def close(self) -> None:
        self._connection.close()


class AioPika:
    """aio-pika, in a loop that runs during each call."""

    def __init__(self, address: Address) -> None:
        self._aio = pytest.importorskip("aio_pika", reason="aio-pika is not installed")
        self._loop = asyncio.new_event_loop()
        self._connection = self._run(
            self._aio.connect(
                host=address.host,
                port=address.port,
                login=address.user,
                password=address.password,
                virtualhost=address.vhost,
            )
        )
        self._channel = self._run(self._open(confirms=False))
        self._transaction: Any = None

    async def _open(self, *, confirms: bool) -> Any:
        return await self._connection.channel(publisher_confirms=confirms)

    def _run(self, what: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(what, TIMEOUT))

    def declare(self, queue: str, arguments: dict[str, Any] | None = None) -> None:
        self._run(self._channel.declare_queue(queue, durable=True, arguments=arguments))

    def _queue(self, name: str) -> Any:
        return self._run(self._channel.get_queue(name, ensure=False))

    def declare_exchange(self, name: str, kind: str) -> None:
        self._run(self._channel.declare_exchange(name, kind))

    def bind(self, queue: str, exchange: str, key: str) -> None:
        self._run(self._queue(queue).bind(exchange, key))

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        if "expiration" in properties:  # in seconds here
            properties["expiration"] = int(properties["expiration"]) / 1000
        message = self._aio.Message(body, **properties)
        target = self._channel.default_exchange
        if exchange:
            target = self._run(self._channel.get_exchange(exchange, ensure=False))
        self._run(target.publish(message, key))

    def _got(self, message: Any) -> Got:
        reply_to, id_ = message.reply_to, message.correlation_id
        return Got(message.body, message.redelivered, message.headers, reply_to, id_, message)

    def get(self, queue: str) -> Got | None:
        message = self._run(self._queue(queue).get(fail=False))
        return None if message is None else self._got(message)

    def consume(self, queue: str, count: int) -> list[Got]:
        return list(self._run(self._consume(self._queue(queue), count)))

    async def _consume(self, queue: Any, count: int) -> list[Got]:
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        tag = await queue.consume(arrived.put)
        found = [self._got(await arrived.get()) for _ in range(count)]
        await queue.cancel(tag)
        return found

    def ack(self, got: Got) -> None:
        self._run(got.handle.ack())

    def reject(self, got: Got, *, requeue: bool) -> None:
        self._run(got.handle.nack(requeue=requeue))

    def confirms(self) -> Callable[[str, bytes], bool]:
        self._channel = self._run(self._open(confirms=True))
        return self._confirmed

    def _confirmed(self, queue: str, body: bytes) -> bool:
        try:
            self.publish("", queue, body)
        except self._aio.exceptions.DeliveryError:
            return False
        return True

    def begin(self) -> None:
        self._transaction = self._channel.transaction()
        self._run(self._transaction.select())

    def commit(self) -> None:
        self._run(self._transaction.commit())

    def rollback(self) -> None:
        self._run(self._transaction.rollback())

    def close(self) -> None:
        self._loop.run_until_complete(self._end())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _end(self) -> None:
        await self._connection.close()
        # Closing leaves some tasks behind, with their sockets.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


CLIENTS: dict[str, Callable[[Address], Client]] = {
    "pika": Pika,
    "py-amqp": PyAmqp,
    "kombu": Kombu,
    "amqpstorm": AmqpStorm,
    "aio-pika": AioPika,
}
