"""What the commands make of the answers of stations, also of odd ones, and who has gone."""

from __future__ import annotations

import os
import signal
from typing import Any

import gevent
import pytest

from postage.cli.commands.describe import page
from postage.cli.fleet.descriptions import (
    COLUMNS,
    AppList,
    Description,
    identified,
    merged,
    row,
    told,
)
from postage.cli.fleet.query import FleetPoller
from postage.cli.output import table
from postage.discovery import LONGEST
from postage.testing.polling import wait_until
from tests.cli.support import SOON, answer_of, running


def described(name: object = "one", number: int = 0, **more: Any) -> Description:
    fingerprint = {"name": name, "pid": "1", "host": "h"}
    return {"fingerprint": fingerprint, "key": f"1-{number}@h", **more}


def answer(*processors: Any, instance: object = "a") -> dict[str, Any]:
    return {"instance": instance, "processors": list(processors)}


@pytest.mark.parametrize(
    "odd",
    [None, 7, "text", [], {}, {"processors": 3}, answer(None, 5, "x", [], {}, {"fingerprint": 1})],
)
def test_an_odd_answer_tells_nothing(odd: Any) -> None:
    assert told([odd, answer(described())]) == [described(instance="a")]


def test_a_description_that_is_too_large_is_left_out() -> None:
    assert told([answer(described(doc="x" * 3 * LONGEST), described())]) == [
        described(instance="a")
    ]


def test_two_processes_with_the_same_id_are_two() -> None:
    found = told([answer(described()), answer(described(), instance="b")])

    known = merged([], found)

    assert len(known) == 2
    assert len({identity for identity, _ in identified(known)}) == 2


def test_an_application_is_listed_once_although_it_answers_twice() -> None:
    found = told([answer(described("one"))])

    both = [described("one"), described("two"), *found]

    assert merged([], both) == [described("one", instance="a"), described("two")]


HOSTILE = ["<script>alert(1)</script>", "\x1b[2J\x1b]0;title\x07", "x" * 1500, "", "\u202e\n\r"]


def test_a_thousand_hostile_components_are_one_line_each() -> None:
    answers = [
        answer(
            described(name * (number % 2 + 1), number, in_flight=odd, p99=odd, uptime=odd),
            instance=name,
        )
        for number, (name, odd) in enumerate(
            (name, odd) for name in HOSTILE for odd in [None, -1, 1e300, "1", [], *range(195)]
        )
    ]

    rows = [row(each) for each in merged([], told(answers))]
    lines = table(COLUMNS, rows)

    assert len(lines) == 1001
    assert all(line.isprintable() for line in lines)


def test_a_description_of_a_known_form_makes_a_page() -> None:
    handler = {"category": "rpc", "type": "command", "name": "get", "doc": "Get it."}
    more = {"class": "m.C", "version": "2", "doc": "Doc.", "queues": [], "left_out": 3}

    lines = "\n".join(
        page(described(handlers=[{**handler, "signature": "(a: int) -> str"}], **more))
    )

    assert "  get(a: int) -> str" in lines
    assert "3 more queues or handlers" in lines


def test_one_that_says_goodbye_has_gone_at_once() -> None:
    apps = AppList()
    apps.update([described("one", instance="a"), described("one", instance="b")])

    for instance, key in (("a", "1-1@h"), ("c", "1-0@h"), (None, None), ("a", "1-0@h")):
        apps.end(instance, key)

    assert [each.description["instance"] for each in apps.gone] == ["a"]
    assert [each.description["instance"] for each in apps.present] == ["b"]


def test_a_killed_process_is_shown_as_gone(broker_env: Any) -> None:
    poller = FleetPoller("*", 0.5)
    with running("run", "fleet:Echo") as program, running("run", "fleet:two"):
        polling = gevent.spawn(poller.run)
        try:
            wait_until(lambda: len(poller.apps.present) == 3, SOON)

            os.kill(program.pid, signal.SIGKILL)

            wait_until(lambda: len(poller.apps.gone) == 1, SOON)
            assert poller.apps.gone[0].description["class"] == "fleet.Echo"
            assert len(poller.apps.present) == 2
        finally:
            polling.kill()


def test_describe_shows_a_plain_processor(broker_env: Any) -> None:
    with running("run", "fleet:Echo"):
        found: list[Any] = []
        wait_until(lambda: found.append(answer_of("ps", "echo", "--json")) or found[-1], SOON)
        shown = answer_of("describe", "echo", "--json")

    assert (shown["kind"], shown["class"]) == ("processor", "fleet.Echo")
    assert {"queue": "cli-echo", "key": "echo.#", "exchange": "cli-fleet"} in shown["queues"]
