"""Loggers of Postage: arguments are cut and escaped, and records that peers cause are counted."""

from __future__ import annotations

import enum
import io
import logging
from collections.abc import Iterator

import pytest

from postage.log_records import MOST_SORTS, PERIOD, Sorts, counted, logger_of
from tests.support.clock import Clock
from tests.support.sources import modules

EVIL = "\n2026 CRITICAL forged\x1b[2J"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler writes that is set up in the simplest way."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    yield out
    logger.removeHandler(handler)


logger = logger_of("postage.test_log_records")


@pytest.mark.parametrize("form", ["%s", "%r", "%a", "%40s", "%.500s"])
@pytest.mark.parametrize("value", [EVIL, ValueError(EVIL), [EVIL], {EVIL: 1}, EVIL.encode()])
def test_arguments_are_escaped(log: io.StringIO, form: str, value: object) -> None:
    logger.warning(f"From a peer: {form}", value)  # noqa: G004 - the form is what is tested

    assert log.getvalue().count("\n") == 1
    assert "\x1b" not in log.getvalue()
    assert "forged" in log.getvalue()


def test_arguments_are_cut(log: io.StringIO) -> None:
    logger.warning("%s %r", "x" * 10_000_000, {"x": "\u0378" * 10_000_000})

    assert len(log.getvalue()) < 2_200


def test_numbers_are_formatted_as_always(log: io.StringIO) -> None:
    kind = enum.IntEnum("kind", "A B")

    logger.warning("%d %5.1f %03d %s %s %d", 1, 2.0, 3, True, None, kind.B)

    assert log.getvalue() == "WARNING 1   2.0 003 True None 2\n"


def test_a_huge_integer_harms_nothing(log: io.StringIO) -> None:
    for form in ("%s", "%r", "%d", "%5d times", "%x", "%.1f"):
        for number in (10**10_000, -(10**308)):
            logger.warning(form, number)

    assert log.getvalue().count("WARNING ") == 12
    assert len(log.getvalue()) < 12 * 1_200


def test_the_text_of_a_traceback_forges_no_line(log: io.StringIO) -> None:
    try:
        int(f"{EVIL}")
    except ValueError as exc:
        exc.args = (EVIL,)
        logger.exception("It failed.")

    lines = log.getvalue().splitlines()
    assert lines[:2] == ["ERROR It failed.", "Traceback (most recent call last):"]
    assert lines[-1].startswith(r"ValueError: \n2026 CRITICAL")


def test_records_of_a_sort_are_logged_by_powers_of_ten(log: io.StringIO) -> None:
    for number in range(2_000):
        logger.warning("Malformed: %s", number, extra=counted("here"))
    logger.warning("Malformed: %s", "x", extra=counted("elsewhere"))
    logger.warning("Another: %s", "x", extra=counted("here"))

    kind = "  (number {} of its kind within 10 minutes)"
    assert log.getvalue().splitlines() == [
        "WARNING Malformed: 0",
        *(f"WARNING Malformed: {n - 1}{kind.format(n)}" for n in (10, 100, 1000)),
        "WARNING Malformed: x",
        "WARNING Another: x",
    ]


def test_counting_starts_again_after_a_period() -> None:
    clock = Clock()
    sorts = Sorts(clock)

    def burst() -> list[int]:
        return [n for n in (sorts.number("x") for _ in range(150)) if n]

    assert burst() == [1, 10, 100]
    clock.now += PERIOD / 2
    assert burst() == []
    clock.now += PERIOD / 2
    assert burst() == [1, 10, 100]


def test_the_table_of_sorts_is_bounded() -> None:
    sorts = Sorts(Clock())

    for number in range(3 * MOST_SORTS):
        sorts.number(number)

    assert len(sorts) <= MOST_SORTS


def test_each_module_has_its_logger_from_here() -> None:
    others = [
        str(module.path)
        for module in modules()
        if "getLogger(__name__)" in module.text and module.name != "postage.log_records"
    ]

    assert not others
