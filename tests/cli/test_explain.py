"""`postage explain` finds what an error or a line of the log means."""

from __future__ import annotations

import pytest

from postage.cli.checking.explaining.sections import find, sections
from tests.cli.support import postage

IS_AWAY = "Queue … is not available; trying again"


def titles(text: str) -> list[str]:
    return [each.title for each in find(text)]


@pytest.mark.parametrize("each", sections(), ids=lambda each: each.title[:40])
def test_each_title_finds_its_own_section_first(each) -> None:
    assert titles(each.title) == [each.title]
    assert each.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("topologymismatch", ["TopologyMismatch"]),
        ("Traceback ...\npostage.errors.GaveUp: Mails 'm' was started again", ["GaveUp"]),
        ("12:01 WARNING postage: Queue 'q' is not available; trying again: it", [IS_AWAY]),
        ("Queue 'q' is not available; trying again: NoRoute", ["NoRoute", IS_AWAY]),
        ("Worker 1 has ended by SIGKILL.", ["Worker … has ended …"]),
        (
            "Worker 1 has ended by SIGKILL and is started again.",
            ["Worker … has ended … and is started again"],
        ),
        ("is not available", [IS_AWAY]),
        ("dmesg killed", ["Worker … has ended … and is started again"]),
        ("nothing has these words", []),
    ],
)
def test_a_text_finds_what_explains_it(text: str, expected: list[str]) -> None:
    assert titles(text) == expected


def test_the_command_prints_a_section_as_plain_text() -> None:
    ended = postage("explain", "TopologyMismatch")

    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("TopologyMismatch\n\nA queue or exchange exists")
    assert "](" not in ended.stdout


def test_the_command_lists_titles_if_many_are_found() -> None:
    all_of_them = postage("explain").stdout.splitlines()
    some = postage("explain", "worker").stdout.splitlines()

    assert {"TopologyMismatch", IS_AWAY} < set(all_of_them)
    assert 2 < len(some) < len(all_of_them)


def test_the_command_says_that_it_found_nothing() -> None:
    ended = postage("explain", "xyzzy")

    assert (ended.code, ended.stdout) == (2, "")
    assert "nothing explains that" in ended.stderr
