"""What sender and receiver share: the exchange by which they meet."""

from postage import messaging


class EchoExchange(messaging.Exchange):
    """Never instanced: its attributes are what the broker is asked to declare."""

    name = "echo-exchange"
    exchange_type = "direct"
    passive = False
    durable = True
    auto_delete = False
