"""Components that the tests of the command line run, call and look at."""

import os

from postage import green, messaging
from postage.errors import RejectMessage


class FleetExchange(messaging.Exchange):
    name = "cli-fleet"
    exchange_type = "topic"


class Echo(messaging.MessageProcessor):
    """Answers calls, most of them with what they contain."""

    def __init__(self):
        fingerprint = messaging.Fingerprint("echo", "server").as_dict()
        eqk = [(FleetExchange, [("cli-echo", "echo"), ("cli-echo", "echo.#")])]
        super().__init__(fingerprint, eqk)
        self.heard = []
        self.waiting = 0

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        """Answer with the parameters."""
        reply(content["parameters"])

    @messaging.RpcHandler("command", "process")
    def process(self, content, reply):
        """Answer with the process, its concurrency and its shutdown timeout."""
        reply(
            {"pid": os.getpid(), "at_a_time": self.concurrency, "patience": self.shutdown_timeout}
        )

    @messaging.MessageHandler("command", "remember")
    def remember(self, content):
        """Keep the parameters."""
        self.heard.append(content["parameters"])

    @messaging.RpcHandler("command", "heard")
    def tell(self, content, reply):
        """Answer with what was remembered."""
        reply(self.heard)

    @messaging.RpcHandler("command", "fail")
    def fail(self, content, reply):
        """Raise."""
        raise RejectMessage("not today")

    @messaging.RpcHandler("command", "refuse")
    def refuse(self, content, reply):
        """Answer with an error."""
        reply(messaging.MessageResultError("\x1b[31mno"))

    @messaging.RpcHandler("command", "wait")
    def wait(self, content, reply):
        """Answer late."""
        self.waiting += 1
        self.add_timeout(content["parameters"])
        reply("done")

    @messaging.RpcHandler("command", "waiting")
    def tell_waiting(self, content, reply):
        """Answer with how many wait."""
        reply(self.waiting)


class Monitor(green.GenericApplication):
    """An application with one handler of its own."""

    def __init__(self):
        fingerprint = messaging.Fingerprint("monitor", "application").as_dict()
        super().__init__(fingerprint, groups=["blue"])

    @messaging.RpcHandler("command", "load")
    def load(self, content, reply):
        """Answer with the load of the machine.

        It is that of the last minute.
        """
        reply(os.getloadavg()[0])


def two():
    """Return one class and one instance."""
    return [Monitor, Monitor()]
