"""The test kit: fixtures for users' tests of their components, and what they are made of.

pytest loads `postage.testing.plugin` by itself; see docs/testing.md.  Nothing here patches the
standard library, and importing this imports neither gevent nor pika: that is left to the program.
"""

from postage.testing.network import cut_connections
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQFailed, RabbitMQMissing, RabbitMQNode
from postage.testing.watchdog import TestHung

__all__ = [
    "RabbitMQFailed",
    "RabbitMQMissing",
    "RabbitMQNode",
    "TestHung",
    "cut_connections",
    "wait_until",
]
