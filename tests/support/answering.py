"""A server that answers calls in every possible way."""

from __future__ import annotations

from typing import Any

import gevent

from postage import messaging


class Server(messaging.MessageProcessor):
    """Replies to calls in every possible way."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.ran: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        self.ran.append(content["parameters"])
        reply_func(messaging.MessageResult(content["parameters"], "as you said"))

    @messaging.RpcHandler("command", "fail")
    def fail(self, content, reply_func):
        reply_func(messaging.MessageResultError("foreseen"))

    @messaging.RpcHandler("command", "crash")
    def crash(self, content, reply_func):
        reply_func(messaging.MessageResultException("KeyError", "'missing'"))

    @messaging.RpcHandler("command", "slow")
    def slow(self, content, reply_func):
        self.ran.append(content["parameters"])
        gevent.sleep(content["parameters"]["seconds"])
        reply_func(content["parameters"]["answer"])


def server(eqk: Any) -> Server:
    return Server({"name": "server"}, eqk, None, None)
