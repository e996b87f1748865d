"""The gate: what callgrind has written, what was recorded, and what is said of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.clocks import CpuTime, Instructions, total
from benchmarks.gate import FILE, PAIRS, Comparison, judged
from benchmarks.parts import Part, costs
from benchmarks.ratios import BETTER, WORSE, Records, python

DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 7
part: 2
desc: Trigger: --dump-before=getppid

events: Ir
summary: 4711

fn=(1) totals: are at the end
12 4711

totals: 4711
"""


NOBODY: Any = None


def test_the_sum_stands_at_the_end():
    assert total(DUMP) == 4711


def test_a_file_without_a_sum_is_no_zero():
    with pytest.raises(ValueError, match="no sum"):
        total(DUMP.partition("totals: 4711")[0].replace("totals: are", ""))


def test_instructions_add_up_from_mark_to_mark(tmp_path: Path):
    clock = Instructions(tmp_path)
    for mark, count in enumerate((1000, 20, 300), 1):
        (tmp_path / f"callgrind.{mark}").write_text(f"totals: {count}\n")
    assert [clock.read(NOBODY, mark) for mark in (1, 3, 3)] == [1000, 1320, 1320]


def test_callgrind_writes_where_the_clock_reads(tmp_path: Path):
    words = Instructions(tmp_path).command(["python", "-m", "x"])
    assert f"--callgrind-out-file={tmp_path / 'callgrind'}" in words
    assert words[-3:] == ["python", "-m", "x"]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    path = tmp_path / "gate.json"
    recorded = {"versions": "pika 1", "ratios": {"publish": 1.0, "rpc": 0.8}}
    path.write_text(json.dumps({python(): {"instructions": recorded}, "Other 1.0": {}}))
    return Records(path, "instructions")


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(1.16, WORSE), (1.14, "as recorded"), (0.96, "as recorded"), (0.94, BETTER)],
)
def test_fifteen_per_cent_more_is_worse(records: Records, ratio: float, said: str):
    assert records.verdict("publish", ratio) == said
    assert records.verdict("rpc", ratio * 0.8) == said
    assert records.verdict("consume", ratio) == "not recorded"


def compared(ours: float, rpc: float = 80.0) -> Comparison:
    """Return three rounds whose middle one counts."""
    rounds = [{"publish": cost, "rpc": rpc} for cost in (ours, ours * 2, ours / 2)]
    return Comparison("µs", rounds, [{"publish": 100.0, "rpc": 100.0}] * 3)


def test_one_that_got_worse_fails_whatever_else_got_better(records: Records):
    text, failed = judged(compared(120.0, rpc=10.0), records)
    assert failed
    assert "| publish | 120 | 100 | 1.200 | 1.000 | worse |" in text
    assert "| rpc | 10 | 100 | 0.100 | 0.800 | better |" in text
    assert "FAILED" in text


def test_an_improvement_passes_and_asks_to_be_recorded(records: Records):
    text, failed = judged(compared(90.0), records)
    assert not failed
    assert "--record" in text


def test_what_is_as_recorded_passes_without_more(records: Records):
    text, failed = judged(compared(101.0), records)
    assert not failed
    assert "--record" not in text


def test_another_python_is_told_about_and_not_judged(tmp_path: Path):
    path = tmp_path / "gate.json"
    path.write_text("{}")
    text, failed = judged(compared(1000.0), Records(path, "instructions"))
    assert not failed
    assert "nothing is judged" in text


def test_what_is_recorded_is_known_and_the_rest_stays(records: Records, tmp_path: Path):
    path = tmp_path / "gate.json"
    Records(path, "CPU time").write({"publish": 1.23456})
    known = Records(path, "CPU time")
    assert known.ratios == {"publish": 1.235}
    assert "pika" in (known.versions or "")
    assert Records(path, "instructions").ratios == records.ratios
    assert "Other 1.0" in json.loads(path.read_text())


def test_what_is_recorded_in_the_project_is_what_is_measured():
    titles = {part.title for _, _, parts in PAIRS for part in parts if part.title}
    for ways in json.loads(FILE.read_text()).values():
        for record in ways.values():
            assert record["ratios"].keys() == titles


class Short(CpuTime):
    """A few operations say that all parts can be played."""

    operations = 40


PLAYS = {one: parts for *pair, parts in PAIRS for one in pair}


@pytest.mark.parametrize(("peer", "parts"), PLAYS.items(), ids=PLAYS)
def test_all_parts_are_played(peer: str, parts: tuple[Part, ...]):
    told = costs(peer, Short, parts)
    assert list(told) == [part.title for part in parts if part.title]
    assert min(told.values()) > 0
