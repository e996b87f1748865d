"""Components that connect as the environment, their class or an argument says."""

from __future__ import annotations

import pytest

from postage import messaging
from tests.support.definitions import VHOSTS

LOGIN_VHOST = VHOSTS[0]


class EnvExchange(messaging.Exchange):
    name = "environment"


class Producer(messaging.GenericProducer):
    eks = [(EnvExchange, "rk")]  # noqa: RUF012 - the classic form


EQK = [(EnvExchange, [({"name": "environment", "flags": {"auto_delete": True}}, "rk")])]

SEND = """
from postage import messaging

class EnvExchange(messaging.Exchange):
    name = "environment"

class Producer(messaging.GenericProducer):
    eks = [(EnvExchange, "rk")]

Producer({"name": "program"}).message_hello("caff\u00e8")
"""


def make_producer(**where):
    """Return a producer."""
    return Producer(None, **where)


def make_consumer(**where):
    """Return a consumer."""
    return messaging.GenericConsumer(EQK, **where)


def make_processor(**where):
    """Return the consumer of a processor."""
    return messaging.MessageProcessor({"name": "p"}, EQK, **where).consumer


every_component = pytest.mark.parametrize(
    "component", [make_producer, make_consumer, make_processor]
)
