"""The node that the faults happen to, and the reports of the runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import FaultEnv, node_for, on_brokers, on_embedded
from tests.faults.journal import Journal
from tests.faults.password_leaks import fail_if_leaking
from tests.faults.report import figures, report, table_line

VHOSTS = [f"f{number}" for number in range(60)]


@pytest.fixture(scope="package")  # not longer: an idle node takes 2 % of a processor
def node_and_vhosts(_postage_chosen: str) -> Iterator[tuple[RabbitMQNode, Iterator[str]]]:
    """A private node that tests may kill, and its vhosts; each test takes the next one."""
    if _postage_chosen != "rabbitmq":
        pytest.skip("it needs RabbitMQ itself")
    with node_for(*VHOSTS) as node:
        yield node, iter(VHOSTS)


@pytest.fixture
def env(kind: str, request: pytest.FixtureRequest) -> Iterator[FaultEnv]:
    """An environment of this *kind*: ``rabbitmq`` or ``embedded``."""
    with ExitStack() as stack:
        if kind == "embedded":
            yield stack.enter_context(on_embedded())
        else:
            node, vhosts = request.getfixturevalue("node_and_vhosts")
            yield stack.enter_context(on_brokers(node, vhost=next(vhosts)))


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[[Journal], None]:
    """A function that prints a report, and keeps it for the table at the end of the test run."""

    def record(journal: Journal) -> None:
        # Properties reach the process that prints the table.
        record_property("fault_run", table_line(journal.title, figures(journal)))
        sys.stdout.write(f"{report(journal)}\n")

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail each test of this folder that shows the password of the fault environments."""
    outcome = yield
    fail_if_leaking(outcome)
    return outcome
