"""docs/howto/versions.md: the second version serves old callers, and its contract breaks nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage import Exchange, GenericProducer
from tests.support.guide import require, save_files, service
from tests.support.programs import run_program

require("msgspec")

pytestmark = pytest.mark.slow


class Shop(Exchange):
    name = "versions-shop"


class Caller(GenericProducer):
    eks = ((Shop, "versions-orders"),)


def test_the_second_version_serves_both_callers(broker_env, tmp_path: Path) -> None:
    save_files("versions", tmp_path)
    old, new = {"item": "bolt", "count": 3}, {"item": "bolt", "count": 3, "note": "quick"}

    with service("orders_2", tmp_path):
        caller = Caller({"name": "caller"})
        assert caller.call("place", order=old).unwrap() == "3 bolt"
        placed = caller.call("place_2", order=new, express=True).unwrap()

    assert placed == {"text": "3 bolt", "days": 1}


def test_the_first_version_ignores_a_new_field(broker_env, tmp_path: Path) -> None:
    save_files("versions", tmp_path)
    new = {"item": "bolt", "count": 3, "note": "quick"}

    with service("orders_1", tmp_path):
        caller = Caller({"name": "caller"})
        assert caller.call("place", order=new).unwrap() == "3 bolt"
        assert caller.call("place", order=new, express=True).value == "BadParameters"
        assert caller.call("place_2", order=new).value == "UnknownCommand"


def test_the_check_of_the_contract_finds_a_break(tmp_path: Path) -> None:
    save_files("versions", tmp_path)
    broken = (tmp_path / "orders_2.py").read_text().replace('note: str = ""', "note: str")
    (tmp_path / "orders_3.py").write_text(broken)

    contract = ("-m", "postage", "contract")
    exported = run_program(*contract, "export", "orders_1", cwd=tmp_path)
    (tmp_path / "orders.json").write_text(exported.stdout)
    codes = [
        run_program(*contract, "check", "orders.json", module, cwd=tmp_path).code
        for module in ("orders_1", "orders_2", "orders_3")
    ]

    assert codes == [0, 0, 4]
