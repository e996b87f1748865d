"""The pytest plugin: options, a time limit, and the fixtures.

It patches nothing, and imports neither gevent nor pika before a test uses a fixture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from postage.testing.hang_detector import HangDetector
from postage.testing.installations import VARIABLE, RabbitMQMissing, programs_of
from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.time_limit import DETECTOR, limited
from postage.testing.vhosts import (
    EmbeddedVhosts,
    RabbitMQVhosts,
    UrlVhost,
    VhostProvider,
    chosen_broker,
    chosen_version,
)

if TYPE_CHECKING:
    from postage.broker import BrokerThread
    from postage.testing.inbox import Receive
    from postage.testing.parked_messages import ParkedMessages
    from postage.testing.processors import RunProcessor
    from postage.testing.vhost_clock import VhostClock

FIXTURES = {
    "postage_broker",
    "postage_clock",
    "postage_parked",
    "postage_rabbitmq",
    "postage_url",
    "postage_vhost",
    "received",
    "run_processor",
}
"""The fixtures of this plugin: tests that use them have a time limit by default."""
LIMIT = 60.0
"""Seconds: the default time limit."""
LONGEST = 1_000_000
"""Seconds: the longest one, which every call of the system takes."""


def seconds(given: Any) -> float:
    """Return *given* as a time limit; raises ValueError if it is none."""
    limit = float(given)
    if not 0 <= limit <= LONGEST:
        raise ValueError(given)
    return limit


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--postage-...`` and the ini setting ``postage_broker``."""
    group = parser.getgroup("postage")
    group.addoption(
        "--postage-broker",
        metavar="embedded|embedded-VERSION|rabbitmq|rabbitmq-VERSION|URL",
        help="the broker of Postage's fixtures: in this process (the default; like this version of "
        "RabbitMQ, if one is named), a private RabbitMQ node, of this version if one is named, or "
        "the one at an amqp:// URL, whose virtual host all tests then share",
    )
    group.addoption(
        "--postage-timeout",
        type=seconds,
        metavar="SECONDS",
        help="time limit of each test, after which it fails and all stacks are printed; "
        f"default: {LIMIT:g} for tests with Postage's fixtures, none for others; 0: none",
    )
    parser.addini("postage_broker", "the same as --postage-broker", default="embedded")


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, choose the RabbitMQ, and keep the real stderr: pytest captures it later."""
    config.addinivalue_line(
        "markers", "postage_timeout(seconds): time limit of the test; see --postage-timeout"
    )
    config.stash[DETECTOR] = HangDetector(os.dup(2))
    version = chosen_version(config)
    if version and chosen_broker(config) == "rabbitmq":
        _choose_rabbitmq(config, version)
    elif version:
        _check_likeness(version)


def _choose_rabbitmq(config: pytest.Config, version: str) -> None:
    """Let all nodes of this run, also those of its child processes, be of this *version*."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    try:
        patch.setenv(VARIABLE, str(programs_of(version)))
    except RabbitMQMissing as missing:
        raise pytest.UsageError(f"--postage-broker: {missing}") from missing


def _check_likeness(version: str) -> None:
    """Raise UsageError if the embedded broker cannot be like RabbitMQ *version*."""
    from postage.broker.core.likeness import LIKENESSES  # noqa: PLC0415 - as postage_broker

    if version not in LIKENESSES:
        known = ", ".join(LIKENESSES)
        raise pytest.UsageError(f"--postage-broker: embedded-{version} is none of {known}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the file that `pytest_configure` has opened."""
    os.close(config.stash[DETECTOR].descriptor)


# --- the time limit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the time of a test that uses Postage's fixtures, or for which a limit is set."""
    seconds = _limit_of(item)
    return (yield from limited(item, item.nodeid, seconds)) if seconds else (yield)


def _limit_of(item: pytest.Item) -> float:
    mark = item.get_closest_marker("postage_timeout")
    if mark is not None:
        return _marked(mark)
    option = item.config.getoption("--postage-timeout")
    if option is not None:
        return float(option)
    return LIMIT if FIXTURES.intersection(getattr(item, "fixturenames", ())) else 0.0


def _marked(mark: pytest.Mark) -> float:
    """Return the limit that *mark* gives, by place or as ``seconds``; fail if it is none."""
    try:
        (given,) = *mark.args, *mark.kwargs.values()
        if mark.kwargs.keys() <= {"seconds"}:
            return seconds(given)
    except (TypeError, ValueError):
        pass
    text = f"the marker is postage_timeout(SECONDS), from 0 (none) to {LONGEST:,}: {mark}"
    pytest.fail(text, pytrace=False)


# --- brokers


@pytest.fixture(scope="session")
def _postage_chosen(request: pytest.FixtureRequest) -> str:
    """What `chosen_broker` returns; the fixtures whose result depends on it ask for this one."""
    return chosen_broker(request.config)


@pytest.fixture(scope="session")
def postage_broker(pytestconfig: pytest.Config, _postage_chosen: str) -> Iterator[BrokerThread]:
    """The embedded broker of the run, in a thread of its own, with `faults` and `statistics`.

    The test is skipped if the run uses another broker.
    """
    if _postage_chosen != "embedded":
        pytest.skip(f"it needs the embedded broker, and this run uses {_postage_chosen}")
    from postage.broker import BrokerThread  # noqa: PLC0415 - gevent, only for tests that use it

    options: dict[str, Any] = {"like": like} if (like := chosen_version(pytestconfig)) else {}
    with BrokerThread(**options) as broker:
        yield broker


@pytest.fixture(scope="session")
def postage_rabbitmq(_postage_chosen: str) -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node, started for the first test that uses it, stopped after the last.

    The test is skipped if RabbitMQ is not installed; it fails if ``POSTAGE_REQUIRE_RABBITMQ=1``.
    """
    node = RabbitMQNode(vhosts=RabbitMQVhosts.NAMES)
    try:
        node.start()
    except RabbitMQMissing as reason:
        if os.environ.get("POSTAGE_REQUIRE_RABBITMQ") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_RABBITMQ=1, but {reason}")
        pytest.skip(str(reason))
    yield node
    node.close()


@pytest.fixture(scope="session")
def _postage_vhosts(request: pytest.FixtureRequest, _postage_chosen: str) -> VhostProvider:
    """The virtual hosts of the tests."""
    if _postage_chosen == "embedded":
        return EmbeddedVhosts(request.getfixturevalue("postage_broker"))
    if _postage_chosen == "rabbitmq":
        return RabbitMQVhosts(request.getfixturevalue("postage_rabbitmq"))
    return UrlVhost(_postage_chosen)


@pytest.fixture
def postage_vhost(_postage_vhosts: VhostProvider) -> Iterator[str]:
    """The name of a virtual host that no other test uses; it is removed after the test.

    With ``--postage-broker=URL`` it is the virtual host of that URL.
    """
    name = _postage_vhosts.open_vhost()
    yield name
    _postage_vhosts.close_vhost(name)


@pytest.fixture
def postage_url(
    _postage_vhosts: VhostProvider, postage_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The ``amqp://`` URL of `postage_vhost`; during the test it is also in ``POSTAGE_URL``.

    After the test, the connections that Postage has opened in this thread are closed.
    """
    url = _postage_vhosts.url_of(postage_vhost)
    monkeypatch.setenv("POSTAGE_URL", url)
    monkeypatch.delenv("POSTAGE_URL_FILE", raising=False)  # two URLs would be an error
    yield url
    if green := sys.modules.get("postage.green"):
        green.close()


@pytest.fixture
def postage_clock(
    request: pytest.FixtureRequest, _postage_chosen: str, postage_vhost: str
) -> VhostClock:
    """The clock of the test's virtual host: ``postage_clock.advance(120)`` ends delays of 120 s.

    The test is skipped if the run uses another broker than the embedded one.
    """
    if _postage_chosen != "embedded":
        pytest.skip(
            f"only the embedded broker has a clock that a test can turn; this run uses "
            f"{_postage_chosen}, where the test would have to wait"
        )
    from postage.testing.vhost_clock import VhostClock  # noqa: PLC0415 - as postage_broker

    return VhostClock(request.getfixturevalue("postage_broker"), postage_vhost)


# --- components


@pytest.fixture
def run_processor(postage_url: str) -> Iterator[RunProcessor]:  # noqa: ARG001 - the place where it runs
    """A function that runs a processor for the rest of the test; see `RunProcessor`.

    The test fails if a handler raises an error.
    """
    from postage.testing.processors import RunProcessor  # noqa: PLC0415 - as postage_broker

    with RunProcessor() as runner:
        yield runner


@pytest.fixture
def received(postage_url: str) -> Iterator[Receive]:  # noqa: ARG001 - the place where it listens
    """A function that returns an `Inbox`, which collects messages sent to an exchange by keys."""
    from postage.testing.inbox import Receive  # noqa: PLC0415 - as postage_broker

    with Receive() as receive:
        yield receive


@pytest.fixture
def postage_parked(postage_url: str) -> Callable[..., ParkedMessages]:  # noqa: ARG001 - as received
    """A function that returns the `ParkedMessages` of a queue: ``postage_parked("orders")``."""
    from postage.testing.parked_messages import parked_of  # noqa: PLC0415 - as postage_broker

    return parked_of
