"""The classic library for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.classic.environment import ClassicMissing, libraries, python2
from tests.classic.recorded import Replay


@pytest.fixture(scope="session")
def classic() -> None:
    """Postage 1.2.1 for Python 2.7, ready to run; if it is not available, the test is skipped."""
    try:
        python2()
        libraries()
    except ClassicMissing as reason:
        if os.environ.get("POSTAGE_REQUIRE_CLASSIC") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_CLASSIC=1, but {reason}")
        pytest.skip(str(reason))


@pytest.fixture
def replay(broker_env: Any) -> Iterator[Replay]:
    """A connection of plain pika to the broker of the module."""
    opened = Replay(broker_env.hup, broker_env.vhost)
    try:
        yield opened
    finally:
        opened.connection.close()
