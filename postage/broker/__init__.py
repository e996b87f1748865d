"""An AMQP 0-9-1 broker for development, tests, demos and small single-host use.

The core has no socket and no clock: a `Session` takes bytes and gives bytes, time is handed in.
`Broker` drives it with gevent.  Nothing survives its end; it is one process, one core, and no
replacement for RabbitMQ in production.
"""

from postage.broker.limits import Limits
from postage.broker.server import Broker

__all__ = ["Broker", "Limits"]
