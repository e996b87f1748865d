"""Programs of users with annotations: mypy --strict and pyright accept all of them."""

from __future__ import annotations

from typing import Any

import gevent

from postage import (
    EXCEPTION,
    TIMEOUT,
    AckAndRestart,
    ChannelRefused,
    ConnectionStatistics,
    Delivery,
    Eks,
    Encoder,
    Eqk,
    Exchange,
    ExitScheduler,
    FilterError,
    Fingerprint,
    GenericApplication,
    GenericConsumer,
    GenericProducer,
    Handler,
    Hup,
    JsonEncoder,
    Message,
    MessageCommand,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageProcessor,
    MessageResult,
    MessageResultError,
    MicroThread,
    NoRoute,
    ProcessorStatistics,
    ProducerStatistics,
    Properties,
    PublishFailed,
    QueueSpec,
    RejectMessage,
    RemoteError,
    Reply,
    ResultKind,
    RpcHandler,
    Scheduler,
    Settings,
    TimeoutError,  # noqa: A004 - the classic name
    close,
    every,
    patch_all,
    pipelined,
    run,
    statistics,
)


class Letters(Exchange):
    name = "letters"
    exchange_type = "topic"


# --- producers


class Client(GenericProducer):
    eks: Eks = [(Letters, "in")]
    rpc_timeout = 5
    confirm = False

    def build_message_letter(self, text: str) -> Message:
        return MessageCommand("letter", {"text": text})


def send(client: Client) -> None:
    client.send("letter", "hello", _key="out")
    client.send("letter", text="hello", _eks=[(Letters, "a"), (Letters, "b")])
    client.message_letter("hello")
    client.forward({"any": "body"})


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


class Server(MessageProcessor):
    concurrency = 1
    max_deliveries = None
    answer_unknown = False
    restart = "permanent"

    @MessageHandler("command", "letter")
    def letter(self, content: dict[str, Any]) -> None:
        if not content:
            raise RejectMessage("empty")

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
