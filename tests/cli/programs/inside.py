"""A component with a broker of its own, wherever the others have theirs."""

from fleet import Echo, FleetExchange

from postage import messaging


class _Apart(Echo):
    def __init__(self):
        eqk = [(FleetExchange, [("cli-echo", "echo")])]
        where = {"hup": {"host": "embedded://side"}, "vhost": "aside"}
        messaging.MessageProcessor.__init__(self, eqk=eqk, **where)


apart = _Apart()
