"""The lines of `postage dlq diff`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.cli.parked.diff import coloured
from postage.cli.parked.differences import MOST_LINES, differences
from postage.foreign_text import LONGEST
from tests.support.failed import HOSTILE, body_of, failed, texts


def changes(one: Any, other: Any) -> list[str]:
    """Return the lines that are in one of the messages only."""
    lines = list(differences(one, other))[2:]
    return [line for line in lines if line[:1] in "+-"]


def test_bodies_in_json_are_compared_by_what_they_mean():
    one = failed(b'{"b": 1, "a": [1, 2]}')
    other = failed(b'{"a": [1, 3],\n "b": 1}')

    assert changes(one, other) == ["-    2", "+    3"]


def test_json_that_is_only_written_in_another_way_is_told():
    lines = list(differences(failed(b'{"a":1,"b":2}'), failed(b'{"b":2, "a":1}')))

    assert lines[2] == "@@ body: the same JSON, written in another way"


def test_properties_headers_and_dossiers_are_compared():
    one = failed(b"", {"x-tenant": "a", "x-postage-why": "failed"}, app_id="shop")
    other = failed(b"", {"x-tenant": "b", "x-postage-why": "gave-up"}, app_id="shop")

    found = changes(one, other)

    assert {"-x-tenant: a", "+x-tenant: b", "-why: failed", "+why: gave-up"} <= set(found)
    assert not any("app_id" in line for line in found)


def test_equal_messages_have_no_difference():
    lines = list(differences(failed(body_of()), failed(body_of())))

    assert lines[2:] == ["@@ the same in both: body, properties, headers, dossier, traceback"]


def test_bytes_are_compared_as_bytes():
    assert changes(failed(b"\xff\x00ab"), failed(b"ab")) == [
        f"-00000000  {'ff 00 61 62':48} ..ab",
        f"+00000000  {'61 62':48} ab",
    ]


@given(texts, texts, st.dictionaries(texts, texts))
def test_each_line_is_bounded_and_has_nothing_to_obey(one, other, headers):
    for body in (one.encode("utf-8", "replace"), json.dumps(other).encode()):
        first = failed(body, {"x-postage-traceback": other, "x-postage-why": one})
        for line in differences(first, failed(b"{}", headers, app_id=other)):
            assert line.isprintable()
            assert len(line) <= LONGEST + 200


@pytest.mark.parametrize("text", HOSTILE)
def test_a_body_of_hostile_text_is_escaped(text):
    body = text.encode("utf-8", "surrogatepass")

    assert all(line.isprintable() for line in differences(failed(body), failed(b"x")))


WORST = {
    "lines": (b"\n".join(b"%d" % n for n in range(10**6)), b"\n" * 10**6),
    "one line": (b"x" * 10**7, b"x" * 10**7 + b"y"),
    "equal lines": (b"a\nb\n" * 10**5, b"b\na\n" * 10**5),
    "many values": (json.dumps([0, 1] * 10**5).encode(), json.dumps([1, 0] * 10**5).encode()),
    "deep": (b"[" * 199 + b"]" * 199, b"[" * 198 + b"1" + b"]" * 198),
    "binary": (bytes(range(256)) * 40_000, bytes(range(255, -1, -1)) * 40_000),
}


@pytest.mark.parametrize("bodies", WORST.values(), ids=list(WORST))
def test_the_largest_bodies_are_compared_in_bounded_time(bodies):
    one, other = map(failed, bodies)
    begun = time.process_time()

    lines = list(differences(one, other))

    assert len(lines) < 3 * MOST_LINES
    assert any("body" in line for line in lines)
    assert time.process_time() - begun < 10


def test_a_difference_that_is_too_far_is_told():
    one, other = (b"same\n" * 2000 + end for end in (b"a", b"b"))
    lines = list(differences(failed(one), failed(other)))

    assert lines[2] == "@@ body: they differ, but only in what is too long to be compared here"


def test_lines_have_the_colour_of_their_beginning():
    lines = list(coloured(["--- a", "+++ b", "@@ body", "-1", "+2", " 3", "@@ end"]))

    assert [line.split("m")[0] for line in lines] == [
        "\x1b[1", "\x1b[1", "\x1b[36", "\x1b[31", "\x1b[32", " 3", "\x1b[36",
    ]  # fmt: skip
