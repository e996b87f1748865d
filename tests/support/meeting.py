"""Components that meet wherever their environment, their class or an argument leads them."""

from __future__ import annotations

import pytest

from postage import messaging
from tests.support.definitions import VHOSTS

LOGIN_VHOST = VHOSTS[0]


class Meeting(messaging.Exchange):
    name = "environment"


class Producer(messaging.GenericProducer):
    eks = [(Meeting, "rk")]  # noqa: RUF012 - the classic form


EQK = [(Meeting, [({"name": "environment", "flags": {"auto_delete": True}}, "rk")])]

SEND = """
from postage import messaging

class Meeting(messaging.Exchange):
    name = "environment"

class Producer(messaging.GenericProducer):
    eks = [(Meeting, "rk")]

Producer({"name": "program"}).message_hello("caff\u00e8")
"""


def a_producer(**where):
    """Return a producer."""
    return Producer(None, **where)


def a_consumer(**where):
    """Return a consumer."""
    return messaging.GenericConsumer(EQK, **where)


def a_processor(**where):
    """Return the consumer of a processor."""
    return messaging.MessageProcessor({"name": "p"}, EQK, **where).consumer


every_component = pytest.mark.parametrize("component", [a_producer, a_consumer, a_processor])
