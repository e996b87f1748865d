"""Fixtures of the tests that run components in greenlets of the test process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from postage import green, messaging
from postage.green import publishing, subscription
from postage.green.amqp import connection, declared_exchanges, deleted_exchanges, rebinding
from postage.green.handling import keeping
from postage.green.rpc import calls
from tests.support.endpoints import Endpoint, exchange
from tests.support.proxy import Proxy
from tests.support.raw import Raw, listen, raw_to


@pytest.fixture
def postage_url(broker_env: Any) -> str:
    """The URL of the module: another node, and a new virtual host for each test, take long."""
    return str(broker_env.url)


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """A connection of plain pika to the broker of the module."""
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def queues_that_are_old() -> Iterator[None]:
    """No wait for the age of a queue that keeps failed messages: no test here kills a broker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "YOUNG", 0.0)
        yield


@pytest.fixture(scope="module")
def quick_restoring() -> Iterator[None]:
    """A quarter of all waits for what others have deleted or changed, in the usual proportions.

    Connections that exist keep theirs, so the fixture is for whole modules.
    """
    green.close(1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subscription, "FAREWELL", subscription.FAREWELL / 4)
        patch.setattr(rebinding, "CHECK_INTERVAL", rebinding.CHECK_INTERVAL / 4)
        for name in ("CONSUMERS_WAIT", "PUBLISHERS_WAIT"):
            patch.setattr(connection, name, getattr(deleted_exchanges, name) / 4)
        patch.setattr(deleted_exchanges, "DOUBTED", deleted_exchanges.DOUBTED / 4)
        for module in (declared_exchanges, calls, publishing):
            patch.setattr(module, "POLL", deleted_exchanges.POLL / 4)
        yield
        green.close(1.0)


@pytest.fixture
def endpoint(broker_env: Any, request: pytest.FixtureRequest) -> Endpoint:
    """An exchange, a queue and a key that no other test of the module uses."""
    return Endpoint(re.sub(r"\W+", "-", request.node.name)[:150])


@pytest.fixture
def queues_for_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No channels are lent to calls, so first calls have reply queues of their own everywhere."""
    monkeypatch.setattr("postage.green.rpc.reply_channels.MOST_LENT", 0)


@pytest.fixture
def proxy(broker_env: Any) -> Iterator[Proxy]:
    """The network between the broker and those components that a test leads through it."""
    with Proxy(broker_env.port) as opened:
        yield opened
        green.close(1.0)


@pytest.fixture
def hup(proxy: Proxy, broker_env: Any) -> dict[str, Any]:
    """The way to the broker that leads through `proxy`."""
    return {**broker_env.hup, "port": proxy.port}


@pytest.fixture
def queue(raw: Raw, endpoint: Endpoint) -> str:
    """A queue that gets what is sent to `endpoint` by the keys ``rk`` and ``other``."""
    return listen(raw, endpoint.exchange, "rk", "other")


@pytest.fixture
def second(raw: Raw, endpoint: Endpoint) -> tuple[type[messaging.Exchange], str]:
    """A second exchange, and the queue that gets what is sent to it by the key ``rk2``."""
    made = exchange(endpoint.sub("second"))
    return made, listen(raw, made, "rk2")
