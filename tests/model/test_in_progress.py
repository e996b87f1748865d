"""Finding the handlers of a message, after any starts and ends; each is looked at once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postage.in_progress import InProgress
from tests.support.handlers import Handler

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from([None, 0, 1, 2])),
        st.tuples(st.just("end"), st.integers(0, 20)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("find"), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(STEPS)
def test_those_that_run_are_found_in_order(steps: list[tuple[str, Any]]) -> None:
    in_progress = InProgress(lambda key: key)
    running, ended = list[Handler](), list[Handler]()

    def tell() -> None:
        for each in ended:
            each.end()
        ended.clear()

    for step, value in steps:
        if step == "start":
            running.append(Handler(value))
            in_progress.workers[running[-1]] = None
        elif step == "end" and value < len(running):
            ended.append(running.pop(value))
            del in_progress.workers[ended[-1]]
        elif step == "tell":
            tell()
        elif step == "find":
            assert [*in_progress.find(value)] == [each for each in running if each.item == value]
    ended += running
    tell()
    assert not in_progress._keys
    assert not in_progress._by_key


def test_each_that_runs_is_looked_at_once() -> None:
    looked_at = []
    in_progress = InProgress(looked_at.append)
    for number in range(1000):
        in_progress.workers[Handler(number)] = None
        if number >= 500:
            in_progress.find(number)

    assert looked_at == [*range(1000)]
