"""``postage blame`` names the line that has held a process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postage import green, messaging
from postage.cli.fleet.flights import page, processes
from tests.cli.support import PROGRAMS, SOON, postage, running

pytestmark = pytest.mark.usefixtures("broker_env")

FILE = PROGRAMS / "holding.py"
(LINE,) = [n for n, text in enumerate(FILE.read_text().splitlines(), 1) if "to blame" in text]


class Caller(messaging.GenericProducer):
    eks = ((green.GenericApplicationExchange, "holding"),)
    rpc_timeout, max_retry = SOON, 0


def test_the_line_that_held_an_application_is_named() -> None:
    with running("run", "holding:Holding") as program:
        program.wait_for_line("Running 1 component", SOON)
        assert Caller().rpc_hold(0.5).value == "done"
        ended = postage("blame", "holding", "--wait", "2")
        told = postage("blame", "holding", "--wait", "2", "--json")

    assert (ended.code, ended.stderr) == (0, ""), ended
    assert f"holding, {program.pid}@" in ended.stdout
    assert f"s: {FILE}:{LINE} (hold): handler Holding.hold of Holding 'holding'" in ended.stdout
    (record,) = json.loads(told.stdout)
    kinds = [each["kind"] for each in record["flight"]]
    assert "held" in kinds


def test_nobody_behind_the_name_is_an_error() -> None:
    ended = postage("blame", "nobody", "--wait", "0.2")
    assert ended.code == 4
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        {},
        {"fingerprint": "x", "flight": []},
        {"fingerprint": {}, "flight": None},
        {"fingerprint": {"pid": 1}},
    ],
)
def test_answers_that_are_none_are_left_out(odd: Any) -> None:
    assert list(processes([odd])) == []


def test_odd_entries_are_shown_without_harm() -> None:
    entry = {"kind": "\x1b[2J", "ago": "x", "seconds": -1e99, "text": "a\nb"}
    record = {"fingerprint": {"name": "n\x07"}, "flight": [None, entry, {}]}
    (found,) = processes([record, record])
    lines = list(page(found))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
