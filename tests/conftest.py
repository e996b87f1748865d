"""Fixtures and hooks of the whole suite: a broker, and a time limit for every test."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import hypothesis
import pytest

from postage.log_records import sorts
from postage.testing.installations import VARIABLE, RabbitMQMissing, is_installed
from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.time_limit import limited
from postage.testing.vhosts import RabbitMQVhosts, chosen_broker, chosen_version
from tests.faults.report import HEADER
from tests.support.certificates import Certificates
from tests.support.clock import Clock
from tests.support.definitions import (
    ALICE,
    CERTIFIED,
    LARGE_MESSAGES,
    LOGINS,
    SECRET_OF_ALICE,
    VHOSTS,
)
from tests.support.fresh_vhosts import AT_START, FreshVhosts

# Our own plugin, also if the package is on the path without being installed.
installed = entry_points(group="pytest11", name="postage")
pytest_plugins = [] if installed else ["postage.testing.plugin"]

#: Seconds that a test may take, unless it has ``@pytest.mark.limit(seconds)``.
LIMIT = 60.0
#: Seconds for set-up and tear-down, which may start or stop a RabbitMQ node.
FIXTURE_LIMIT = 90.0
REQUIRED = os.environ.get("POSTAGE_REQUIRE_RABBITMQ") == "1"

# On a busy machine an example may be slow by chance; whole tests have a limit.
hypothesis.settings.register_profile("postage", deadline=None)
hypothesis.settings.load_profile("postage")


def pytest_configure(config: pytest.Config) -> None:
    """Run on RabbitMQ if it is installed, and on the embedded broker otherwise."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # Programs that tests start would inherit that, for instance under nohup; not a handler.
        signal.signal(signal.SIGHUP, lambda *_: None)
    if config.option.postage_broker is None:
        config.option.postage_broker = "rabbitmq" if is_installed() or REQUIRED else "embedded"
    if chosen_broker(config) not in ("embedded", "rabbitmq"):
        raise pytest.UsageError("The suite needs its own virtual hosts and users: no URL.")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that the choice of the broker may change: ``-m "not broker"`` runs the others.

    Its fixtures depend on the choice, or it is the round "rabbitmq" of a test for both brokers, or
    the embedded broker cannot have it.
    """
    rounds = item.callspec.params.values() if hasattr(item, "callspec") else ()
    chosen = "_postage_chosen" in getattr(item, "fixturenames", ())
    if chosen or "rabbitmq" in rounds or item.get_closest_marker("needs_rabbitmq"):
        item.add_marker("broker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest: at the end, other processes would wait for them."""
    items.sort(key=lambda item: item.path.parent.name != "testing")


@pytest.fixture(autouse=True)
def _leave_the_library_unpatched() -> Iterator[None]:
    """Name the test that patches the standard library: others would fail, in some orders only."""
    yield
    monkey: Any = sys.modules.get("gevent.monkey")
    assert monkey is None or not monkey.is_anything_patched(), "it patches the standard library"


