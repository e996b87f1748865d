"""docs/howto/databases.md: as many handlers as connections of the pool, and none fails."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from postage import Exchange, GenericProducer
from tests.support.guide import require, save_files, service

require("sqlalchemy", "msgspec")

pytestmark = pytest.mark.slow
DEPOSITS = 60


class Bank(Exchange):
    name = "accounts-exchange"


class Customer(GenericProducer):
    eks = ((Bank, "accounts"),)


def test_more_deposits_than_connections_succeed(broker_env, tmp_path: Path) -> None:
    save_files("databases", tmp_path)

    with service("accounts", tmp_path):
        customer = Customer({"name": "customer"})
        calls = [
            gevent.spawn(customer.call, "deposit", {"name": "ann", "amount": 2})
            for _ in range(DEPOSITS)
        ]
        balances = [call.get(timeout=30).unwrap() for call in calls]

    assert sorted(balances) == list(range(2, 2 * DEPOSITS + 2, 2))
