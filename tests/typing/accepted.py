"""Programs of users with annotations: mypy --strict and pyright accept all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import gevent

from postage import (
    EXCEPTION,
    TIMEOUT,
    AckAndRestart,
    Application,
    Around,
    BadParameters,
    ChannelRefused,
    Classic,
    ConnectionStatistics,
    Delivery,
    Eks,
    Encoder,
    Eqk,
    Events,
    Exchange,
    ExitScheduler,
    FilterError,
    Fingerprint,
    GenericApplication,
    GenericConsumer,
    GenericProducer,
    GiveUp,
    Handled,
    Handler,
    Headers,
    Hup,
    JsonEncoder,
    Later,
    Message,
    MessageCommand,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageHeaders,
    MessageProcessor,
    MessageResult,
    MessageResultError,
    MicroThread,
    NoRoute,
    OutgoingMessage,
    ProcessorStatistics,
    ProducerStatistics,
    Properties,
    PublishFailed,
    QueueSpec,
    Quorum,
    ReceivedMessage,
    RejectMessage,
    RemoteError,
    Reply,
    ResultKind,
    Retry,
    RetryLater,
    RpcHandler,
    Scheduler,
    Service,
    Settings,
    Stream,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    close,
    command,
    event,
    events,
    every,
    green,
    later,
    options,
    patch_all,
    pipelined,
    rpc,
    run,
    statistics,
)


class Letters(Exchange):
    name = "letters"
    exchange_type = "topic"


# --- producers


class Client(GenericProducer):
    eks: Eks = [(Letters, "in")]
    around = ()
    rpc_timeout = 5
    confirm = False

    def build_message_letter(self, text: str) -> Message:
        return MessageCommand("letter", {"text": text})


def send(client: Client) -> None:
    client.send("letter", "hello", _key="out")
    client.send("letter", text="hello", _eks=[(Letters, "a"), (Letters, "b")])
    client.message_letter("hello")
    client.forward({"any": "body"})
    headers: MessageHeaders = {"x-tenant": "a", "deep": [{"n": 1, "none": None}], "at": moment()}
    client.send("letter", _headers=headers, _priority=5, _expiration=0.5)
    client.message_letter("hello", _headers={"a": 1}, _message_id="b", _delivery_mode=1)
    client.forward("body", _app_id="shop", _headers={})
    client.call("sum", 1, _headers={"a": "b"}, _priority=None)


def moment() -> datetime:
    return datetime.now(timezone.utc)


def call(client: Client) -> tuple[Any, str, bool]:
    result: MessageResult = client.call("sum", 1, 2, _timeout=0.5, _max_retry=0)
    kind: ResultKind = result.kind
    if kind == EXCEPTION and result.value == TIMEOUT:
        raise TimeoutError(result.message)
    if not result:
        raise RuntimeError(f"{result.kind}: {result.value}: {result.message}")
    second = client.rpc_sum(a=1, b=2)
    later = client.rpc_sum.later(1)
    gevent.wait([later])
    queue: str = client.rpc_sum(1, _queue_only=True)
    replies: list[MessageResult] = client.consume_rpc(queue, timeout=1)
    return second.unwrap(), later.get().message, bool(replies)


def failures(client: Client) -> str:
    try:
        client.call("sum").unwrap()
    except RemoteError as exc:
        return exc.name + exc.text
    except NoRoute as exc:
        return exc.exchange + exc.key
    except PublishFailed as exc:
        return str(exc.__cause__)
    except ChannelRefused as exc:
        return f"{exc.code + 1} {exc.text}"
    except TimeoutError as exc:
        return str(exc.results)
    return ""


# --- processors


def lower(content: dict[str, Any], limit: int) -> dict[str, Any]:
    if len(content) > limit:
        raise FilterError("too much")
    return {key.lower(): value for key, value in content.items()}


class Audit(Around):
    def handle(self, message: ReceivedMessage) -> Generator[None, Handled, None]:
        handled = yield
        print(message.id, handled.ok, handled.failures, handled.result or handled.handlers)

    def send(self, message: OutgoingMessage) -> Generator[None, MessageResult | None, None]:
        message.headers["x-name"] = message.name
        result = yield
        print(result, message.targets[0][1])


class Server(MessageProcessor):
    concurrency = 1
    around = [Audit()]
    propagate = ["x-tenant"]
    max_deliveries = None
    answer_unknown = False
    restart = "permanent"

    @MessageHandler("command", "letter")
    def letter(self, content: dict[str, Any]) -> None:
        if not content:
            raise RejectMessage("empty")
        received: ReceivedMessage = green.message()
        outside: ReceivedMessage | None = green.message(None)
        sent: int = received.timestamp or 0
        known: str = received.queue + received.headers["x-tenant"] + (received.id or "")
        print(received.attempt + sent, known, outside)

    @MessageFilter(lower, limit=3)
    @MessageHandler("status")
    @MessageHandlerFullBody("command")
    def anything(self, body: dict[str, Any]) -> None:
        raise AckAndRestart

    @RpcHandler("command", "sum")
    def sum(self, content: dict[str, Any], reply: Reply) -> int:
        numbers: list[int] = content["parameters"]
        return sum(numbers)

    @RpcHandler("command", "replies")
    def replies(self, content: dict[str, Any], reply: Reply) -> None:
        reply({"any": "value"})

    @RpcHandler("command", "error")
    def error(self, content: dict[str, Any], reply: Reply) -> MessageResult:
        return MessageResultError("foreseen")

    @RpcHandler("command", "slow")
    def slow(self, content: dict[str, Any], reply: Reply) -> None:
        gevent.spawn_later(1.0, reply.later(), "done")

    @RpcHandler("command", "doubled")
    class Doubled(Handler):
        def call(self) -> int:
            return 2 * int(self.data["parameters"])

    @every(60)
    def tick(self) -> None:
        raise ExitScheduler


EQK: Eqk = [(Letters, [("in", "in"), ({"name": "out", "flags": {"durable": False}}, "out")])]
QUEUE: QueueSpec = {"name": "q", "flags": {"exclusive": True}}


class Papers(Exchange):
    name = "papers"
    exchange_type = "headers"


TYPED: Eqk = [
    (Letters, [(Quorum("orders", delivery_limit=5, dead_letter_exchange="dead"), "order")]),
    (Letters, [(Classic("", exclusive=True), "private"), ("plain", "plain")]),
    (Letters, [(Stream("log", offset=timedelta(hours=1), max_age=86400), "log")]),
    (Papers, [("pdf", Headers(type="pdf", match="any")), ("all", Headers({"x-a": 1}))]),
]
ORDERS: QueueSpec = Quorum("orders", message_ttl=0.5, overflow="reject-publish")


class Worker(MessageProcessor):
    eqk = TYPED
    retry = Retry(now=2, delays=(5, 0.5), on=ConnectionError)
    park = None

    @MessageHandler("command", "work")
    @green.retry(now=1, on=(KeyError, ValueError))
    def work(self, content: dict[str, Any]) -> None:
        if content:
            raise GiveUp("no such item")
        raise RetryLater(0.5)


def decorators_keep_types(server: Server) -> tuple[int, type[Handler]]:
    """A decorated method stays a method: it can be called directly."""
    server.letter({})
    server.tick()
    return server.sum({"parameters": [1]}, Reply(print)), Server.Doubled


@MessageHandler("command", "plugged")
def plugged(content: dict[str, Any]) -> None:
    """Added to one instance."""


def set_up() -> tuple[ProcessorStatistics, ProducerStatistics, tuple[ConnectionStatistics, ...]]:
    patch_all()
    hup: Hup = {"host": "rabbit", "user": "alice", "password": "secret", "port": 5673}
    settings = Settings(host="rabbit", heartbeat=30)
    with pipelined():
        server = Server({"name": "server"}, EQK, hup, "/")
        other = Server(Fingerprint("server"), EQK, settings=settings)
    server.add_handler(plugged)
    server.add_eqk([(Letters, [(QUEUE, "key")])])
    client = Client({"name": "client"}, settings=settings)
    application = GenericApplication({"name": "app"}, "/", ["group"], settings=settings)
    run(server, other, application)
    close(limit=1.0)
    return server.statistics(), client.statistics(), statistics()


class Ticking(MicroThread):
    def step(self) -> None:
        gevent.sleep(1)


def schedule(server: Server) -> None:
    scheduler = Scheduler(autoquit=True)
    scheduler.add_microthread(server)
    scheduler.add_microthread(Ticking())
    for _ in scheduler.main():
        pass
    server.stop(timeout=1.0)


# --- consumers and encoders


class Text(Encoder):
    content_type = "text/plain"

    @classmethod
    def encode(cls, data: object) -> str:
        return str(data)

    @classmethod
    def decode(cls, string: bytes) -> str:
        return string.decode()


class Consumer(GenericConsumer):
    encoder_class = Text
    prefetch = 10


def consume(consumer: Consumer) -> None:
    def take(channel: object, method: Delivery, header: Properties, body: bytes) -> None:
        key: str = method.routing_key
        consumer.rpc_reply(header, [key, header.message_id, consumer.decode(body)])
        consumer.ack(method)
        consumer.stop_consuming()

    consumer.start_consuming(take)


JsonEncoder.encode({"a": {1, 2}})


# --- services


@dataclass
class Reservation:
    item: str
    count: int


@dataclass
class Ordered:
    item: str


class OutOfStock(Exception):
    """The interface of `Stock` declares it."""


class Stock(Service):
    exchange, queue = Letters, "stock"

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation:
        return Reservation(item, count)

    @rpc
    def total(self, *, of: list[int]) -> float:
        return sum(of)

    @rpc
    def orders(self, item: str) -> Iterator[Ordered]:
        yield Ordered(item)

    @rpc
    def numbers(self) -> Generator[int, None, None]:
        yield 5

    @rpc(name="count")
    @command
    def counted(self) -> None:
        """A call and a command."""

    @command
    def restock(self, item: str, count: int) -> None:
        print(self.reserve(item, count).count + 1)

    @command(name="close")
    def on_close(self) -> None:
        """Named otherwise."""

    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None:
        print(event.item)

    @MessageHandler("command", "letter")
    def letter(self, content: dict[str, Any]) -> None:
        """A classic handler beside typed ones."""


class Plain(Service):
    exchange, queue, keys = Letters, Quorum("plain"), ["more"]


class Shelves(Protocol):
    """What a client knows, without the code of the service."""

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation: ...

    @command
    def restock(self, item: str, count: int) -> None: ...


class Addressed(ABC):
    exchange, queue = Letters, "stock"

    @rpc
    @abstractmethod
    def reserve(self, item: str) -> Reservation: ...


SERVED: type[Shelves] = Stock


def use_interfaces(settings: Settings) -> int:
    shelves = client(Shelves, exchange=Letters, queue=Quorum("stock"), settings=settings)
    with options(shelves, timeout=2):
        shelves.restock("bolt", 5)
        reservation: Reservation = shelves.reserve("bolt", count=3)
    waiting: Later[Reservation] = later(shelves.reserve)("bolt")
    return reservation.count + waiting.get().count + client(Addressed).reserve("nut").count


def use(settings: Settings) -> int:
    stock = client(Stock, settings=settings)
    reservation: Reservation = stock.reserve("bolt", count=3)
    with options(stock, timeout=2, headers={"x-tenant": "a"}):
        stock.restock("bolt", 5)
        total: float = stock.total(of=[1, 2])
    waiting: list[Later[Reservation]] = [later(stock.reserve)(item) for item in ("bolt", "nut")]
    items: list[str] = [order.item for order in stock.orders("bolt")]
    numbers = stock.numbers()
    total += next(numbers) + len(items)
    numbers.close()
    publisher: Events = events(Letters)
    publisher.publish(Ordered("bolt"), key="orders")
    try:
        stock.reserve("bolt")
    except (BadParameters, OutOfStock) as exc:
        print(exc)
    return int(total) + reservation.count + sum(each.get().count for each in waiting)


# --- services of functions

shop = Application("shop", exchange=Letters, queue=Quorum("shop"), keys=["more"], concurrency=5)


@shop.rpc(raises=(OutOfStock,))
def reserve(item: str, count: int = 1) -> Reservation:
    return Reservation(item, count)


@shop.rpc(name="count")
@shop.command
def counted() -> None:
    """A call and a command."""


@shop.command(name="close")
def on_close() -> None:
    """Named otherwise."""


@shop.event(Ordered)
def on_ordered(event: Ordered) -> None:
    print(event.item, reserve(event.item).count + 1)


def use_functions() -> int:
    there = shop.client(reserve)
    with options(there, timeout=2):
        reservation: Reservation = there("bolt", count=3)
    waiting: Later[Reservation] = later(there)("bolt")
    shop.client(on_close)()
    on_ordered(Ordered("bolt"))
    service: Service = shop()
    service.start()
    shop.run()
    return reservation.count + waiting.get().count
