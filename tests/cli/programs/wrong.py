"""Components with every fault that `postage check` finds."""

from fleet import FleetExchange

from postage import messaging


class Other(messaging.Exchange):
    name = "cli-fleet"
    exchange_type = "direct"


class Elsewhere(messaging.Exchange):
    name = "cli-elsewhere"


class Later(messaging.Exchange):
    name = "cli-passive"
    passive = True


def half(content, factor):
    return content


class Wrong(messaging.MessageProcessor):
    def __init__(self):
        super().__init__(
            None,
            [
                (FleetExchange, [("cli-wrong", "right")]),
                (Later, [({"name": "cli-theirs", "flags": {"passive": True}}, "key")]),
            ],
            {"host": "no-such-host.invalid", "user": "x", "password": "y"},
        )

    @messaging.MessageHandler("command", "few")
    def few(self):
        pass

    @messaging.RpcHandler("command", "no_reply")
    def no_reply(self, content):
        pass

    @messaging.MessageHandler("command", "much")
    def much(self, content, reply):
        pass

    @messaging.MessageFilter
    def forgotten(self, content):
        pass

    @messaging.MessageFilter(half)
    @messaging.MessageHandler("command", "halved")
    def halved(self, content):
        pass

    @messaging.RpcHandler("command", "twice")
    def first(self, content, reply):
        pass

    @messaging.RpcHandler("command", "twice")
    def second(self, content, reply):
        pass

    @messaging.RpcHandler("command", "classy")
    class Classy(messaging.Handler):
        pass


class Sender(messaging.GenericProducer):
    eks = [(FleetExchange, "right"), (FleetExchange, "wrong"), (Elsewhere, "x")]  # noqa: RUF012

    def build_message_letter(self, text, *copies, urgent=False):
        """Build a letter."""

    def build_rpc_stamp(self, price):
        """Build a call."""


class Crossed(messaging.GenericProducer):
    eks = [(Other, "right")]  # noqa: RUF012
