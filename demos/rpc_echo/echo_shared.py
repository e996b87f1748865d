"""The exchange that sender and receiver share."""

from postage import Exchange


class EchoExchange(Exchange):
    """Its attributes are what the broker declares; it is never instantiated."""

    name = "echo-exchange"
    exchange_type = "direct"
    passive = False
    durable = True
    auto_delete = False
