"""A connection survives whatever a client sends; ``python -m tests.broker.fuzzing`` sends more."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec

from postage.broker.core.clock import ManualTimers
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from tests.broker.fuzzing import GREETING, OPENING, WORK, Fuzzer, frame, method

INPUTS = 10_000


@pytest.mark.slow
@pytest.mark.limit(120)
def test_no_input_is_too_odd() -> None:
    fuzzer = Fuzzer(seed=1)
    fuzzer.run(INPUTS)
    assert fuzzer.inputs == INPUTS
    assert fuzzer.opened > INPUTS / 10, "hardly an input was understood at all"


def answers(pieces: list[bytes]) -> tuple[Stage, bytes]:
    """Return the stage of a connection after *pieces*, and its output."""
    connection = Node(ManualTimers()).open_connection(lambda: None)
    output = []
    for piece in pieces:
        connection.feed(piece)
        output.append(connection.take_output())
    return connection.stage, b"".join(output)


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


def test_properties_that_cannot_be_read_end_their_publisher() -> None:
    node = Node(ManualTimers())
    connection = node.open_connection(lambda: None)
    declared = method(1, spec.Queue.Declare(queue="q", durable=True))
    publish = method(1, spec.Basic.Publish(exchange="", routing_key="q"))
    header = struct.pack(">HHQH", 60, 0, 0, 1 << 13) + b"\0\0\0\x05\x01aFx"
    connection.feed(b"".join((*GREETING, *OPENING, declared, publish, frame(2, 1, header))))
    assert connection.stage is Stage.CLOSING
    assert b"runs over the end" in connection.take_output()
    assert len(node.vhosts["/"].queues["q"]) == 0
