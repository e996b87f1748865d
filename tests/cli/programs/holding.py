"""An application, a processor and a service that hold their hub when they are told to."""

from gevent.monkey import get_original

from postage import Service, green, messaging, rpc

wait = get_original("time", "sleep")


class Holding(green.GenericApplication):
    """Waits in a way that lets nothing else run."""

    def __init__(self):
        super().__init__(messaging.Fingerprint("holding", "application").as_dict())

    @messaging.RpcHandler("command", "hold")
    def hold(self, content, reply):
        """Hold the hub."""
        wait(content["parameters"])  # the line to blame
        reply("done")


class Desk(messaging.Exchange):
    name = "cli-holding"
    exchange_type = "direct"


class Plain(messaging.MessageProcessor):
    """Is no application."""

    def __init__(self):
        eqk = [(Desk, [("cli-holding-plain", "plain")])]
        super().__init__(messaging.Fingerprint("plain", "processor").as_dict(), eqk)

    @messaging.RpcHandler("command", "hold")
    def hold(self, content, reply):
        """Hold the hub."""
        wait(content["parameters"])  # the line of the processor
        reply("done")


class Held(Service):
    """Has handlers with types."""

    exchange, queue = Desk, "held"

    @rpc
    def hold(self, seconds: float) -> str:
        """Hold the hub."""
        wait(seconds)  # the line of the service
        return "done"


def both():
    """Return the two that are no applications."""
    return [Plain, Held({"name": "held"})]
