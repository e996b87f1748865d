"""A message on one line of a terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from postage.cli.tailing.readable import columns, fitting, readable
from postage.fingerprint import Fingerprint
from postage.message import Message, MessageCommand, MessageResult, MessageResultException

AT = "14:17:57"
HOSTILE = ["\x1b[2J\x1b]0;title\x07", "x" * 100_000, "", "\u202e\n\r\u2800", "\udc80", "漢字" * 50]


def line(message: Message, **more: Any) -> dict[str, Any]:
    message.fingerprint(Fingerprint("clerk", "server", host="vm").as_dict())
    return {"exchange": "shop", "key": "orders.new", "body": message.body, **more}


def plain(found: dict[str, Any], width: int = 120) -> str:
    return readable(found, AT, width, coloured=False)


def test_a_message_has_all_its_parts() -> None:
    shown = plain(line(MessageCommand("sell", {"item": 1})))

    assert shown == f"{AT}  shop orders.new  command sell  clerk@vm  {{'item': 1}}"


def test_what_is_no_message_of_postage_is_shown_as_it_is() -> None:
    start = {"exchange": "", "key": ""}

    assert plain({**start, "body": [1, None]}) == f"{AT}  -  -  -  [1, None]"
    assert plain({**start, "text": "a\tb"}) == f"{AT}  -  -  -  a\\tb"
    assert plain({**start, "base64": "/w=="}) == f"{AT}  -  -  -  /w=="


@pytest.mark.parametrize("width", [1, 8, 20, 40, 80, 200])
@pytest.mark.parametrize("odd", [*HOSTILE, None, 5, [], {"a": {}}, 1e300])
def test_no_text_leaves_its_line_or_the_width(odd: Any, width: int) -> None:
    body = {"type": odd, "name": odd, "content": {"parameters": odd}, "fingerprint": {"name": odd}}
    odd_lines = [
        {"exchange": str(odd), "key": str(odd), "body": body},
        {"exchange": "e", "key": "k", "body": body | {"content": odd, "fingerprint": odd}},
        {"exchange": "e", "key": "k", "body": odd},
        {"exchange": "e", "key": "k", "text": str(odd)},
    ]

    for each in odd_lines:
        shown = plain(each, width)
        assert shown.isprintable()
        assert columns(shown) <= max(width, len(AT))


def test_a_failure_is_red_and_other_results_are_not() -> None:
    good, bad = MessageResult(5), MessageResultException("KeyError", "no")
    shown = [readable(line(each), AT, 200, coloured=True) for each in (good, bad)]

    assert "\x1b[31mresult exception" in shown[1]
    assert "\x1b[31m" not in shown[0]
    for each, message in zip(shown, (good, bad), strict=True):
        assert re.sub(r"\x1b\[\d+m", "", each) == plain(line(message), 200)


def test_letters_that_take_two_columns_are_counted() -> None:
    assert columns("漢字a\u0301") == 5
    assert fitting("漢字" * 10, 8) == "漢字..."
    assert fitting("short", 5) == "short"
    assert fitting("longer", 2) == ".."
