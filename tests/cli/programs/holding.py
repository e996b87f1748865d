"""An application that holds its hub when it is told to."""

from gevent.monkey import get_original

from postage import green, messaging

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
