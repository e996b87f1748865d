"""Our codec and pika's act alike on every stream, valid or not, wherever it is cut."""

from __future__ import annotations

import random
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pika.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika.spec import Basic, Channel, Connection, Queue

from postage.errors import ConnectionLost, PostageError
from postage.green.amqp.codec import LARGEST_FRAME, Codec
from postage.green.amqp.connection import Connection as OurConnection
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.fed_transport import CHANNELS, CONFIRMING, CONSUMERS, FedTransport, both, pieces
from tests.support.peer import HEARTBEAT, OPEN_OK, START, TUNE, Peer, listening
from tests.support.wire import (
    EDGES,
    ROOMS,
    beginning,
    confirms,
    content,
    method,
    short_strings,
    some_properties,
)

SOON = 5.0


bodies = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=40),
    st.binary(min_size=900),
    st.sampled_from(EDGES).map(beginning),
)
deliver_methods = st.builds(
    Basic.Deliver,
    consumer_tag=st.sampled_from(CONSUMERS),
    delivery_tag=st.integers(1, 2**64 - 1),
    redelivered=st.booleans(),
    exchange=short_strings,
    routing_key=short_strings,
)
return_methods = st.builds(
    Basic.Return,
    reply_code=st.just(312),
    reply_text=st.just("NO_ROUTE"),
    exchange=short_strings,
    routing_key=short_strings,
)


@st.composite
def items(draw: Any, number: int) -> list[bytes]:
    """Draw one event on a channel, as the frames that report it."""
    kinds = ["deliver", "deliver", "deliver", "return", "cold"]
    kind = draw(st.sampled_from([*kinds, "confirm"] if number == CONFIRMING else kinds))
    if kind == "confirm":
        return [method(number, draw(confirms))]
    if kind == "cold":
        return [method(number, Queue.BindOk())]  # no greenlet waits for it
    what = draw(deliver_methods if kind == "deliver" else return_methods)
    body = draw(bodies)
    room = draw(st.sampled_from([1, 7, 300, *ROOMS] if len(body) < ROOMS[0] - 1 else ROOMS))
    if room == 1:
        body = body[:20]
    return [method(number, what), *content(number, draw(some_properties), body, room)]


@st.composite
def streams(draw: Any) -> list[bytes]:
    """Draw a stream: the frames of some channels, mixed, each channel's frames in their order."""
    channels = [
        [frame for item in draw(st.lists(items(number), max_size=4)) for frame in item]
        for number in CHANNELS
    ]
    of_connection = st.sampled_from(
        [HEARTBEAT, method(0, Connection.Blocked("low")), method(0, Connection.Unblocked())]
    )
    channels.append(draw(st.lists(of_connection, max_size=3)))
    mix = random.Random(draw(st.integers(0, 2**32)))
    stream: list[bytes] = []
    while channels := [frames_ for frames_ in channels if frames_]:
        stream.append(mix.choice(channels).pop(0))
    return stream


@given(streams(), st.integers(0, 2**32))
def test_both_codecs_see_the_same(stream: list[bytes], seed: int) -> None:
    with both() as sides:
        for side in sides:
            for piece in pieces(b"".join(stream), seed):
                side.transport.feed(piece)
        ours, plain = sides
        assert ours.events == plain.events
        assert ours.transport.bytes_received == plain.transport.bytes_received
        assert ours.written() == plain.written()


def test_a_stream_decodes_the_same_wherever_it_is_split() -> None:
    deliver = Basic.Deliver("ours", 1, False, "", "k")
    stream = b"".join(
        (
            method(1, deliver),
            HEARTBEAT,
            *content(1, {"type": "t"}, b"abc", 2),
            method(3, Basic.Ack(7, True)),
            method(2, Basic.Return(312, "NO_ROUTE", "e", "k")),
            *content(2, {}, b"", 9),
        )
    )
    expected = None
    for cut in range(len(stream) + 1):
        with both() as sides:
            for side in sides:
                side.transport.feed(stream[:cut])
                side.transport.feed(stream[cut:])
                expected = expected or side.events
                assert side.events == expected
    assert expected is not None
    assert [event[0] for event in expected[4:]] == ["message", "confirm", "return"]


def test_both_codecs_notice_what_the_broker_ends() -> None:
    stream = (
        method(1, Basic.Cancel("ours", True))
        + method(2, Channel.Close(404, "NOT_FOUND", 60, 40))
        + method(3, Basic.Nack(1, False))
    )
    with both() as sides:
        for side in sides:
            side.transport.feed(stream)
            assert [event[0] for event in side.events[4:]] == ["cancel", "gone", "confirm"]
        assert sides[0].events == sides[1].events
        assert sides[0].written() == sides[1].written()


def test_a_delivery_for_an_ended_consumer_is_dropped() -> None:
    side = FedTransport()
    try:
        assert isinstance(side.codec, Codec)
        side.codec.discard_consumer(1, "ours")
        for tag in CONSUMERS:
            side.transport.feed(method(1, Basic.Deliver(tag, 1, False, "", "k")))
            side.transport.feed(b"".join(content(1, {}, b"body", 2)))
        assert [event[2][0] for event in side.events[4:]] == ["yours"]
    finally:
        side.close()


