"""RabbitMQ and the embedded broker do the same in random sequences of steps.

``python -m tests.broker.differential`` runs many more.
"""

from __future__ import annotations

import contextlib

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from tests.broker.differential import Comparison
from tests.broker.operations import KINDS

EXAMPLES = 120


@pytest.mark.slow
@pytest.mark.limit(300)
def test_both_brokers_do_the_same(rabbitmq: RabbitMQNode, vhost: str) -> None:
    comparison = Comparison(rabbitmq.host, rabbitmq.port, vhost, print)
    with contextlib.closing(comparison):
        comparison.run(seed=1, examples=EXAMPLES)
    assert not comparison.differences, "\n\n".join(map(str, comparison.differences))
    assert comparison.examples >= EXAMPLES


def test_there_are_enough_kinds_of_steps() -> None:
    assert len(KINDS) >= 25
