"""The test kit: a pytest plugin with fixtures for tests of components, and tools for such tests.

pytest loads the plugin, `postage.testing.plugin`, by itself.  Its fixtures, see docs/testing.md:

* ``postage_url`` and ``postage_vhost``: a virtual host that no other test uses,
* ``run_processor``: runs a processor beside the test,
* ``received``: collects the messages that an exchange gets,
* ``postage_parked``: what lies in the parking queue of a queue,
* ``postage_clock``: turns the clock of the embedded broker, for delays and expiry,
* ``postage_broker``: the embedded broker, with faults on demand,
* ``postage_rabbitmq``: a private RabbitMQ node.

`handle` needs no fixture and no broker: it lets a processor handle one message.

Nothing here patches the standard library.  Importing this package imports neither gevent nor pika,
so a test can still patch before it does.
"""

from postage.testing.hang_detector import TestHung
from postage.testing.installations import RabbitMQMissing
from postage.testing.network import cut_connections
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQFailed, RabbitMQNode
from postage.testing.single_message import handle

__all__ = [
    "RabbitMQFailed",
    "RabbitMQMissing",
    "RabbitMQNode",
    "TestHung",
    "cut_connections",
    "handle",
    "wait_until",
]
