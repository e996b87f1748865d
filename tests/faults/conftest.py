"""The node that faults happen to, and what is kept of their accounts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.vhosts import chosen_broker
from tests.faults.account import Account, Keep, line
from tests.faults.leaks import spoil
from tests.faults.login import LOGINS, VHOSTS

if TYPE_CHECKING:
    from tests.faults.scene import Scene


@pytest.fixture(scope="session")
def fault_node(request: pytest.FixtureRequest) -> Iterator[RabbitMQNode]:
    """A private node that tests may kill."""
    if chosen_broker(request.config) != "rabbitmq":
        pytest.skip("it needs RabbitMQ itself")
    with RabbitMQNode(VHOSTS, LOGINS) as node:
        yield node


@pytest.fixture(scope="session")
def fault_vhosts() -> Iterator[str]:
    """The virtual hosts of that node, each to be used once."""
    return iter(VHOSTS)


@pytest.fixture
def scene(kind: str, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene of this *kind*: ``rabbitmq`` or ``embedded``."""
    from tests.faults.scene import on_embedded, on_node

    if kind == "embedded":
        opening = on_embedded()
    else:
        vhosts = request.getfixturevalue("fault_vhosts")
        opening = on_node(request.getfixturevalue("fault_node"), next(vhosts))
    with opening as opened:
        yield opened


@pytest.fixture
def keep(record_property: Callable[[str, object], None]) -> Keep:
    """A function that prints an account, and keeps it for the table at the end of the run."""

    def keep(account: Account) -> None:
        record_property("account", line(account))  # the report takes it to whichever process prints
        sys.stdout.write(f"{account}\n")

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test of this folder show the password of the scenes."""
    report = yield
    spoil(report)
    return report
