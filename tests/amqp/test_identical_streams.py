"""Streams of messages of any size: we write pika's bytes, and read what pika reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import Basic

from postage.green.amqp.properties import Properties
from tests.support.fed_transport import (
    CHANNELS,
    CONFIRMING,
    CONSUMERS,
    FedTransport,
    both,
    first_difference,
    pieces,
)
from tests.support.peer import FRAME_MAX
from tests.support.wire import (
    EDGES,
    FRAME_MAXES,
    LARGEST,
    beginning,
    content,
    method,
    short_strings,
    some_properties,
    tags,
)

# --- what a program does


class Publish(NamedTuple):
    channel: int
    exchange: str
    key: str
    properties: dict[str, Any]
    size: int
    mandatory: bool

    def on(self, side: FedTransport) -> None:
        side.codec.publish(
            self.channel,
            self.exchange,
            self.key,
            Properties(**self.properties),
            beginning(self.size),
            mandatory=self.mandatory,
        )


class Ack(NamedTuple):
    channel: int
    tag: int
    multiple: bool

    def on(self, side: FedTransport) -> None:
        side.codec.ack(self.channel, self.tag, multiple=self.multiple)


class Reject(NamedTuple):
    channel: int
    tag: int
    requeue: bool

    def on(self, side: FedTransport) -> None:
        side.codec.reject(self.channel, self.tag, requeue=self.requeue)


class Declare(NamedTuple):
    """Frames that both leave to pika keep their place between the others."""

    channel: int

    def on(self, side: FedTransport) -> None:
        side.channels[self.channel].queue_declare("q")  # without a callback, so no greenlet waits


numbers = st.sampled_from(CHANNELS)
acts = st.one_of(
    st.builds(
        Publish,
        numbers,
        short_strings,
        short_strings,
        some_properties,
        st.sampled_from(EDGES) | st.integers(0, 3 * FRAME_MAX),
        st.booleans(),
    ),
    st.builds(Ack, numbers, tags, st.booleans()),
    st.builds(Reject, numbers, tags, st.booleans()),
    st.builds(Declare, numbers),
)


def assert_same_bytes(frame_max: int, program: list[Any]) -> int:
    """Run *program* with both codecs; return how many bytes each has written."""
    with both(frame_max) as sides:
        for side in sides:
            side.written()
            for act in program:
                act.on(side)
        ours, theirs = (side.written() for side in sides)
        assert first_difference(ours, theirs) is None
        assert sides[0].transport.written == sides[1].transport.written
    return len(ours)


@given(st.sampled_from(FRAME_MAXES), st.lists(acts, max_size=10))
def test_any_sequence_is_written_as_pika_writes_it(frame_max: int, program: list[Any]) -> None:
    assert_same_bytes(frame_max, program)


# --- large streams, the same ones each time


def text(chance: random.Random) -> str:
    return "".join(chance.choices("abc.#*é€", k=chance.randrange(60)))


VALUES: dict[str, Any] = {
    "headers": lambda chance: {
        "number": chance.randrange(-(2**63), 2**63),
        "words": [text(chance), None, chance.random() < 0.5],
        "bytes": chance.randbytes(chance.randrange(300)),
    },
    "delivery_mode": lambda chance: chance.randrange(256),
    "priority": lambda chance: chance.randrange(256),
    "timestamp": lambda chance: chance.randrange(2**64),
}


def properties(chance: random.Random) -> dict[str, Any]:
    """Return any of the properties, with any values."""
    names = chance.sample(Properties.NAMES, chance.randrange(len(Properties.NAMES) + 1))
    return {name: VALUES.get(name, text)(chance) for name in names}


def sizes(chance: random.Random, count: int) -> list[int]:
    """Return *count* sizes of bodies in any order: none, edges, anything, the largest."""
    some = [chance.randrange(3 * FRAME_MAX) for _ in range(count - len(EDGES) - 1)]
    return chance.sample([LARGEST, *EDGES, *some], count)


def program(chance: random.Random) -> Iterator[Any]:
    """Yield the operations of a busy program."""
    for size in sizes(chance, 100):
        channel = chance.choice(CHANNELS)
        where = text(chance), text(chance)
        yield Publish(channel, *where, properties(chance), size, chance.random() < 0.5)
        for _ in range(chance.randrange(3)):
            kind = chance.choice((Ack, Reject))
            yield kind(chance.choice(CHANNELS), chance.randrange(2**64), chance.random() < 0.5)
        if chance.random() < 0.1:
            yield Declare(channel)


@pytest.mark.parametrize("frame_max", FRAME_MAXES)
def test_a_large_stream_is_written_as_pika_writes_it(frame_max: int) -> None:
    count = assert_same_bytes(frame_max, list(program(random.Random(frame_max))))
    assert count > LARGEST


def deliveries(chance: random.Random, frame_max: int) -> list[bytes]:
    """Return the frames of a broker: messages on all channels, mixed, and confirms between."""
    channels: dict[int, list[bytes]] = {number: [] for number in CHANNELS}
    for tag, size in enumerate(sizes(chance, 100), 1):
        number = chance.choice(CHANNELS)
        again = chance.random() < 0.5
        deliver = Basic.Deliver(chance.choice(CONSUMERS), tag, again, text(chance), text(chance))
        frames = content(number, properties(chance), beginning(size), frame_max - 8)
        channels[number] += [method(number, deliver), *frames]
        kind = chance.choice((Basic.Ack, Basic.Nack))
        channels[CONFIRMING].append(method(CONFIRMING, kind(tag, chance.random() < 0.5)))
    return mixed(chance, list(channels.values()))


def mixed(chance: random.Random, channels: list[list[bytes]]) -> list[bytes]:
    """Return the frames of all *channels*, those of each in their order."""
    turns = [at for at, frames in enumerate(channels) for _ in frames]
    chance.shuffle(turns)
    each = [iter(frames) for frames in channels]
    return [next(each[at]) for at in turns]


@pytest.mark.parametrize("frame_max", FRAME_MAXES)
def test_a_large_stream_is_read_as_pika_reads_it(frame_max: int) -> None:
    stream = b"".join(deliveries(random.Random(frame_max), frame_max))
    assert len(stream) > LARGEST
    with both(frame_max) as sides:
        for side in sides:
            for piece in pieces(stream, frame_max, lengths=(1, 8, 4096, 65536, 300_000)):
                side.transport.feed(piece)
        ours, theirs = (side.events for side in sides)
        assert first_difference(ours, theirs) is None
        assert [event[0] for event in ours].count("message") == 100
        assert [event[0] for event in ours].count("confirm") == 100
