"""asyncio in handlers, as docs/processors.md tells: in the pool of native threads."""

from __future__ import annotations

import pytest

from tests.support.programs import run_program

pytestmark = pytest.mark.usefixtures("broker_env")

PROGRAM = "tests/green/programs/asyncio_handlers.py"


@pytest.mark.parametrize(
    ("way", "printed"),
    [("plain", ["1 True", "['RuntimeError']"]), ("pool", ["5 True", "[]"])],
)
def test_asyncio_runs_in_one_handler_or_in_the_thread_pool(way: str, printed: list[str]) -> None:
    ended = run_program(PROGRAM, way)

    assert (ended.code, ended.stdout.splitlines()) == (0, printed), ended
