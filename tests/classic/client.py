"""Sends every kind of message to server.py, makes every kind of call, and stops the server."""

from shared import KEY, Shared, report

from postage import messaging

TEXT = b"caff\xc3\xa8 \xe2\x82\xac \xf0\x9f\x98\x80".decode("utf-8")
FORWARDED = {
    "type": "command",
    "name": "forwarded",
    "category": "message",
    "version": "2",
    "fingerprint": {"name": "other"},
    "content": {"parameters": [TEXT]},
    "_reserved": {"x": 1},
}


class Client(messaging.GenericProducer):
    eks = [(Shared, KEY)]  # noqa: RUF012 - the classic form
    rpc_timeout = 10
    max_retry = 0

    def build_message_online(self):
        return messaging.MessageStatus("online")

    def build_rpc_sum(self, a, b):
        return messaging.RpcCommand("sum", {"a": a, "b": b})


def report_result(call, result):
    """Report the result of *call*."""
    content = result.body["content"]
    report("result", call=call, true=bool(result), **content)


def send_messages(client):
    """Send one message of each kind."""
    client.message_log(TEXT)
    client.message_log()
    client.message_describe({"a": [1, None, True, 1.5]})
    client.message_online()
    client.message(1, "str", values=[1, 2, 3])
    client.message()
    client.forward(FORWARDED)
    client.message_nobody_handles_this()
    client.message_boom()
    client.message_refuse()
    client.message_filtered("quiet")
    client.message_discarded("quiet")
    client.message_by_class("data")


def call(client):
    """Make one call of each kind."""
    report_result("sum", client.rpc_sum(5, 6))
    report_result("bare", client.rpc_bare({"plain": TEXT}))
    report_result("error", client.rpc_error())
    report_result("exception", client.rpc_exception())
    report_result("raising", client.rpc_raising())
    queue = client.rpc_sum(1, 2, _queue_only=True)
    for result in client.consume_rpc(queue):
        report_result("queue only", result)
    report_result("nobody handles", client.rpc_nobody_handles_this(_timeout=0.5))
    report_result("too slow", client.rpc_sleep(0.8, _timeout=0.3))
    report_result("after the slow one", client.rpc_bare("mine"))


if __name__ == "__main__":
    names = ("name", "type", "pid", "host", "user", "vhost")
    client = Client({name: "client-" + name for name in names})
    send_messages(client)
    call(client)
    client.message_quit()
    report("ended")
