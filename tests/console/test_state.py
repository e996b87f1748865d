"""The state over time: rates, who has gone, who is forgotten, and the depths of queues."""

from __future__ import annotations

import math
from typing import Any

import pytest

from postage.cli.console.depths import Depths
from postage.cli.console.sightings import Sightings
from postage.cli.console.state import (
    FORGOTTEN,
    IdlePrograms,
    components_of,
    edges_of,
    handlers_of,
    programs_of,
)
from tests.console.answers import Fleet, processor


def stock(count: int, uptime: float, **more: Any) -> dict[str, Any]:
    return processor(
        "stock", uptime=uptime, handlers={"left": {("web", "x", "rpc"): count}}, **more
    )


def test_rates_follow_the_clock_of_the_processor() -> None:
    fleet = Fleet()
    fleet.tell([stock(0, 10)])
    fleet.tell([stock(30, 13)], seconds=300)  # it was on its way for a while

    (edge,) = edges_of(fleet.sightings).values()

    assert (edge["rate"], edge["total"]) == (10, 30)
    assert handlers_of(fleet.sightings)["stock/left"]["rate"] == 10
    assert components_of(fleet.sightings)["stock"]["rate"] == 10


def test_nothing_is_known_of_rates_before_the_second_answer() -> None:
    fleet = Fleet()
    fleet.tell([stock(1000, 10)])
    fleet.tell([stock(1000, 10)])  # the same answer once more

    (edge,) = edges_of(fleet.sightings).values()

    assert (edge["rate"], edge["total"]) == (None, 1000)


def rates_after(*told: tuple[float, int, float | None]) -> list[float | None]:
    """Return the rate of an edge after each answer: its uptime, count and time since the last."""
    fleet, rates = Fleet(), []
    for uptime, count, idle in told:
        fleet.tell([stock(count, uptime, idle=idle)])
        (edge,) = edges_of(fleet.sightings).values()
        rates.append(edge["rate"])
    return rates


def test_a_rate_is_that_from_message_to_message() -> None:
    four_a_second = (10, 1, None), (10.4, 2, 0.15), (11.4, 6, 0.15), (12.45, 10, 0.2)

    assert rates_after(*four_a_second) == [None, None, 4, 4]


def test_messages_in_pairs_have_a_steady_rate() -> None:
    """Two of them come together each second, at .0, and answers tell so at any time."""
    answers = [(10 + n * 1.3, 2 * int(10 + n * 1.3), (10 + n * 1.3) % 1) for n in range(1, 20)]

    first, *rates = rates_after(*answers)

    assert (first, {*rates}) == (None, {2})


def test_a_flow_that_falls_silent_becomes_slower() -> None:
    busy = (10, 100, 0.1), (12, 120, 0.1)
    silent = [(12 + seconds, 120, 0.1 + seconds) for seconds in (0.1, 1.9, 7.9)]

    assert rates_after(*busy, *silent) == [None, 10, 10, 5.405, 2.062]


@pytest.mark.parametrize("idle", [-1, 1e9, math.nan, math.inf, "soon", True, [], None])
def test_a_flow_without_times_has_a_rate(idle: Any) -> None:
    assert rates_after((10, 100, idle), (12, 120, idle)) == [None, 10]


def test_the_answer_of_an_older_component_has_a_rate() -> None:
    fleet = Fleet()
    for uptime, count in ((10, 100), (12, 120)):
        told = stock(count, uptime)
        told["handlers"][0]["flows"] = [["web", "x", "rpc", count, 0]]
        fleet.tell([told])

    (edge,) = edges_of(fleet.sightings).values()

    assert edge["rate"] == 10


def test_a_processor_that_is_started_again_begins_anew() -> None:
    fleet = Fleet()
    fleet.tell([stock(1000, 100)])
    fleet.tell([stock(10, 2)])
    fleet.tell([stock(30, 4)])

    (edge,) = edges_of(fleet.sightings).values()

    assert (edge["rate"], edge["total"]) == (10, 30)


