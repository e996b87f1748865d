"""A run's outcome as JSON, as a picture, and written into a file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.contest import Result
from benchmarks.contestants import CONTESTANTS
from benchmarks.measure import Figures
from benchmarks.plot import plot
from benchmarks.report import BEGIN, END, Outcome, written_into
from benchmarks.workloads import WORKLOADS

PAIR = [CONTESTANTS["postage"], CONTESTANTS["kombu"]]
RESULTS = {
    WORKLOADS["rpc"]: [
        Result(PAIR[0], [Figures(rate=2000.0), Figures(rate=3000.0)]),
        Result(PAIR[1], problem="it <failed>"),
    ]
}
OUTCOME = Outcome(
    {"machine": "2 cores"}, {"postage": "gevent 1", "kombu": "kombu 2"}, PAIR, RESULTS
)


def test_json_has_every_round():
    told = json.loads(OUTCOME.as_json())
    rounds = told["results"]["rpc"]["postage"]["rounds"]
    assert [one["rate"] for one in rounds] == [2000.0, 3000.0]
    assert told["results"]["rpc"]["kombu"]["problem"] == "it <failed>"
    assert told["machine"] == "2 cores"


def test_markdown_names_settings_versions_and_conditions():
    text = OUTCOME.as_markdown()
    assert "### RPC, 1 caller\n\n|" in text
    assert f"| kombu | kombu 2 | {PAIR[1].settings} |" in text
    assert text.endswith("- machine: 2 cores")


def test_a_failed_round_is_told():
    assert OUTCOME.failed


def test_the_picture_has_a_bar_for_each_that_ran():
    picture = ET.fromstring(plot(OUTCOME.results))  # noqa: S314 - our own text
    bars = picture.findall(".//{*}g/{*}rect")
    assert len(bars) == 1
    assert float(bars[0].get("width") or 0) == pytest.approx(400 * 2500 / 3000, abs=0.1)
    texts = {each.text for each in picture.findall(".//{*}text")}
    assert {"RPC, 1 caller (per second)", "Postage", "2,500"} <= texts


def test_only_what_is_between_the_marks_is_rewritten(tmp_path: Path):
    page = tmp_path / "page.md"
    begin, end, other = BEGIN.format("all"), END.format("all"), BEGIN.format("broker")
    page.write_text(f"before\n{begin}\nold\n{end}\n{other}\nafter\n")
    written_into(page, "all", "new")
    assert page.read_text() == f"before\n{begin}\n\nnew\n\n{end}\n{other}\nafter\n"


def test_a_file_without_marks_is_left_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("text")
    with pytest.raises(ValueError, match="has no lines"):
        written_into(page, "all", "new")
    assert page.read_text() == "text"
