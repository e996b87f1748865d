"""Mistakes that mypy --strict and pyright must find.

A comment on each of these lines names the code of mypy, and then the rule of pyright.
"""

from __future__ import annotations

from typing import Any

import postage
from postage import (
    Eks,
    Eqk,
    Exchange,
    GenericConsumer,
    GenericProducer,
    Handler,
    MessageHandler,
    MessageProcessor,
    MessageResult,
    RemoteError,
    Reply,
    RpcHandler,
    Settings,
    every,
    run,
)

client = GenericProducer()


class Server(MessageProcessor):
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
client.send("letter").unwrap()  # refused: attr-defined, reportAttributeAccessIssue
client.send()  # refused: call-arg, reportCallIssue
client.call("sum").valeu()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum(1).nonsense()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum.later(1).get().nonsense()  # refused: attr-defined, reportAttributeAccessIssue
client.rpc_sum.sooner(1)  # refused: attr-defined, reportAttributeAccessIssue
MessageResult()  # refused: call-arg, reportCallIssue
RemoteError("error")  # refused: call-arg, reportCallIssue

# --- addresses
eks: Eks = [Exchange]  # refused: list-item, reportAssignmentType
instances: Eks = [(Exchange(), "key")]  # refused: list-item, reportAssignmentType
eqk: Eqk = [(Exchange, "queue")]  # refused: list-item, reportAssignmentType
flags: Eqk = [(Exchange, [("queue", 1)])]  # refused: list-item, reportAssignmentType

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
