"""The pytest plugin: options, a time limit, and the fixtures.

It imports neither gevent nor pika before a fixture is used, and patches nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from postage.testing.rabbitmq import RabbitMQMissing, RabbitMQNode
from postage.testing.time_limit import close_stderr, keep_stderr, limited
from postage.testing.vhosts import EmbeddedHome, Home, RabbitMQHome, UrlHome, chosen_broker

if TYPE_CHECKING:
    from postage.broker import BrokerThread
    from postage.testing.inbox import Receive
    from postage.testing.processors import RunProcessor

OURS = {
    "postage_broker",
    "postage_rabbitmq",
    "postage_url",
    "postage_vhost",
    "received",
    "run_processor",
}
"""The fixtures whose tests have a time limit although nobody asked for one."""
LIMIT = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their twins in the configuration file."""
    group = parser.getgroup("postage")
    group.addoption(
        "--postage-broker",
        metavar="embedded|rabbitmq|URL",
        help="where the fixtures of Postage lead: to a broker in this process (the default), to a "
        "private RabbitMQ node, or to an amqp:// URL, whose virtual host all tests then share",
    )
    group.addoption(
        "--postage-timeout",
        type=float,
        metavar="SECONDS",
        help="how long each test may take before it fails with the stacks of all greenlets; "
        f"default: {LIMIT:g} for tests with fixtures of Postage, no limit for others; 0: none",
    )
    parser.addini("postage_broker", "the same as --postage-broker", default="embedded")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr, which pytest does not capture here, for what the watchdog prints."""
    config.addinivalue_line(
        "markers", "postage_timeout(seconds): how long the test may take; see --postage-timeout"
    )
    keep_stderr(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what `pytest_configure` opened."""
    close_stderr(config)


# --- the time limit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the time of a test that uses our fixtures or asks for a limit."""
    seconds = _limit_of(item)
    return (yield from limited(item, item.nodeid, seconds) if seconds else _unlimited())


def _limit_of(item: pytest.Item) -> float:
    mark = item.get_closest_marker("postage_timeout")
    if mark is not None:
        return float(mark.args[0])
    told = item.config.getoption("--postage-timeout")
    if told is not None:
        return float(told)
    return LIMIT if OURS.intersection(getattr(item, "fixturenames", ())) else 0.0


def _unlimited() -> Generator[None, Any, Any]:
    return (yield)


# --- brokers


@pytest.fixture(scope="session")
def postage_broker(request: pytest.FixtureRequest) -> Iterator[BrokerThread]:
    """The embedded broker of the run, in a thread of its own: its faults, its statistics.

    Skips the test where the run uses another broker.
    """
    chosen = chosen_broker(request.config)
    if chosen != "embedded":
        pytest.skip(f"it needs the embedded broker, and this run uses {chosen}")
    from postage.broker import BrokerThread  # noqa: PLC0415 - gevent, only where it is used

    with BrokerThread() as broker:
        yield broker


@pytest.fixture(scope="session")
def postage_rabbitmq() -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node, started by the first test that asks, stopped after the last.

    Skips the test where RabbitMQ is not installed; where ``POSTAGE_REQUIRE_RABBITMQ`` is 1, fails.
    """
    node = RabbitMQNode(vhosts=RabbitMQHome.NAMES)
    try:
        node.start()
    except RabbitMQMissing as reason:
        if os.environ.get("POSTAGE_REQUIRE_RABBITMQ") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_RABBITMQ=1, but {reason}")
        pytest.skip(str(reason))
    yield node
    node.close()


@pytest.fixture(scope="session")
def _postage_home(request: pytest.FixtureRequest) -> Home:
    """Where the virtual hosts of the tests are."""
    chosen = chosen_broker(request.config)
    if chosen == "embedded":
        return EmbeddedHome(request.getfixturevalue("postage_broker"))
    if chosen == "rabbitmq":
        return RabbitMQHome(request.getfixturevalue("postage_rabbitmq"))
    return UrlHome(chosen)


@pytest.fixture
def postage_vhost(_postage_home: Home) -> Iterator[str]:
    """The name of a virtual host that no other test uses, gone after the test.

    With ``--postage-broker=URL`` it is the virtual host of the URL.
    """
    name = _postage_home.open_vhost()
    yield name
    _postage_home.close_vhost(name)


@pytest.fixture
def postage_url(
    _postage_home: Home, postage_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The ``amqp://`` URL of `postage_vhost`; during the test ``POSTAGE_URL`` says the same.

    After the test the connections that Postage has made in this thread are closed.
    """
    url = _postage_home.url_of(postage_vhost)
    monkeypatch.setenv("POSTAGE_URL", url)
    yield url
    if green := sys.modules.get("postage.green"):
        green.close()


# --- components


@pytest.fixture
def run_processor(postage_url: str) -> Iterator[RunProcessor]:  # noqa: ARG001 - where it runs
    """A function that runs a processor for the rest of the test; see `RunProcessor`.

    The test fails when a handler did.
    """
    from postage.testing.processors import RunProcessor  # noqa: PLC0415 - as postage_broker

    with RunProcessor() as runner:
        yield runner


@pytest.fixture
def received(postage_url: str) -> Iterator[Receive]:  # noqa: ARG001 - where it listens
    """A function that returns an `Inbox` for what is sent to an exchange by some keys."""
    from postage.testing.inbox import Receive  # noqa: PLC0415 - as postage_broker

    with Receive() as receive:
        yield receive
