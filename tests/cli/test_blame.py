"""``postage blame`` names the line that has held a process."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from postage import green, messaging
from postage.cli.fleet.flights import page, processes
from tests.cli.support import PROGRAMS, SOON, answer_of, postage, running

pytestmark = pytest.mark.usefixtures("broker_env")

FILE = PROGRAMS / "holding.py"


def line(comment: str) -> str:
    """Return the place of the line of `FILE` that ends with *comment*."""
    lines = FILE.read_text().splitlines()
    (number,) = [n for n, text in enumerate(lines, 1) if text.endswith(f"# {comment}")]
    return f"{FILE}:{number}"


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
    place = line("the line to blame")
    assert f"s: {place} (hold): handler Holding.hold of Holding 'holding'" in ended.stdout
    (record,) = json.loads(told.stdout)
    kinds = [each["kind"] for each in record["flight"]]
    assert "held" in kinds


def test_a_processor_and_a_service_share_one_record() -> None:
    with running("run", "holding:both") as program:
        program.wait_for_line("Running 2 components", SOON)
        for key in ("plain", "held"):
            assert answer_of("call", "cli-holding", key, "hold", "0.5") == "done"
        told = answer_of("blame", "*", "--wait", "2", "--json")
        ends = [postage("blame", name, "--wait", "2") for name in ("plain", "held")]

    (found,) = told
    assert (found["fingerprint"]["pid"], found["left_out"]) == (str(program.pid), 0)
    for ended in ends:
        assert (ended.code, ended.stderr) == (0, ""), ended
        assert f", {program.pid}@" in ended.stdout
        for comment in ("the line of the processor", "the line of the service"):
            assert line(comment) in ended.stdout


def test_an_application_without_discovery_is_asked_itself() -> None:
    env = os.environ | {"POSTAGE_DISCOVERY": "0"}
    with running("run", "holding:Holding", env=env) as program:
        program.wait_for_line("Running 1 component", SOON)
        (found,) = answer_of("blame", "holding", "--wait", "2", "--json")

    assert found["fingerprint"]["pid"] == str(program.pid)


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
    assert list(processes([odd], [odd])) == []


def test_odd_entries_are_shown_without_harm() -> None:
    entry = {"kind": "\x1b[2J", "ago": "x", "seconds": -1e99, "text": "a\nb"}
    odd = {"fingerprint": {"name": "n\x07"}, "flight": [None, entry, {}]}
    (found,) = processes([], [odd, odd])
    lines = list(page(found))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def record(name: str, **more: Any) -> dict[str, Any]:
    fingerprint = {"name": name, "pid": "1", "host": "h"}
    return {"fingerprint": fingerprint, "flight": [], **more}


def test_two_processes_that_claim_the_same_id_are_two() -> None:
    told = [record("one", instance="a"), record("one", instance="b"), record("one", instance="b")]

    assert [each["instance"] for each in processes(told, [])] == ["a", "b"]


def test_what_a_station_tells_counts_before_a_description() -> None:
    found = list(processes([record("station", instance="a")], [record("application")]))

    assert [each["fingerprint"]["name"] for each in found] == ["station"]


@pytest.mark.parametrize("left_out", [-1, 1e300, None, "7", [], 2])
def test_the_number_of_entries_left_out_is_shown(left_out: Any) -> None:
    flood = [{"kind": "slow", "text": "x", "ago": 1.0}] * 10_000
    odd = {**record("one", instance=[], left_out=left_out), "flight": flood}
    (found,) = processes([odd], [])
    lines = list(page(found))

    assert len(lines) < 500
    assert any("2 older entries" in each for each in lines) == (left_out == 2)
