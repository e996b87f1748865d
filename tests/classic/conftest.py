"""The classic library for the tests of this folder, or the reason why it is not here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.classic.environment import ClassicMissing, libraries, python2
from tests.classic.recorded import Wire, wire_to


@pytest.fixture(scope="session")
def classic() -> None:
    """Postage 1.2.1 for Python 2.7, ready to run; where it cannot be had, the test is skipped."""
    try:
        python2()
        libraries()
    except ClassicMissing as reason:
        if os.environ.get("POSTAGE_REQUIRE_CLASSIC") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_CLASSIC=1, but {reason}")
        pytest.skip(str(reason))


@pytest.fixture
def wire(broker_env: Any) -> Iterator[Wire]:
    """A plain pika connection to the broker of the module."""
    with wire_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened
