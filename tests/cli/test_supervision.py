"""``postage run`` with a component that crashes."""

from __future__ import annotations

import pytest

from tests.cli.support import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


def test_it_ends_with_code_6_when_it_gives_up_on_a_component():
    with running("run", "fragile:both") as program:
        ended = program.wait(SOON)

    assert ended.code == 6
    assert ended.stderr.count("has crashed; it is started again in") == 2
    assert ended.stderr.count("ZeroDivisionError: a crash") == 3
    *_, last = ended.stderr.splitlines()
    assert last.startswith("GaveUp: Fragile 'None' was started again 2 times within 60 s")