def test_who_does_not_answer_twice_has_gone_and_is_forgotten() -> None:
    fleet = Fleet()
    fleet.tell([stock(1, 1)])
    gone = []
    for _ in range(2):
        fleet.tell([])
        gone.append(components_of(fleet.sightings)["stock"]["gone"])
    assert gone == [False, True]
    assert edges_of(fleet.sightings) == {}

    fleet.tell([], seconds=120)

    assert components_of(fleet.sightings) == {}


def test_who_says_good_bye_has_gone_at_once() -> None:
    fleet = Fleet()
    fleet.tell([stock(1, 1)])

    fleet.sightings.end("a", "1-0@h")

    assert components_of(fleet.sightings)["stock"]["gone"]


def test_a_nameless_sender_is_the_only_component_of_its_process() -> None:
    fleet = Fleet()
    sender = processor("clerk", 1, handlers={})
    fleet.tell([processor("stock", handlers={"left": {("1@h", "x", "rpc"): 1}}), sender])

    assert [*edges_of(fleet.sightings)] == ["call 1@h>stock"], "two components are in the process"

    fleet = Fleet()
    told = stock(0, 1) | {"fingerprint": {"name": "stock", "pid": "2", "host": "h"}}
    told["handlers"] = processor("s", handlers={"left": {("1@h", "x", "rpc"): 1}})["handlers"]
    fleet.tell([told, sender])

    assert [*edges_of(fleet.sightings)] == ["call clerk>stock"]


def test_a_program_that_sends_no_longer_is_forgotten() -> None:
    fleet = Fleet()
    idle = IdlePrograms(clock=lambda: fleet.now)
    fleet.tell([stock(0, 1)])
    found = []
    for uptime, count, seconds in ((2, 10, 2), (20, 10, 2), (30, 10, FORGOTTEN - 9), (40, 10, 9)):
        for step in range(6):  # until the window has passed
            fleet.tell([stock(count, uptime + step)], seconds / 6)
        components = components_of(fleet.sightings)
        edges = idle.without(edges_of(fleet.sightings), components)
        found.append([*programs_of(edges, components)])

    assert found == [["web"], ["web"], ["web"], []]


# --- depths


def queue_of(*, park: str | None = "{queue}.parked") -> Sightings:
    sightings = Sightings()
    told = processor("stock")
    sightings.update([told])
    bindings = [{"queue": "q", "key": "k", "exchange": "x"}]
    sightings.learn([told | {"queues": bindings, "park": park}])
    return sightings


def test_queues_and_parking_queues_take_turns() -> None:
    now = [0.0]
    depths = Depths(clock=lambda: now[0])
    depths.learn(queue_of())

    asked = set()
    while (name := depths.due()) is not None:
        asked.add(name)
        if name == "q":
            depths.found(name, 7, 1)
        else:
            depths.refused(name, "")

    assert asked == {"q", "q.parked"}
    entry = depths.entries()["q"]
    assert (entry["depth"], entry["consumers"], entry["parked"]) == (7, 1, None)
    now[0] = 6
    assert depths.due() == "q", "a queue that does not exist is looked for less often"
    depths.found("q", 8, 1)
    depths.look_soon("q.parked")
    assert depths.due() == "q.parked"


def test_a_parking_queue_is_found_soon_after_the_first_message() -> None:
    depths, sightings = Depths(clock=lambda: 1.0), queue_of()
    depths.learn(sightings)

    def tell(uptime: float, parked: int) -> None:
        told = processor("stock", uptime=uptime)
        told["statistics"]["parked"] = parked
        sightings.update([told])
        depths.look_for_parked(sightings)

    depths.found("q", 0, 1)
    depths.refused("q.parked", "")
    tell(3, 0)
    assert depths.due() is None
    tell(5, 1)
    assert depths.due() == "q.parked"
    depths.found("q.parked", 1, 0)
    tell(7, 2)
    assert depths.due() is None, "it has turns of its own"
    depths.refused("q.parked", "no access")
    tell(9, 3)
    assert depths.due() is None, "it would be refused again"


def test_a_queue_without_parking_has_none() -> None:
    depths = Depths()
    depths.learn(queue_of(park=None))

    assert depths.entries()["q"]["parking"] is None