@pytest.fixture(autouse=True)
def _count_records_anew() -> None:
    """Let no test miss a record because an earlier test has caused others of its sort."""
    sorts.clear()


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that got the chosen broker by `getfixturevalue`, of which no marker tells."""
    yield
    unmarked = request.node.get_closest_marker("broker") is None
    assert not (unmarked and "_postage_chosen" in request.fixturenames), (
        "ask for the fixture of the broker by its name: the marker `broker` is missing"
    )


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Make every report fit for another process, which half a surrogate pair is not."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    """Return *value*, which is plain data, with all texts fit for UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_encodable, value))
    return value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the runs in tests/faults, also of those in other processes."""
    reports = itertools.chain.from_iterable(terminalreporter.stats.values())
    called = (each for each in reports if getattr(each, "when", None) == "call")
    lines = [text for each in called for name, text in each.user_properties if name == "fault_run"]
    if lines:
        terminalreporter.section("runs with faults")
        terminalreporter.write_line("\n".join([HEADER, *lines]))


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line that names the broker of the run."""
    chosen = f"{chosen_broker(config)} {chosen_version(config)}".rstrip()
    return f"broker: {chosen} {os.environ.get(VARIABLE, '')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let only tests with the marker `broker` start RabbitMQ nodes: others run on one version."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("broker") is None:
            patch.setenv(VARIABLE, "/none: the test must use the fixture `rabbitmq`")
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the set-up of *item*; skip it if the broker lacks what the test needs."""
    lacks = item.get_closest_marker("needs_rabbitmq")
    if lacks is not None and chosen_broker(item.config) == "embedded":
        pytest.skip(f"the embedded broker has no {lacks.args[0]}")
    return (yield from limited(item, f"the set-up of {item.nodeid}", FIXTURE_LIMIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the test itself."""
    mark = item.get_closest_marker("limit")
    return (yield from limited(item, item.nodeid, float(mark.args[0]) if mark else LIMIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Limit the tear-down of *item*."""
    return (yield from limited(item, f"the tear-down of {item.nodeid}", FIXTURE_LIMIT))


@dataclass(frozen=True)
class BrokerEnv:
    """The broker of a test module, which is also in ``os.environ`` while the module runs."""

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
        """The address as an ``amqp://`` URL."""
        vhost = self.vhost.replace("/", "%2F")
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{vhost}"

    def variables(self) -> dict[str, str]:
        """Return the environment variables that name this broker."""
        return {
            "POSTAGE_HOST": self.host,
            "POSTAGE_PORT": str(self.port),
            "POSTAGE_VHOST": self.vhost,
            "POSTAGE_USER": self.user,
            "POSTAGE_PASSWORD": self.password,
        }

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process."""
        return os.environ | self.variables()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of the node, and of two clients: `CERTIFIED` and an unknown one."""
    return Certificates(tmp_path_factory.mktemp("certificates"), CERTIFIED)


@pytest.fixture(scope="session")
def rabbitmq(_postage_chosen: str, certificates: Certificates) -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node, started for the first test that needs it; it speaks TLS, too."""
    if _postage_chosen != "rabbitmq":
        pytest.skip("it needs RabbitMQ itself: its commands, its log or its process")
    tls = certificates.broker
    vhosts = [*VHOSTS[:AT_START], *RabbitMQVhosts.NAMES]
    node = RabbitMQNode(vhosts, LOGINS, tls=tls, configuration=LARGE_MESSAGES)
    try:
        node.start()
    except RabbitMQMissing as reason:
        if REQUIRED:
            pytest.fail(f"POSTAGE_REQUIRE_RABBITMQ=1, but {reason}")
        pytest.skip(str(reason))
    yield node
    node.close()


@pytest.fixture(scope="session")
def postage_rabbitmq(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """The node of the suite also serves the shipped fixtures: one of their own takes long."""
    return rabbitmq


@pytest.fixture(scope="session")
def _permissive(rabbitmq: RabbitMQNode) -> Iterator[RabbitMQNode]:
    """A node with shared transient queues, which Postage 1.2.1 declares; RabbitMQ 3 has them."""
    if rabbitmq.ctl("version").startswith("3."):
        yield rabbitmq
    else:
        with RabbitMQNode(VHOSTS[:AT_START], LOGINS, transient_queues=True) as node:
            yield node


@pytest.fixture(scope="session")
def _embedded(pytestconfig: pytest.Config) -> Iterator[Any]:
    """The embedded broker of the suite, with the same users and virtual hosts."""
    with _new_embedded(pytestconfig) as broker:
        yield broker


@pytest.fixture(scope="session")
def _permissive_embedded(pytestconfig: pytest.Config) -> Iterator[Any]:
    """An embedded broker with shared transient queues, which Postage 1.2.1 declares."""
    with _new_embedded(pytestconfig, transient_queues=True) as broker:
        yield broker


def _new_embedded(config: pytest.Config, **options: Any) -> Any:
    from postage.broker import BrokerThread, Limits

    if like := chosen_version(config):
        options["like"] = like
    limits = Limits(message_max=64 << 20)  # some tests send very large messages
    users = {"guest": "guest", ALICE: SECRET_OF_ALICE}
    return BrokerThread(users=users, vhosts=("/", *VHOSTS), limits=limits, **options)


@pytest.fixture(scope="module")
def _broker(request: pytest.FixtureRequest, _postage_chosen: str) -> Any:
    """The chosen broker, as the module needs it."""
    permissive = request.node.get_closest_marker("transient_queues")
    if _postage_chosen == "embedded":
        chosen = "_permissive_embedded" if permissive else "_embedded"
    else:
        chosen = "_permissive" if permissive else "rabbitmq"
    return request.getfixturevalue(chosen)


@pytest.fixture(scope="session")
def _fresh_vhosts() -> FreshVhosts:
    return FreshVhosts()


@pytest.fixture(scope="module")
def vhost(_fresh_vhosts: FreshVhosts, _broker: Any) -> str:
    """The name of a vhost that no other test module uses."""
    return _fresh_vhosts.take(_broker)


@pytest.fixture(scope="module")
def broker_env(_broker: Any, vhost: str) -> Iterator[BrokerEnv]:
    """The broker and a fresh vhost, which are also in ``os.environ`` during the module."""
    env = BrokerEnv("127.0.0.1", _broker.port, vhost)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POSTAGE_URL", raising=False)  # it takes precedence over the variables below
        for name, value in env.variables().items():
            patch.setenv(name, value)
        yield env
        _close_connections()


@pytest.fixture(scope="module", autouse=True)
def _frozen_heap() -> None:
    """Exclude the objects of the suite from garbage collection.

    A collection of all of them takes half a second on a busy machine, and may start at any moment:
    waits would end late.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _closed_connections() -> Iterator[None]:
    """Close the connections of this thread after each module."""
    yield
    _close_connections()


def _close_connections() -> None:
    if green := sys.modules.get("postage.green"):
        green.close()


@pytest.fixture
def clock() -> Clock:
    """A clock that the test sets."""
    return Clock()
