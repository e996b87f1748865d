"""The model of the console takes any answers: no exception, no long text, no absurd number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postage.cli.console.sightings import Sightings
from postage.cli.console.state import components_of, edges_of, exchanges_of, handlers_of
from tests.console.answers import Fleet, processor

LONGEST = 200
TEXTS = st.sampled_from(
    [
        *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[2J\x1b]0;title\x07"),
        *("x" * 10_000, "", " ", "\u202egnp.exe", "\r\n\r\n", "\0", "a>b", "@a", "/", "__proto__"),
        *("constructor", "\ud800", "orders", "shop-exchange"),
    ]
)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2.5, -0.0, 10**12, 10**400, -(10**400), 1e300, math.nan, math.inf, -math.inf, True]
)
ODD = st.one_of(TEXTS, NUMBERS, st.none(), st.just([]), st.just({}), st.just([[]]), st.just([{}]))


def mappings(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return dictionaries with these fields, each of which may be missing or odd."""
    return st.fixed_dictionaries({}, optional={key: each | ODD for key, each in fields.items()})


FLOWS = st.lists(
    st.one_of(
        ODD,
        st.tuples(TEXTS, TEXTS, st.sampled_from(["rpc", "message"]), NUMBERS, NUMBERS).map(list),
        st.tuples(ODD, ODD, ODD, ODD, ODD).map(list),
    ),
    max_size=4,
)
COUNTS = ("received", "in_flight", "failed", "retried", "delayed", "parked", "mean", "p50", "p99")
HANDLERS = st.lists(
    ODD | mappings(handler=TEXTS, flows=FLOWS, last_error=TEXTS, **dict.fromkeys(COUNTS, NUMBERS)),
    max_size=3,
)
DESCRIPTIONS = st.builds(
    lambda told, fingerprint: {**told, "instance": "a", "fingerprint": fingerprint},
    mappings(
        key=TEXTS,
        kind=st.sampled_from(["service", "application", "processor"]),
        groups=st.lists(ODD),
        statistics=mappings(state=TEXTS, handled=NUMBERS, failed=NUMBERS, parked=NUMBERS),
        uptime=NUMBERS,
        handlers=HANDLERS,
        queues=st.lists(ODD | mappings(queue=TEXTS, exchange=TEXTS, key=TEXTS)),
        inquiries=NUMBERS,
        p99=NUMBERS,
        **{"class": TEXTS, "doc": TEXTS, "version": TEXTS},
    ),
    mappings(name=TEXTS, host=TEXTS, pid=TEXTS).map(lambda each: {"name": None, **each}),
)
"""What `postage.cli.fleet.descriptions.told` lets through, and worse."""


def state_of(sightings: Sightings) -> dict[str, dict[str, Any]]:
    edges = edges_of(sightings)
    return {
        "components": components_of(sightings),
        "handlers": handlers_of(sightings),
        "exchanges": exchanges_of(edges),
        "edges": edges,
    }


def leaves(value: Any) -> Iterator[Any]:
    """Yield all texts and numbers in *value*, keys included."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


@example([[{"uptime": 10**12, "instance": "a", "fingerprint": {"name": None}}]])
@example([[{"uptime": 0, "statistics": {"handled": -1}, "fingerprint": {"name": None}}]])
@example(
    [[{"uptime": 0, "statistics": {"handled": 1}, "inquiries": 2, "fingerprint": {"name": 1}}]]
)
@given(st.lists(st.lists(DESCRIPTIONS, max_size=4), min_size=1, max_size=4))
def test_any_answers_make_a_state_of_plain_data(rounds: list[list[dict[str, Any]]]) -> None:
    sightings = Sightings()
    for answers in rounds:
        sightings.update(answers)
        sightings.learn(answers)

        state = state_of(sightings)

        json.dumps(state, allow_nan=False)
        for each in leaves(state):
            assert isinstance(each, (str, int, float, type(None)))
            if isinstance(each, str):
                assert len(each) <= 2 * LONGEST + 10, "an id has two names"
            elif each is not None:
                assert 0 <= each < 1e16


@pytest.mark.parametrize("text", ["<b>x</b>", "\x1b[2J", "", "\u202egnp", "a>b", "constructor"])
def test_a_name_is_shown_as_it_is_and_nothing_else(text: str) -> None:
    fleet = Fleet()
    fleet.tell([processor(text, handlers={"on_it": {(text, text, "message"): 10}})])
    fleet.tell([processor(text, uptime=2, handlers={"on_it": {(text, text, "message"): 30}})])

    state = state_of(fleet.sightings)

    assert [each["name"] for each in state["components"].values()] == [text or "?"]
    assert {each["from"]["id"] for each in state["edges"].values()} <= {text}


def test_ten_kilobytes_of_a_name_are_cut() -> None:
    fleet = Fleet()
    fleet.tell([processor("x" * 10_000)])

    assert len(json.dumps(state_of(fleet.sightings))) < 5000


def test_edges_of_other_components_are_others() -> None:
    """Names may hold what stands between the names in an id."""
    fleet = Fleet()
    fleet.tell(
        [
            processor("b>c", handlers={"one": {("a", "", "rpc"): 1}}),
            processor("c", 1, handlers={"one": {("a>b", "", "rpc"): 1}}),
            processor("@c", 2, handlers={"one": {("a", "", "message"): 1}}),
            processor("d", 3, handlers={"one": {("a", "c", "message"): 1}}),
        ]
    )

    edges = state_of(fleet.sightings)["edges"].values()

    ends = {(each["from"]["id"], each["to"]["type"], each["to"]["id"]) for each in edges}
    assert ends == {
        ("a", "component", "b>c"),
        ("a>b", "component", "c"),
        ("a", "component", "@c"),
        ("a", "exchange", "c"),
        ("c", "component", "d"),
    }


def test_two_processes_that_say_the_same_id_are_two() -> None:
    fleet = Fleet()
    fleet.tell([processor("one", instance="a"), processor("one", instance="b")])

    state = state_of(fleet.sightings)

    assert len(state["components"]["one"]["instances"]) == 2


def test_a_hundred_thousand_processors_need_little_memory() -> None:
    fleet = Fleet()
    for first in range(0, 100_000, 10_000):
        fleet.tell([processor(str(n), n) for n in range(first, first + 10_000)])

    assert len(list(fleet.sightings)) <= 5000
