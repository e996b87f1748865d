"""The page that `postage describe` prints, made of what another program has answered."""

from __future__ import annotations

import math
from typing import Any

import pytest

from postage.cli.commands.describe import page

FAILURES = {"retry": None, "park": "{queue}.parked", "park_calls": False, "max_deliveries": 20}
POLICY = {"now": 2, "delays": [5.0, 30.0], "jitter": 0.2, "on": ["ConnectionError", "OSError"]}


def described(handler: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    known = {"category": "message", "type": "command", "name": "pay", "doc": "Pay."}
    return {
        "fingerprint": {"name": "bank"},
        "class": "bank.Bank",
        "doc": "",
        "version": "2",
        "handlers": [known | (handler or {})],
        "queues": [],
        **more,
    }


def lines(description: dict[str, Any]) -> list[str]:
    return [line.strip() for line in "\n".join(page(description)).splitlines()]


def test_it_says_what_is_done_about_failures() -> None:
    shown = lines(described(failures=FAILURES | {"retry": POLICY}))

    at = shown.index("Failures")
    assert shown[at + 1 : at + 4] == [
        "tried again for ConnectionError or OSError: 2 more at once, then after 5.0 s, 30.0 s",
        "messages parked in {queue}.parked",
        "given up after 20 deliveries",
    ]


@pytest.mark.parametrize(
    ("failures", "line"),
    [
        ({}, "not tried again"),
        ({"park": None}, "messages rejected, not parked"),
        (
            {"kill_switch": {"after": 20, "probe": 30.0}},
            "a kill switch: after 20 failures in a row, a probe each 30.0 s",
        ),
        ({"park_calls": True}, "messages and calls parked in {queue}.parked"),
        ({"retry": POLICY | {"now": 0, "on": ["E"]}}, "tried again for E: after 5.0 s, 30.0 s"),
        ({"retry": POLICY | {"delays": [], "on": ["E"]}}, "tried again for E: 2 more at once"),
        ({"retry": {"now": 0, "delays": [], "on": ["E"]}}, "tried again for E: never"),
    ],
)
def test_each_policy_has_words(failures: dict[str, Any], line: str) -> None:
    assert line in lines(described(failures=FAILURES | failures))


def test_the_policies_of_a_handler_stand_below_it() -> None:
    limit = {"concurrency": 5, "rate": 100.0}
    shown = lines(described({"retry": None, "time_limit": 2.5, "limit": limit}))

    at = shown.index("pay")
    assert shown[at + 1 : at + 5] == [
        "Pay.",
        "[not tried again]",
        "[a time limit of 2.5 s]",
        "[a limit of 5 at a time, 100.0 a second]",
    ]


def test_an_older_application_has_no_failures_to_tell() -> None:
    assert "Failures" not in lines(described())


@pytest.mark.parametrize(
    "odd", [7, "\x1b[2J", [1], {}, {"now": {}, "delays": 3, "on": 4}, math.nan]
)
def test_odd_values_are_shown_and_harm_nobody(odd: Any) -> None:
    handler = {"retry": odd, "time_limit": odd, "limit": odd}
    failures = {
        "retry": odd,
        "kill_switch": odd,
        "park": odd,
        "park_calls": odd,
        "max_deliveries": odd,
    }

    shown = "\n".join(page(described(handler, failures=failures)))

    assert "\x1b" not in shown
    assert "\x1b" not in "\n".join(page(described(failures=odd)))
