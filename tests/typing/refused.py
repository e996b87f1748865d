"""Mistakes that mypy --strict and pyright must find.

A comment on each of these lines names the code of mypy, and then the rule of pyright.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import postage
from postage import (
    Classic,
    Eks,
    Eqk,
    Exchange,
    GenericConsumer,
    GenericProducer,
    Handler,
    Headers,
    MessageHandler,
    MessageProcessor,
    MessageResult,
    Quorum,
    RemoteError,
    Reply,
    Retry,
    RetryLater,
    RpcHandler,
    Service,
    Settings,
    Stream,
    event,
    every,
    green,
    retry,
    rpc,
    run,
)

client = GenericProducer()


class Server(MessageProcessor):
    around = ["audit"]  # refused: list-item, reportAssignmentType
    propagate = 5  # refused: assignment, reportAssignmentType
    concurrency = "many"  # refused: assignment, reportAssignmentType
    restart = 3  # refused: assignment, reportAssignmentType

    @MessageHandler("command", "letter")
    def letter(self, content: dict[str, Any]) -> None:
        """The decorator keeps its type."""

    @RpcHandler("command", "sum")
    def sum(self, content: dict[str, Any], reply: Reply) -> int:
        reply.later().nonsense()  # refused: attr-defined, reportAttributeAccessIssue
        reply(1, 2)  # refused: call-arg, reportCallIssue
        reply(second=2)  # refused: call-arg, reportCallIssue
        return 1

    @every("often")  # refused: arg-type, reportArgumentType
    def tick(self) -> None:
        """Nothing runs every "often"."""


server = Server({"name": "server"})
server.letter()  # refused: call-arg, reportCallIssue
server.letter("text")  # refused: arg-type, reportArgumentType
text: str = server.sum({}, Reply(print))  # refused: assignment, reportAssignmentType
server.tick(1)  # refused: call-arg, reportCallIssue
server.stop("soon")  # refused: arg-type, reportArgumentType
server.add_handler("letter")  # refused: arg-type, reportArgumentType

# --- calls
number: int = client.call("sum", 1)  # refused: assignment, reportAssignmentType
client.call()  # refused: call-arg, reportCallIssue
client.call(1)  # refused: arg-type, reportArgumentType
client.call("sum", _timeout="short")  # refused: arg-type, reportArgumentType
client.call("sum", _eks=[("exchange", "key")])  # refused: list-item, reportArgumentType
client.call("sum", _headers={"a": object()})  # refused: dict-item, reportArgumentType
client.call("sum", _priority="high")  # refused: arg-type, reportArgumentType
client.send("letter", _headers=["a"])  # refused: arg-type, reportArgumentType
client.message_letter(_message_id=5)  # refused: call-overload, reportArgumentType
client.forward("body", _header={})  # refused: call-arg, reportCallIssue
green.message().id = "other"  # refused: misc, reportAttributeAccessIssue
green.message(None).id.upper()  # refused: union-attr, reportOptionalMemberAccess
client.send("letter").unwrap()  # refused: attr-defined, reportAttributeAccessIssue
client.send()  # refused: call-arg, reportCallIssue
client.call("sum").valeu()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum(1).nonsense()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum.later(1).get().nonsense()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum(1, _timeout="short")  # refused: call-overload, reportArgumentType
client.rpc_sum(1, _max_retry="none")  # refused: call-overload, reportArgumentType
client.message_letter(_key=5)  # refused: call-overload, reportArgumentType
client.message_letter(_eks=[("exchange", "key")])  # refused: list-item, reportArgumentType
client.rpc_sum.sooner(1)  # refused: attr-defined, reportAttributeAccessIssue
MessageResult()  # refused: call-arg, reportCallIssue
RemoteError("error")  # refused: call-arg, reportCallIssue

# --- addresses
eks: Eks = [Exchange]  # refused: list-item, reportAssignmentType
instances: Eks = [(Exchange(), "key")]  # refused: list-item, reportAssignmentType
eqk: Eqk = [(Exchange, "queue")]  # refused: list-item, reportAssignmentType
flags: Eqk = [(Exchange, [("queue", 1)])]  # refused: list-item, reportAssignmentType

# --- queues
Quorum("q", exclusive=True)  # refused: call-arg, reportCallIssue
Quorum("q", delivery_limit="5")  # refused: arg-type, reportArgumentType
Quorum("q", overflow="reject-publish-dlx")  # refused: arg-type, reportArgumentType
Quorum()  # refused: call-arg, reportCallIssue
Quorum("q").name = "other"  # refused: misc, reportAttributeAccessIssue
Stream("q", offset=1.5)  # refused: arg-type, reportArgumentType
Stream("q", message_ttl=5)  # refused: call-arg, reportCallIssue
Classic("q", mode="eager")  # refused: arg-type, reportArgumentType
Headers(match="some")  # refused: arg-type, reportArgumentType

# --- retries
Retry(delays=5)  # refused: arg-type, reportArgumentType
Retry(nwo=2)  # refused: call-arg, reportCallIssue
Retry(on="ConnectionError")  # refused: arg-type, reportArgumentType
retry(nwo=2)  # refused: call-arg, reportCallIssue
RetryLater("soon")  # refused: arg-type, reportArgumentType

# --- settings
Settings("rabbit")  # refused: call-arg, reportCallIssue
Settings(host=1)  # refused: arg-type, reportArgumentType
Settings(hosts="rabbit")  # refused: call-arg, reportCallIssue
Settings().port = 1  # refused: misc, reportAttributeAccessIssue
GenericConsumer((), None, None, Settings())  # refused: call-arg, reportCallIssue
GenericConsumer(settings={})  # refused: arg-type, reportArgumentType
GenericProducer(settings="rabbit")  # refused: arg-type, reportArgumentType
MessageProcessor(setings=Settings())  # refused: call-arg, reportCallIssue

# --- the package
postage.Producer()  # refused: attr-defined, reportAttributeAccessIssue
postage.MicroScheduler()  # refused: attr-defined, reportAttributeAccessIssue
run(Server)  # refused: arg-type, reportArgumentType
run(client)  # refused: arg-type, reportArgumentType
Handler()  # refused: call-arg, reportCallIssue
GenericConsumer().start_consuming(lambda body: None)  # refused: arg-type, reportArgumentType


# --- services
class Ordered:
    """An event."""


class Stock(Service):
    exchange, queue = "shop", "stock"  # refused: assignment, reportAssignmentType
    keys = 5  # refused: assignment, reportAssignmentType

    @rpc
    def reserve(self, item: str, count: int = 1) -> int:
        """The decorator keeps its type."""
        return count

    @rpc
    def orders(self, item: str) -> Iterator[int]:
        """The client gets an iterator, too."""
        yield len(item)

    @event(Ordered)  # refused: arg-type, reportArgumentType
    def on_ordered(self, event: int) -> None:
        """Its argument is no Ordered."""

    @rpc(raises=[ValueError])  # refused: call-overload, reportArgumentType
    def wrong(self) -> None:
        """A list is no tuple."""


class Shelves(Protocol):
    @rpc
    def reserve(self, item: str, count: int = 1) -> int: ...


class Wrong(Service):
    @rpc
    def reserve(self, item: int) -> int:
        """It does not serve the interface."""
        return item


served: type[Shelves] = Wrong  # refused: assignment, reportAssignmentType
shelves = postage.client(Shelves, exchange=Exchange, queue="stock")
postage.client(Shelves, exchange="shop", queue="stock")  # refused: arg-type, reportArgumentType
postage.client(5)  # refused: arg-type, reportArgumentType
shelves.rserve("bolt")  # refused: attr-defined, reportAttributeAccessIssue
shelves.reserve(5)  # refused: arg-type, reportArgumentType
reserved_by: str = shelves.reserve("bolt")  # refused: assignment, reportAssignmentType
postage.later(shelves.reserve)()  # refused: call-arg, reportCallIssue

stock = postage.client(Stock)
stock.rserve("bolt")  # refused: attr-defined, reportAttributeAccessIssue
stock.reserve(5)  # refused: arg-type, reportArgumentType
stock.reserve()  # refused: call-arg, reportCallIssue
print(stock.reserve("bolt").item)  # refused: attr-defined, reportAttributeAccessIssue
reserved: str = stock.reserve("bolt")  # refused: assignment, reportAssignmentType
stock.orders(5)  # refused: arg-type, reportArgumentType
ordered: str = next(stock.orders("bolt"))  # refused: assignment, reportAssignmentType
postage.later(stock.reserve)(5)  # refused: arg-type, reportArgumentType
with postage.options(stock, timeout="soon"):  # refused: arg-type, reportArgumentType
    stock.reserve("bolt")


# --- services of functions
shop = postage.Application("shop", exchange=Exchange)
postage.Application("shop", exchange="shop")  # refused: arg-type, reportArgumentType
postage.Application()  # refused: call-arg, reportCallIssue


@shop.rpc
def reserve(item: str, count: int = 1) -> int:
    """The decorator keeps its type."""
    return count


@shop.event(Ordered)  # refused: arg-type, reportArgumentType
def on_ordered(event: int) -> None:
    """Its argument is no Ordered."""


reserve(5)  # refused: arg-type, reportArgumentType
shop.client(reserve)(5)  # refused: arg-type, reportArgumentType
print(shop.client(reserve)("bolt").item)  # refused: attr-defined, reportAttributeAccessIssue
shop.client("reserve")  # refused: arg-type, reportArgumentType
shop.rpc(raises=[ValueError])  # refused: call-overload, reportArgumentType
