"""Several processes that call and answer, and the table of what a deployment asks."""

from __future__ import annotations

from benchmarks.broker import broker
from benchmarks.scale import middle, needs
from benchmarks.scaling.crowd import Crowd, crowd
from benchmarks.scaling.deployment import Asked, deployment


def test_two_processes_call_two_others() -> None:
    with broker("embedded") as target:
        found = crowd([target], 2, seconds=0.1, peer="postage")

    assert found.processes == 2
    assert found.rate > 0 < found.p50 <= found.p99
    assert min(found.client, found.server, found.broker, found.busy) > 0


def test_each_process_calls_its_neighbour() -> None:
    with broker("embedded") as target, deployment(target.url, 2) as actors:
        assert len({actor.pid for actor in actors}) == 2


def test_the_median_is_that_of_each_figure() -> None:
    rounds = [
        Crowd(processes=2, rate=rate, p50=1, p99=p99, client=1, server=1, broker=1, busy=1)
        for rate, p99 in ((10, 7), (30, 9), (20, 8))
    ]

    assert (middle(rounds).rate, middle(rounds).p99) == (20, 8)


def test_what_more_processes_ask_is_computed() -> None:
    before, after = Asked(1, 1, 1, 1, 1, 300, 0), Asked(201, 601, 301, 301, 501, 4700, 100_000_000)

    table = needs(after - before, own=37e6, processes=100)

    assert "| connections | 200 | 2.00 | 2,000 | 20,000 |" in table
    assert "| memory of the node | 100.0 MB | 1,000 kB | 1,000.0 MB | 10,000.0 MB |" in table
    assert table.endswith("Each process of Python has 37 MB of its own.")
