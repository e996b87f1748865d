"""Whatever a client sends, a session takes it; ``python -m tests.broker.fuzzing`` sends more."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.node import Node
from postage.broker.session import Stage
from postage.broker.timers import ManualTimers
from tests.broker.fuzzing import GREETING, OPENING, WORK, Fuzzer

INPUTS = 20_000


@pytest.mark.slow
@pytest.mark.limit(120)
def test_no_input_is_too_odd() -> None:
    fuzzer = Fuzzer(seed=1)
    fuzzer.run(INPUTS)
    assert fuzzer.inputs == INPUTS
    assert fuzzer.opened > INPUTS / 10, "hardly an input was understood at all"


def answers(pieces: list[bytes]) -> tuple[Stage, bytes]:
    """Return how far a session comes with *pieces*, and what it says."""
    session = Node(ManualTimers()).open_session(lambda: None)
    output = []
    for piece in pieces:
        session.feed(piece)
        output.append(session.take_output())
    return session.stage, b"".join(output)


STREAM = b"".join((*GREETING, *OPENING, *WORK))


@given(st.lists(st.integers(0, len(STREAM)), max_size=20).map(sorted))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int]) -> None:
    whole = answers([STREAM[at : at + 1] for at in range(len(STREAM))])
    ends = [0, *cuts, len(STREAM)]
    pieces = [STREAM[one:other] for one, other in itertools.pairwise(ends)]
    assert answers(pieces)[0] is whole[0] is Stage.OPEN


@given(st.binary(max_size=64))
def test_anything_but_the_protocol_is_told_of_it(data: bytes) -> None:
    stage, output = answers([b"HTTP" + data])
    assert (stage, output) == (Stage.CLOSED, b"AMQP\x00\x00\x09\x01")