# --- malformed streams

DELIVER = method(1, Basic.Deliver("ours", 1, False, "", "k"))
HEADER, BODY = content(1, {"type": "t"}, b"abcd", 4)
BROKEN = {
    "a frame without its end": DELIVER[:-1] + b"\x00",
    "a frame of unknown type": b"\x09" + DELIVER[1:],
    "a method that does not exist": b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce",
    "a method that is empty": b"\x01\x00\x01\x00\x00\x00\x00\xce",
    "a frame longer than it says": DELIVER + HEADER + BODY[:7] + b"abcde\xce",
    "a frame over all limits": b"\x03\x00\x01" + (LARGEST_FRAME + 1).to_bytes(4, "big") + b"x",
}


def waiters(connection: OurConnection) -> list[gevent.Greenlet]:
    """Start one greenlet of each kind that waits for the broker."""
    plain, confirming = connection.plain.get(), connection.confirming.get()
    runs = [
        spawned(plain.queue_declare, "q"),
        spawned(confirming.publish_confirmed, "e", "k", Properties(), b"", limit=60),
        spawned(connection.open_channel),
    ]
    gevent.idle()
    return runs


def feed_broken(data: bytes) -> list[PostageError]:
    """Send *data* to an open connection with waiters; return what the waiters got."""
    ready = gevent.event.Event()

    def serve(peer: Peer) -> None:
        peer.handshake()
        peer.open_channel()
        peer.open_channel(confirming=True)
        ready.wait()
        peer.send(data)
        peer.until_gone()

    with listening(serve) as where:
        connection = OurConnection(where, "a test", lambda *_: None)
        runs = waiters(connection)
        ready.set()
        results = outcomes(runs, SOON)
        assert not connection.alive, "the connection went on"
        with pytest.raises(ConnectionLost):
            connection.open_channel()
    return results


UNDECODABLE = {
    **{what: BROKEN[what] for what in ("a method that does not exist", "a method that is empty")},
    "a confirm cut short": b"\x01\x00\x03\x00\x00\x00\x08\x00\x3c\x00\x50\x00\x00\x00\x01\xce",
    "a refusal cut short": b"\x01\x00\x01\x00\x00\x00\x06\x00\x14\x00\x28\x01\x94\xce",
    "a declaration cut short": b"\x01\x00\x01\x00\x00\x00\x08\x00\x32\x00\x0b\x01q\x00\x00\xce",
    "an answer with half a tag": b"\x01\x00\x01\x00\x00\x00\x06\x00\x3c\x00\x47\x00\x00\xce",
}


@pytest.mark.parametrize("what", UNDECODABLE)
def test_a_method_that_cannot_be_decoded_is_named(what: str) -> None:
    """The log and the waiters get pika's error, not the one in which its decoder ended."""
    side = FedTransport()
    try:
        with pytest.raises(pika.exceptions.InvalidFrameError):
            side.transport.feed(UNDECODABLE[what])
    finally:
        side.close()


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_stream_ends_the_connection_and_every_waiter(what: str) -> None:
    errors = feed_broken(BROKEN[what])
    assert [type(error) for error in errors] == [ConnectionLost] * 3
    assert len({id(error) for error in errors}) == 3, "each has an error of its own"


@settings(max_examples=25)
@given(st.binary(min_size=1, max_size=64))
def test_random_bytes_end_the_connection(noise: bytes) -> None:
    # So many that no frame can be waited for.
    data = noise + b"\x00" * (LARGEST_FRAME + 16)
    assert [type(e) for e in feed_broken(data)] == [ConnectionLost] * 3


@settings(max_examples=60)
@given(streams(), st.data())
def test_a_damaged_stream_is_understood_or_refused(stream: list[bytes], data: Any) -> None:
    whole = bytearray(b"".join(stream))
    if not whole:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    side = FedTransport()
    try:
        side.transport._take(bytes(whole))
    except AssertionError:
        raise
    except Exception:
        return  # refused: the transport gives the connection up
    finally:
        side.close()


def test_the_first_frame_may_come_in_any_pieces(connect: Any) -> None:
    def serve(peer: Peer) -> None:
        peer.next()
        for byte in START:
            peer.send(bytes((byte,)))
            gevent.sleep(0)
        peer.send(TUNE, OPEN_OK)
        peer.until_gone()

    with listening(serve) as where:
        assert connect(where).alive


def test_the_broker_may_close_a_connection_as_it_opens(connect: Any) -> None:
    def serve(peer: Peer) -> None:
        peer.next()
        peer.send(START, TUNE, OPEN_OK, method(0, Connection.Close(320, "no", 0, 0)))
        peer.until_gone()

    with listening(serve) as where:
        connection = connect(where)
        wait_until(lambda: not connection.alive, SOON)
        with pytest.raises(ConnectionLost, match="320"):
            connection.open_channel()


def test_hub_errors_are_seen(hub_errors: list[Any], capsys: Any) -> None:
    gevent.get_hub().loop.run_callback(lambda: 1 / 0)
    wait_until(lambda: hub_errors, SOON)
    assert hub_errors.pop()[1].__class__ is ZeroDivisionError
