"""A component with every kind of handler: it reports each message it gets and answers RPCs."""

import time

from talk import KEY, QUEUE, Meeting, say

from postage import messaging, microthreads


def upper(content):
    content["parameters"] = content["parameters"].upper()
    return content


def refuse(content):
    raise messaging.FilterError("not for us")


class Server(messaging.MessageProcessor):
    concurrency = 1  # read by Postage 2 only: in the order of the queue, as 1.2.1 does

    @messaging.MessageHandler("command", "log")
    def command(self, content):
        say("command", content=content)

    @messaging.MessageHandlerFullBody("command", "describe")
    def whole(self, body):
        say("whole", body=body)

    @messaging.MessageHandlerFullBody("command", "forwarded")
    def forwarded(self, body):
        say("forwarded", body=body)

    @messaging.MessageHandlerFullBody("status", "online")
    def status(self, body):
        say("status", name=body["name"], content=body["content"])

    @messaging.MessageHandler("none", "none")
    def generic(self, content):
        say("generic", content=content)

    @messaging.MessageHandler("command", "boom")
    def boom(self, content):
        say("boom")
        raise ValueError("no good")

    @messaging.MessageHandler("command", "refuse")
    def rejected(self, content):
        say("reject")
        raise messaging.RejectMessage("no thanks")

    @messaging.MessageFilter(upper)
    @messaging.MessageHandler("command", "filtered")
    def filtered(self, content):
        say("filtered", content=content)

    @messaging.MessageFilter(refuse)
    @messaging.MessageHandler("command", "discarded")
    def discarded(self, content):
        say("must not be seen")

    @messaging.MessageHandler("command", "by_class")
    class ByClass(messaging.Handler):
        def call(self):
            say("class", content=self.data)

    @messaging.RpcHandler("command", "sum")
    def rpc_sum(self, content, reply_func):
        numbers = content["parameters"]
        reply_func(messaging.MessageResult(numbers["a"] + numbers["b"], "done"))
        say("after the reply")

    @messaging.RpcHandler("command", "bare")
    def rpc_bare(self, content, reply_func):
        reply_func(content["parameters"])

    @messaging.RpcHandler("command", "error")
    def rpc_error(self, content, reply_func):
        reply_func(messaging.MessageResultError("it failed"))

    @messaging.RpcHandler("command", "exception")
    def rpc_exception(self, content, reply_func):
        reply_func(messaging.MessageResultException("KeyError", "'missing'"))

    @messaging.RpcHandler("command", "raising")
    def rpc_raising(self, content, reply_func):
        raise ValueError("no good")

    @messaging.RpcHandler("command", "sleep")
    def rpc_sleep(self, content, reply_func):
        time.sleep(content["parameters"])
        reply_func("slept")


if __name__ == "__main__":
    server = Server({"name": "server"}, [(Meeting, [(QUEUE, KEY)])], None, None)
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(server)
    say("ready")
    for _ in scheduler.main():
        pass
    say("ended")
