"""An AMQP 0-9-1 broker for development, tests, demos and small single-host use.

The core has no socket and no clock: a `ClientConnection` takes and returns bytes, and time is
handed in.  `Broker` drives it with gevent, `BrokerThread` does so in a native thread, and
`embedded` is for ``embedded://`` URLs.  Nothing survives its end; it is one process, one core, and
no replacement for RabbitMQ in production.
"""

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.faults import Faults
from postage.broker.server import Broker
from postage.broker.snapshot import Statistics
from postage.broker.thread import BrokerThread, embedded

__all__ = [
    "Broker",
    "BrokerThread",
    "Faults",
    "Limits",
    "ManualTimers",
    "Statistics",
    "embedded",
]
