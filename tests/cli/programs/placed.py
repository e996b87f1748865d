"""Components that find their broker in different ways: none is at its default address."""

from fleet import FleetExchange

from postage import messaging
from postage.settings import Settings

EQK = [(FleetExchange, [({"name": "", "flags": {"exclusive": True}}, "placed")])]

at_import = messaging.MessageProcessor(eqk=EQK)


class WithSettings(messaging.MessageProcessor):
    """Names a broker that does not exist."""

    def __init__(self):
        super().__init__(eqk=EQK, settings=Settings(host="no-such-host.invalid"))
