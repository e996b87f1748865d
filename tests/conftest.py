"""Fixtures and hooks of the whole suite: a broker for those that ask, a limit for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest

from tests.support.definitions import VHOSTS
from tests.support.rabbitmq_node import RabbitMQMissing, RabbitMQNode
from tests.support.watchdog import TestHung, Watchdog

#: Seconds a test may take where no ``@pytest.mark.limit(seconds)`` says otherwise.
LIMIT = 60.0
#: Seconds for set-up and tear-down, which may start or stop the RabbitMQ node.
FIXTURE_LIMIT = 90.0

watchdog = pytest.StashKey[Watchdog]()

# A busy machine is not a slow function; the watchdog limits whole tests.
hypothesis.settings.register_profile("postage", deadline=None)
hypothesis.settings.load_profile("postage")


def pytest_configure(config: pytest.Config) -> None:
    """Make the watchdog write to the real stderr: here pytest does not capture it."""
    config.stash[watchdog] = Watchdog(os.dup(2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the set-up of *item*."""
    return (yield from _limited(item, "the set-up of ", FIXTURE_LIMIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit *item* itself."""
    mark = item.get_closest_marker("limit")
    return (yield from _limited(item, "", float(mark.args[0]) if mark else LIMIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the tear-down of *item*."""
    return (yield from _limited(item, "the tear-down of ", FIXTURE_LIMIT))


def _limited(item: pytest.Item, what: str, seconds: float) -> Generator[None, Any, Any]:
    """Fail *item* when it hangs, and end the run: what its greenlets would do next is unknown."""
    try:
        with item.config.stash[watchdog].guard(what + item.nodeid, seconds):
            return (yield)
    except TestHung as hung:
        item.session.shouldfail = f"{hung}; its greenlets may still be about"
        raise pytest.fail.Exception(str(hung)) from hung


@dataclass(frozen=True)
class BrokerEnv:
    """Where the broker of a test module is; ``os.environ`` says the same while the module runs."""

    host: str
    port: int
    vhost: str
    user: str = "guest"
    password: str = "guest"

    @property
    def hup(self) -> dict[str, Any]:
        """The classic host, user, password dictionary, with our optional port."""
        return {"host": self.host, "port": self.port, "user": self.user, "password": self.password}

    @property
    def url(self) -> str:
        """The same as an ``amqp://`` URL."""
        vhost = self.vhost.replace("/", "%2F")
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{vhost}"

    def variables(self) -> dict[str, str]:
        """Return the environment variables which name this broker."""
        return {
            "POSTAGE_HOST": self.host,
            "POSTAGE_PORT": str(self.port),
            "POSTAGE_VHOST": self.vhost,
            "POSTAGE_USER": self.user,
            "POSTAGE_PASSWORD": self.password,
        }

    def environment(self) -> dict[str, str]:
        """Return a whole environment for a child process."""
        return os.environ | self.variables()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node, started by the first test that asks and stopped after the last."""
    node = RabbitMQNode()
    try:
        node.start()
    except RabbitMQMissing as reason:
        if os.environ.get("POSTAGE_REQUIRE_RABBITMQ") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_RABBITMQ=1, but {reason}")
        pytest.skip(str(reason))
    yield node
    node.close()


@pytest.fixture(scope="session")
def _fresh_vhosts() -> list[str]:
    return VHOSTS[:0:-1]  # popped from the end; "t00" is left to tests about logging in


@pytest.fixture(scope="module")
def vhost(_fresh_vhosts: list[str]) -> str:
    """The name of a vhost that no other test module uses."""
    assert _fresh_vhosts, "no vhost is left: make VHOSTS in tests/support/definitions.py longer"
    return _fresh_vhosts.pop()


@pytest.fixture(scope="module")
def broker_env(rabbitmq: RabbitMQNode, vhost: str) -> Iterator[BrokerEnv]:
    """The node and a fresh vhost, also in ``os.environ`` for the time of the module."""
    env = BrokerEnv(rabbitmq.host, rabbitmq.port, vhost)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POSTAGE_URL", raising=False)  # it would beat the variables below
        for name, value in env.variables().items():
            patch.setenv(name, value)
        yield env
        _close_connections()


@pytest.fixture(scope="module", autouse=True)
def _closed_connections() -> Iterator[None]:
    """After each module close the connections of this thread, whichever broker they lead to."""
    yield
    _close_connections()


def _close_connections() -> None:
    if green := sys.modules.get("postage.green"):
        green.close()
