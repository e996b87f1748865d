"""What counts as use of a quorum queue that expires, on every broker."""

from __future__ import annotations

import pytest

from postage.testing.polling import wait_until
from tests.support.raw import Raw, raw_to

EXPIRING = {"x-queue-type": "quorum", "x-expires": 500}
TICKS = 30
"""Seconds: RabbitMQ looks every five whether a quorum queue has expired, if it is not busy."""


@pytest.fixture
def raw(broker_env):
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        yield raw


def messages_in(raw: Raw, name: str) -> int:
    """Declare the queue again, and return how many messages it has."""
    declared = raw.channel.queue_declare(name, durable=True, arguments=EXPIRING)
    count: int = declared.method.message_count
    return count


def test_declaring_a_quorum_queue_again_does_not_keep_it(raw):
    messages_in(raw, "renewed")
    raw.put("renewed", b"kept as long as the queue")
    # Declared again every few milliseconds.  A queue that this keeps has its message for ever.
    wait_until(lambda: messages_in(raw, "renewed") == 0, TICKS)
