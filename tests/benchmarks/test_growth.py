"""How costs grow: exponents, tables, plots; and each kind measured once, with few."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest

from benchmarks.broker import Target, broker
from benchmarks.families import FAMILIES, Family, Found
from benchmarks.growth import Grown, verdict
from benchmarks.lines import Axis, lines
from benchmarks.series import Point, Series, median


def grown_by(power: float, *counts: int) -> list[Point]:
    return [Point(count, 1e-5 * count**power, 2e-5 * count**power) for count in counts]


COUNTS = (1, 10, 100, 1000, 10_000)
LINEAR = Series("linear", grown_by(1.0, *COUNTS))
SQUARE = Series("square", grown_by(2.0, *COUNTS))


def test_the_exponent_is_the_power_by_which_all_of_it_grows():
    assert LINEAR.exponent == pytest.approx(1.0)
    assert SQUARE.exponent == pytest.approx(2.0)
    assert (LINEAR.is_steeper, SQUARE.is_steeper) == (False, True)


def test_what_is_there_once_does_not_hide_how_the_rest_grows():
    points = [Point(p.count, p.cpu + 1e-2, p.wall) for p in SQUARE.points]
    assert Series("square", points).exponent == pytest.approx(2.0, abs=0.1)


def test_one_number_alone_has_no_exponent():
    alone = Series("alone", grown_by(2.0, 10))
    assert (alone.exponent, alone.is_steeper) == (None, False)
    assert Series("none", []).exponent is None


def test_each_is_microseconds():
    point = Point(100, 1.0, 2.0)
    assert (point.each, point.each_wall) == (10_000, 20_000)


def test_the_median_is_that_of_each_clock():
    rounds = [Point(10, 1.0, 9.0), Point(10, 3.0, 7.0), Point(10, 2.0, 8.0)]
    assert median(rounds) == Point(10, 2.0, 8.0)


def test_an_axis_goes_from_a_power_of_ten_to_another_one():
    axis = Axis.of([3.0, 450.0], 300.0)
    assert axis.powers == [1.0, 10.0, 100.0, 1000.0]
    assert [axis.at(value) for value in (1.0, 10.0, 1000.0)] == pytest.approx([0.0, 100.0, 300.0])
    assert Axis.of([10.0], 300.0).powers == [10.0, 100.0]


def test_the_picture_has_a_line_and_a_name_for_each_cost():
    absent = Series("absent", [])
    picture = ET.fromstring(  # noqa: S314 - our own text
        lines({"Calls": ("calls at once", [LINEAR, SQUARE, absent])})
    )
    drawn = picture.findall(".//{*}polyline")
    heights = [[place.split(",")[1] for place in one.get("points", "").split()] for one in drawn]
    assert [len(places) for places in heights] == [len(COUNTS)] * 2
    assert len(set(heights[0])) == 1, "what is linear is level"
    assert heights[1] == sorted(heights[1], key=float, reverse=True)
    assert len({one.get("stroke") for one in drawn}) == 2
    texts = {each.text for each in picture.findall(".//{*}text")}
    assert {"linear", "square", "calls at once", "1", "10,000"} <= texts
    assert "absent" not in texts


def grown(*costs: tuple[float, float]) -> Grown:
    family = Family(
        "Things",
        "things",
        (10, 1000),
        {"a": "to make", "b": "to end"},
        {"p50": ("p50 ms", 1.0), "p99": ("p99 ms", 1.0)},
        lambda _target, _name, _count: Found(),
    )
    found = {
        count: [
            Found({"a": (cpu, 2 * cpu), "b": (1e-6 * count, 0.0)}, {"p50": cpu, "p99": 2 * cpu})
        ]
        for count, (cpu, _) in zip(family.counts, costs, strict=True)
    }
    return Grown(family, found)


def test_the_table_has_a_line_for_each_number_and_the_powers():
    rows = grown((1e-3, 0), (1.0, 0)).as_markdown().splitlines()
    assert rows[0] == "### Things"
    assert rows[4] == "| 10 | 100.0 (200) | 1.0 | 0.00 | 0.00 |"
    assert rows[5] == "| 1,000 | 1,000.0 (2,000) | 1.0 | 1.00 | 2.00 |"
    assert rows[6] == "| grows by the power of | **1.50** | 1.00 |  |  |"


def test_the_verdict_names_what_is_steeper_than_linear():
    steep, level = grown((1e-3, 0), (1.0, 0)), grown((1e-3, 0), (1e-1, 0))
    assert verdict([steep]).splitlines()[0] == "- steeper than linear: to make"
    assert verdict([level]).splitlines()[0] == "- steeper than linear: none"
    assert "beside one with 10: 100.00 times as long (p50), 100.00 times (p99)" in verdict([level])


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with broker("embedded") as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tiny_measurement(target: Target, name: str):
    family = FAMILIES[name]
    found = family.measure(target, f"growth-{name}", 3)
    assert set(family.lines) <= set(found.costs)
    assert set(family.others) <= set(found.figures)
    assert all(cpu > 0 for cpu, _ in (found.costs[each] for each in family.lines))
