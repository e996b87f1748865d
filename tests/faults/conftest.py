"""The node that the faults happen to, and the reports of the runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.vhosts import chosen_broker
from tests.faults.fault_env import LOGINS, VHOSTS, FaultEnv, on_embedded, on_node
from tests.faults.password_leaks import fail_if_leaking
from tests.faults.report import Record, RunReport


@pytest.fixture(scope="session")
def fault_node(request: pytest.FixtureRequest) -> Iterator[RabbitMQNode]:
    """A private node that tests may kill."""
    if chosen_broker(request.config) != "rabbitmq":
        pytest.skip("it needs RabbitMQ itself")
    with RabbitMQNode(VHOSTS, LOGINS) as node:
        yield node


@pytest.fixture(scope="session")
def fault_vhosts() -> Iterator[str]:
    """The vhosts of that node; each test takes the next one."""
    return iter(VHOSTS)


@pytest.fixture
def env(kind: str, request: pytest.FixtureRequest) -> Iterator[FaultEnv]:
    """An environment of this *kind*: ``rabbitmq`` or ``embedded``."""
    if kind == "embedded":
        entering = on_embedded()
    else:
        vhosts = request.getfixturevalue("fault_vhosts")
        entering = on_node(request.getfixturevalue("fault_node"), next(vhosts))
    with entering as env:
        yield env


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """A function that prints a report, and keeps it for the table at the end of the test run."""

    def record(report: RunReport) -> None:
        record_property("fault_run", report.as_line())  # reaches the process that prints
        sys.stdout.write(f"{report}\n")

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail each test of this folder that shows the password of the fault environments."""
    report = yield
    fail_if_leaking(report)
    return report
