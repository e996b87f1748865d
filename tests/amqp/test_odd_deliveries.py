"""However odd one delivery is: it alone is rejected, and its connection goes on."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import Basic

from postage.errors import MalformedMessage
from postage.green.amqp.codec import Codec
from postage.green.amqp.delivery import LARGEST_HEADER, Delivery, UnreadableDelivery
from tests.support.fed_transport import FedTransport, pieces
from tests.support.wire import content, method

TAG = "odd"
LIMIT = 1000


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def deliver(tag: int, consumer: str = TAG) -> bytes:
    return method(1, Basic.Deliver(consumer, tag, False, "e", "k"))


def header(size: int, flags: int = 0, values: bytes = b"") -> bytes:
    return frame(2, struct.pack(">HHQH", 60, 0, size, flags) + values)


def body(data: bytes) -> bytes:
    return frame(3, data)


CUT_DELIVER = b"\x00\x3c\x00\x3c" + b"\x03odd" + (1).to_bytes(8, "big") + b"\x00"
ODD = {
    "two headers": deliver(1) + header(4) + header(4) + body(b"abcd"),
    "a header cut short": deliver(1) + frame(2, b"\x00\x3c") + body(b"abcd"),
    "an empty header": deliver(1) + frame(2, b"") + body(b"abcd"),
    "a header over the limit": deliver(1) + header(4, 0, bytes(LARGEST_HEADER)) + body(b"abcd"),
    "no header": deliver(1) + body(b"abcd"),
    "a body too long": deliver(1) + header(3) + body(b"abcd"),
    "a second body frame too long": deliver(1) + header(6) + body(b"abcd") + body(b"efg"),
    "a body too short": deliver(1) + header(5) + body(b"abcd"),
    "a body that does not begin": deliver(1) + header(5),
    "nothing but a method": deliver(1),
    "a body over the limit": deliver(1) + header(LIMIT + 1) + body(bytes(LIMIT)) + body(b"x"),
    "a body without an end": deliver(1) + header(2**64 - 1) + body(bytes(9)) * 3,
    "no exchange": frame(1, CUT_DELIVER),
    "no routing key": frame(1, CUT_DELIVER + b"\x01e"),
    "a key cut short": frame(1, CUT_DELIVER + b"\x01e\x09key"),
    "more than a key": frame(1, CUT_DELIVER + b"\x01e\x01kmore"),
}


class Side(FedTransport):
    """A transport with a consumer that notes what it gets."""

    def __init__(self) -> None:
        super().__init__()
        assert isinstance(self.codec, Codec)
        self.taken: list[Delivery] = []
        self.codec.add_consumer(1, TAG, self.taken.append, LIMIT)

    def feed(self, data: bytes, seed: int | None = None) -> None:
        for piece in [data] if seed is None else pieces(data, seed):
            self.transport.feed(piece)

    @property
    def dropped(self) -> int:
        assert isinstance(self.codec, Codec)
        return self.codec.dropped


@pytest.fixture
def side() -> Iterator[Side]:
    side = Side()
    yield side
    side.close()


GOOD = deliver(2) + b"".join(content(1, {"type": "t"}, b"good", 4))


@pytest.mark.parametrize("what", ODD)
def test_an_odd_delivery_can_only_be_rejected(side: Side, what: str) -> None:
    side.feed(ODD[what])
    side.feed(GOOD)

    odd, good = side.taken
    assert isinstance(odd, UnreadableDelivery)
    assert odd.delivery_tag == 1
    assert odd.properties.as_dict() == {}
    with pytest.raises(MalformedMessage):
        _ = odd.body
    assert (good.delivery_tag, good.body, good.properties.type) == (2, b"good", "t")


@given(st.sampled_from([*ODD.values()]), st.integers(0, 2**32))
def test_it_is_so_wherever_the_stream_is_cut(odd: bytes, seed: int) -> None:
    side = Side()
    try:
        side.feed(odd + GOOD, seed)
        assert [type(each) for each in side.taken] == [UnreadableDelivery, Delivery]
    finally:
        side.close()


def taken_from(pieces: Iterable[bytes]) -> list[Any]:
    """Return what a consumer gets from a stream in *pieces*, and the error that ends it."""
    side = Side()
    found: list[Any] = []
    try:
        for piece in pieces:
            side.feed(piece)
    except Exception as exc:
        found.append(repr(exc))
    finally:
        side.close()
    return [*((repr(each), getattr(each, "header", None)) for each in side.taken), *found]


@given(
    st.lists(st.sampled_from([*ODD.values(), GOOD]), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2),
)
def test_it_is_read_alike_at_once_and_by_bytes(
    parts: list[bytes], changes: list[tuple[int, int]]
) -> None:
    stream = bytearray(b"".join(parts)[:3000])
    for place, value in changes:
        stream[place % len(stream)] = value
    one_by_one = (bytes((byte,)) for byte in stream)
    assert taken_from([bytes(stream)]) == taken_from(one_by_one)


def test_a_header_may_exceed_frame_max(side: Side) -> None:
    table = b"\x01zS" + (200_000).to_bytes(4, "big") + b"z" * 200_000
    values = len(table).to_bytes(4, "big") + table
    side.feed(deliver(1) + header(2, 1 << 13, values) + body(b"{}"), seed=1)

    (taken,) = side.taken
    assert taken.body == b"{}"
    assert taken.properties.headers == {"z": "z" * 200_000}


def test_a_body_of_exactly_the_limit_is_taken(side: Side) -> None:
    side.feed(deliver(1) + header(LIMIT) + body(bytes(LIMIT - 1)) + body(b"x"))
    assert [each.body for each in side.taken] == [bytes(LIMIT - 1) + b"x"]


def test_the_parts_of_too_large_a_body_are_not_kept(side: Side) -> None:
    side.feed(deliver(1) + header(1 << 62))
    for _ in range(100):
        side.feed(body(bytes(100_000)))
    assert isinstance(side.codec, Codec)
    (taken,) = side.taken
    why = f"a body of {1 << 62} bytes, over {LIMIT}: see max_body of the consumer class"
    assert repr(taken) == f"<UnreadableDelivery 1: {why}>"
    assert not side.codec._contents


@pytest.mark.parametrize("size", [1 << 16, 1 << 18])
def test_a_frame_in_small_pieces_takes_its_size(side: Side, size: int) -> None:
    stream = deliver(1) + header(2, 0, bytes(size))
    two_by_two = [stream[at : at + 2] for at in range(0, len(stream) - 1, 2)]
    tracemalloc.start()
    try:
        for piece in two_by_two:
            side.transport.feed(piece)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * size


ALONE = {
    "a deliver without arguments": frame(1, b"\x00\x3c\x00\x3c"),
    "a deliver without a tag": frame(1, b"\x00\x3c\x00\x3c\x03odd"),
    "a deliver for an unknown consumer": deliver(1, "nobody") + header(4) + body(b"abcd"),
    "a tag that is no UTF-8": frame(1, b"\x00\x3c\x00\x3c\x01\xff" + bytes(9) + b"\x00\x00"),
    "a header alone": header(4),
    "a body alone": body(b"abcd"),
    "a return with an odd time": method(1, Basic.Return(312, "r", "e", "k"))
    + header(0, 1 << 13, (11).to_bytes(4, "big") + b"\x01tT" + b"\xff" * 8),
    "a return cut short": frame(1, b"\x00\x3c\x00\x32\x01\x38\x08NO_"),
    "a return with a key too much": frame(1, b"\x00\x3c\x00\x32\x01\x38\x00\x01e\x01k\x01k"),
    "a return with two headers": method(1, Basic.Return(312, "r", "e", "k")) + header(4) * 2,
}


@pytest.mark.parametrize("what", ALONE)
def test_what_belongs_to_no_delivery_is_dropped(side: Side, what: str) -> None:
    assert isinstance(side.codec, Codec)
    side.codec.set_returns(1, lambda message: side.note(message.properties.headers))

    side.feed(ALONE[what] + GOOD)

    assert [each.body for each in side.taken] == [b"good"]


@pytest.mark.parametrize("tag", [0, 2**64 - 1])
def test_any_tag_is_taken_as_it_is(side: Side, tag: int) -> None:
    side.feed(deliver(tag) + header(1) + body(b"x"))
    assert [(each.delivery_tag, each.body) for each in side.taken] == [(tag, b"x")]


def test_names_need_not_be_utf_8(side: Side) -> None:
    side.feed(frame(1, CUT_DELIVER + b"\x02\xff\xfe\x01\x80") + header(1) + body(b"x"))
    (taken,) = side.taken
    assert (taken.exchange, taken.routing_key) == ("\udcff\udcfe", "\udc80")


def test_an_error_of_a_consumer_does_not_concern_others(side: Side, caplog: Any) -> None:
    def fail(_: Delivery) -> None:
        raise ZeroDivisionError

    assert isinstance(side.codec, Codec)
    side.codec.add_consumer(1, "failing", fail, no_ack=True)
    side.feed(deliver(1, "failing") + header(1) + body(b"x") + GOOD)

    assert [each.body for each in side.taken] == [b"good"]
    assert side.dropped == 1


def test_a_damaged_delivery_without_ack_is_logged_only(side: Side) -> None:
    assert isinstance(side.codec, Codec)
    side.codec.add_consumer(1, "no ack", side.taken.append, no_ack=True)
    side.feed(deliver(1, "no ack") + body(b"x") + GOOD)
    assert [each.body for each in side.taken] == [b"good"]
    assert side.dropped == 1


# --- properties

UNREADABLE = {
    "flags of no property": (0x0002, b""),
    "more flags to follow": (0x8001, b"\x01t"),
    "no value at all": (0x8000, b""),
    "a table cut short": (0x2000, b"\x00\x00\x00\x09\x01t"),
    "fewer values than flags": (0xFFFC, b"\x01t"),
}
UNREADABLE_HEADERS = {
    "a value of unknown type": b"\x01t?",
    "a table without an end": b"\x01tF\x00\x00\x00\x09",
    "tables in tables": b"",
    "a name cut short": b"\x09t",
    "an array cut short": b"\x01tA\x00\x00\x00\x09",
}
_deep = b""
for _ in range(3000):
    _deep = b"\x01aF" + len(_deep).to_bytes(4, "big") + _deep
UNREADABLE_HEADERS["tables in tables"] = _deep


@pytest.mark.parametrize("what", UNREADABLE)
def test_unreadable_properties_are_malformed(side: Side, what: str) -> None:
    flags, values = UNREADABLE[what]
    side.feed(deliver(1) + header(1, flags, values) + body(b"x") + GOOD)

    odd, good = side.taken
    for _ in range(2):
        with pytest.raises(MalformedMessage, match="its properties cannot be decoded"):
            _ = odd.properties
    assert good.properties.type == "t"


@pytest.mark.parametrize("what", UNREADABLE_HEADERS)
def test_unreadable_headers_are_malformed(side: Side, what: str) -> None:
    table = UNREADABLE_HEADERS[what]
    side.feed(deliver(1) + header(1, 0x2000, len(table).to_bytes(4, "big") + table) + body(b"x"))

    (odd,) = side.taken
    assert odd.properties.type is None
    for _ in range(2):
        with pytest.raises(MalformedMessage, match="its headers cannot be decoded"):
            _ = odd.properties.headers


def test_a_time_out_of_range_is_a_number_or_malformed(side: Side) -> None:
    table = b"\x01tT" + b"\xff" * 8
    side.feed(deliver(1) + header(1, 0x2000, len(table).to_bytes(4, "big") + table) + body(b"x"))

    (odd,) = side.taken
    with contextlib.suppress(MalformedMessage):  # pika 1.4
        assert odd.properties.headers == {"t": 2**64 - 1}


@given(st.integers(0, 0xFFFF), st.binary(max_size=60))
def test_random_properties_are_read_or_malformed(flags: int, values: bytes) -> None:
    side = Side()
    try:
        side.feed(deliver(1) + header(1, flags, values) + body(b"x"))
        (taken,) = side.taken
        with contextlib.suppress(MalformedMessage):
            taken.properties.as_dict()
    finally:
        side.close()
