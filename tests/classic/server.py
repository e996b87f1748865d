"""A component with every kind of handler: it reports each message, and answers RPCs."""

import time

from shared import KEY, QUEUE, Shared, report

from postage import messaging, microthreads


def upper(content):
    content["parameters"] = content["parameters"].upper()
    return content


def refuse(content):
    raise messaging.FilterError("not for us")


class Server(messaging.MessageProcessor):
    concurrency = 1  # for Postage 2: one message at a time, as in 1.2.1

    @messaging.MessageHandler("command", "log")
    def command(self, content):
        report("command", content=content)

    @messaging.MessageHandlerFullBody("command", "describe")
    def whole(self, body):
        report("whole", body=body)

    @messaging.MessageHandlerFullBody("command", "forwarded")
    def forwarded(self, body):
        report("forwarded", body=body)

    @messaging.MessageHandlerFullBody("status", "online")
    def status(self, body):
        report("status", name=body["name"], content=body["content"])

    @messaging.MessageHandler("none", "none")
    def generic(self, content):
        report("generic", content=content)

    @messaging.MessageHandler("command", "boom")
    def boom(self, content):
        report("boom")
        raise ValueError("no good")

    @messaging.MessageHandler("command", "refuse")
    def rejected(self, content):
        report("reject")
        raise messaging.RejectMessage("no thanks")

    @messaging.MessageFilter(upper)
    @messaging.MessageHandler("command", "filtered")
    def filtered(self, content):
        report("filtered", content=content)

    @messaging.MessageFilter(refuse)
    @messaging.MessageHandler("command", "discarded")
    def discarded(self, content):
        report("must not be seen")

    @messaging.MessageHandler("command", "by_class")
    class ByClass(messaging.Handler):
        def call(self):
            report("class", content=self.data)

    @messaging.RpcHandler("command", "sum")
    def rpc_sum(self, content, reply_func):
        numbers = content["parameters"]
        reply_func(messaging.MessageResult(numbers["a"] + numbers["b"], "done"))
        report("after the reply")

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
    server = Server({"name": "server"}, [(Shared, [(QUEUE, KEY)])], None, None)
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(server)
    report("ready")
    for _ in scheduler.main():
        pass
    report("ended")
