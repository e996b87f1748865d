"""docs/howto/from_nameko.md: the services after do what those before did."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage import Exchange, GenericProducer
from tests.support.guide import SOON, require, save_files
from tests.support.programs import Program

require("msgspec")

pytestmark = pytest.mark.slow


class Shop(Exchange):
    name = "nameko-shop"


class Visitor(GenericProducer):
    eks = ((Shop, "nameko-orders"),)


def test_the_services_after_call_each_other(broker_env, tmp_path: Path) -> None:
    save_files("from_nameko", tmp_path)

    with Program("-m", "postage", "run", "after", cwd=tmp_path) as services:
        services.wait_for_line("Running 3 components", SOON)
        visitor = Visitor({"name": "visitor"})
        assert visitor.call("order", item="bolt", count=3).unwrap() == 3
        services.wait_for_line("ordered: 3 bolt", SOON)
        refused = visitor.call("order", item="bolt", count=8)
        assert (refused.kind, refused.value) == ("exception", "OutOfStock")
        ended = services.terminate(SOON)

    assert ended.code == 0, ended.stderr


def test_the_services_before_are_python(tmp_path: Path) -> None:
    """nameko needs eventlet, which the suite does not have: only its syntax is looked at."""
    save_files("from_nameko", tmp_path)

    compile((tmp_path / "before.py").read_text(), "before.py", "exec")
