"""A processor that writes down each run of a handler, to be compared with its metrics."""

import os
from pathlib import Path

import gevent

from postage import green, messaging
from postage.errors import GiveUp, RetryLater


class MeasuredExchange(messaging.Exchange):
    name = "cli-measured"


class Measured(messaging.MessageProcessor):
    """Ends each message in the way that its name says."""

    concurrency = 5
    park = "cli-measured-parked"

    def __init__(self):
        queue = {"name": "cli-measured", "flags": {"durable": True}}
        super().__init__({"name": "measured"}, [(MeasuredExchange, [(queue, "rk")])])
        self.ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, line):
        """Write *line* into the ledger, in one piece."""
        os.write(self.ledger, f"{line}\n".encode())

    @messaging.MessageHandler("command", "fine")
    def fine(self, content):
        self.note("fine")
        gevent.sleep(0.001)

    @messaging.MessageHandler("command", "bad")
    def bad(self, content):
        self.note("bad")
        raise GiveUp("never")

    @messaging.MessageHandler("command", "late")
    def late(self, content):
        line = f"late {content['parameters']}"
        self.note(line)
        if Path(os.environ["LEDGER"]).read_text().splitlines().count(line) == 1:
            raise RetryLater(0.05)

    @messaging.MessageHandler("command", "again")
    @green.retry(now=2)
    def again(self, content):
        self.note("again")
        if green.message().attempt == 1:
            raise ValueError("the first time")

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        self.note("echo")
        return content["parameters"]
