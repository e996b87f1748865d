"""What the broker refuses to declare: an error at once for whom it concerns, nothing for others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.endpoints import Endpoint, exchange
from tests.support.raw import Raw
from tests.support.running import SOON
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")


# --- calls


@pytest.mark.parametrize("later", [False, True])
def test_a_call_to_a_mismatched_exchange_ends_at_once(
    endpoint: Endpoint, raw: Raw, *, later: bool
) -> None:
    raw.channel.exchange_declare(endpoint.exchange.name, "fanout", durable=True)
    wrong: Any = [(exchange(endpoint.exchange.name, "topic"), "rk")]
    producer = Endpoint(endpoint.sub("x")).producer()
    watch = Stopwatch()

    result = (
        producer.rpc_echo.later(1, _eks=wrong).get() if later else producer.rpc_echo(1, _eks=wrong)
    )

    assert result.body["content"]["value"] == "TopologyMismatch"
    assert endpoint.exchange.name in result.body["content"]["message"]
    assert watch.own < SOON
