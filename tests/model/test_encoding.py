"""Encoders: bodies, decoded values, and the errors of values that cannot be sent."""

from __future__ import annotations

import bz2
import contextlib
import datetime as dt
import enum
import gc
import gzip
import json
import lzma
import math
import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.encoding import Encoder, JsonEncoder
from postage.encoding_faults import depth_of_text
from postage.errors import DecodingError, EncodingError, PostageError
from tests.support.instructions import instructions
from tests.support.json_library import by_the_standard_library

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.behaviour("encoders")
@given(value=values)
def test_every_json_value_comes_back_as_it_was(value):
    assert JsonEncoder.decode(JsonEncoder.encode(value)) == value
    assert JsonEncoder.decode(JsonEncoder.encode(value).encode("utf-8")) == value


@pytest.mark.behaviour("encoders")
@given(value=values)
def test_without_extras_encoding_equals_the_standard_library(value):
    """1.2.1 sends the same bytes, and any JSON reader accepts them."""
    with by_the_standard_library():
        assert JsonEncoder.encode(value) == json.dumps(value)


@pytest.mark.behaviour("encoders")
class Colour(enum.Enum):
    RED = "red"
    MANY = frozenset([1])


def test_enum_members_are_sent_as_values_and_uuids_as_text():
    one = uuid.UUID(int=7)
    sent = JsonEncoder.encode({"a": Colour.RED, "b": [Colour.MANY], "c": one})

    assert json.loads(sent) == {"a": "red", "b": [[1]], "c": str(one)}


@given(value=st.sets(st.integers()) | st.frozensets(st.text()))
def test_a_set_is_encoded_as_a_list(value):
    decoded = JsonEncoder.decode(JsonEncoder.encode(value))

    assert type(decoded) is list
    assert (len(decoded), set(decoded)) == (len(value), value)


@pytest.mark.behaviour("encoders")
def test_a_set_deep_inside_is_encoded_as_a_list():
    assert (
        JsonEncoder.encode({"kwds": {"values": [{1}, (2,)]}}) == '{"kwds": {"values": [[1], [2]]}}'
    )


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize(
    ("encoder", "content_type"), [(Encoder, ""), (JsonEncoder, "application/json")]
)
def test_content_types(encoder, content_type):
    assert encoder.content_type == encoder().content_type == content_type


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("encoder", [Encoder, Encoder()])
@pytest.mark.parametrize("data", [b"\x00\xff", "text", {"a": 1}, None])
def test_the_plain_encoder_passes_everything_through(encoder, data):
    assert encoder.encode(data) is data
    assert encoder.decode(data) is data


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("encoder", [JsonEncoder, JsonEncoder()])
def test_the_json_encoder_works_as_class_and_as_instance(encoder):
    assert encoder.decode(encoder.encode({"a": [1]})) == {"a": [1]}


@pytest.mark.behaviour("encoders")
def test_it_can_be_inherited():
    class Compact(JsonEncoder):
        content_type = "application/vnd.compact"

        @classmethod
        def encode(cls, data):
            return super().encode(data).replace(" ", "")

    assert Compact.encode({"a": 1}) == '{"a":1}'
    assert Compact.decode(b'{"a":1}') == {"a": 1}


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)

UNSENDABLE = [
    *(object(), b"bytes", 1j, dt.date(2020, 1, 1), Encoder, range(3)),
    *(math.nan, math.inf, -math.inf),
    *({(1, 2): 3}, {b"key": 1}, {math.nan: 1}, {b"in a set"}),
    CIRCLE,
]


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("value", UNSENDABLE, ids=lambda value: repr(value).partition(" at 0x")[0])
def test_a_value_without_json_raises_and_names_the_key(value):
    with pytest.raises(EncodingError, match=r"content\.parameters\.when") as caught:
        JsonEncoder.encode({"content": {"parameters": {"fine": 1, "when": value, "also": 2}}})

    assert caught.value.key.startswith("content.parameters.when")
    assert isinstance(caught.value.__cause__, (TypeError, ValueError, RecursionError))
    assert isinstance(caught.value, PostageError)


paths = st.lists(st.text("abcdef_", min_size=1) | st.integers(0, 3), max_size=12)


def buried(path):
    """Return lists and dictionaries around an object that no encoder accepts, and its key."""
    value, key = object(), ""
    for part in reversed(path):
        value = {part: value, "": 0} if isinstance(part, str) else [0] * part + [value, 0]
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return value, key


@pytest.mark.behaviour("encoders")
@given(path=paths)
def test_the_error_names_the_very_key_however_deep_it_is(path):
    value, key = buried(path)

    with pytest.raises(EncodingError) as caught:
        JsonEncoder.encode(value)

    assert caught.value.key == key
    assert str(caught.value).startswith(f"cannot send {key or 'this'} as JSON")


BAD_JSON = [
    *(b"", b" ", b"{", b'{"a": }', b"{'a': 1}", b"nonsense", b"[1] [2]", b'"open', b"\x00"),
    *(b"\xff\xfe", b'"\xe9"', '"\u20ac"'.encode("utf-16"), b"\xef\xbb\xbf", b"\x80\x02}q\x00."),
    *(b"NaN", b'{"a": NaN}', b"[Infinity]", b"-Infinity", b"1" * 5000),
    *(b"1e999", b"[-1e999]", b'{"a": [{"b": 1E+400}]}', b"9" * 400 + b".5"),
    *(b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 100_000),
]


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:20]))
def test_invalid_json_is_a_decoding_error_with_a_short_text(body):
    with pytest.raises(DecodingError) as caught:
        JsonEncoder.decode(body)

    assert len(str(caught.value)) < 300


@given(body=st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_decoding_error(body):
    try:
        value = JsonEncoder.decode(body)
    except DecodingError:
        return
    assert json.loads(body.decode("utf-8-sig")) == value


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("text", ["\ufeff[1]", b"\xef\xbb\xbf[1]", b"\xef\xbb\xbf [1]\n"])
def test_a_byte_order_mark_is_skipped(text):
    assert JsonEncoder.decode(text) == [1]


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize(
    ("body", "form"),
    [
        *((json.dumps({"a": 1}).encode(f"utf-16{end}"), "UTF-16") for end in ("", "-le", "-be")),
        *((json.dumps({"a": 1}).encode(f"utf-32{end}"), "UTF-32") for end in ("", "-le", "-be")),
        *((zlib.compress(b"{}", level), "zlib (deflate)") for level in (0, 1, 6, 9)),
        (gzip.compress(b"{}", mtime=0), "gzip"),
        (bz2.compress(b"{}"), "bzip2"),
        (lzma.compress(b"{}"), "xz"),
        (b"\x28\xb5\x2f\xfd\x00", "Zstandard"),
        (b"\x04\x22\x4d\x18\x00", "LZ4"),
    ],
)
def test_another_encoding_or_compression_is_named(body, form):
    with pytest.raises(DecodingError) as caught:
        JsonEncoder.decode(body)

    assert str(caught.value) == f"not JSON in UTF-8: it begins like {form}"


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_each_finite_number_is_read_and_can_be_sent_again(number):
    assert JsonEncoder.decode(JsonEncoder.encode([number])) == [number]


def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


def test_nesting_is_decoded_down_to_the_limit_and_no_further():
    limit = JsonEncoder.max_depth

    assert JsonEncoder.decode(nested(limit))
    with pytest.raises(DecodingError, match=f"deeper than {limit} levels"):
        JsonEncoder.decode(nested(limit + 1))
    with pytest.raises(DecodingError, match=f"deeper than {limit} levels"):
        JsonEncoder.decode(nested(limit // 2 + 1, '{"a": [', "]}").replace("[]", "[0]"))


def depth_of(value):
    parts = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(depth_of, parts), default=0) if isinstance(value, (dict, list)) else 0


texts = st.text(alphabet='a[]{}"\\,:é\n')
deep_values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=30
)


@given(deep_values)
def test_the_depth_of_a_text_is_that_of_its_value(value):
    for indent, ascii_ in ((None, True), (1, False)):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
        assert depth_of_text(text.encode("utf-8", "surrogatepass")) == depth_of(value)


MANY = {
    "objects": b"[" + b"{}," * 100_000 + b"{}]",
    "nested lists": b"[" + (b"[" * 190 + b"]" * 190 + b",") * 800 + b"1]",
    "texts": b"[" + b'"[",' * 100_000 + b"1]",
}


@pytest.mark.parametrize("body", MANY.values(), ids=MANY)
def test_large_bodies_are_decoded_by_libraries_alone(body):
    # One instruction for each value is too many: with a few for each, 15 MB took 19 s.
    assert instructions(lambda: JsonEncoder.decode(body)) < 100_000


@pytest.mark.parametrize("body", [b"[1]", b"[", MANY["objects"], MANY["objects"][:-1]], ids=len)
def test_the_collection_of_garbage_goes_on_after_a_body(body):
    for is_enabled in (False, True):
        (gc.enable if is_enabled else gc.disable)()
        with contextlib.suppress(DecodingError):
            JsonEncoder.decode(body)
        assert gc.isenabled() is is_enabled


def test_many_brackets_side_by_side_are_not_deep():
    wide = [[{}]] * 2 * JsonEncoder.max_depth

    assert JsonEncoder.decode(JsonEncoder.encode(wide)) == wide


def test_half_a_surrogate_pair_is_sent_as_python_has_it():
    assert JsonEncoder.encode("\ud83d") == '"\\ud83d"'
    assert JsonEncoder.decode('"\\ud83d"') == "\ud83d"


@pytest.mark.parametrize("type_", [bytes, bytearray, memoryview])
def test_any_type_of_bytes_is_decoded(type_):
    assert JsonEncoder.decode(type_('"€"'.encode())) == "€"


@pytest.mark.behaviour("encoders")
def test_a_body_that_readers_would_refuse_is_not_sent():
    limit = JsonEncoder.max_depth
    fine, deep = json.loads(nested(limit - 2)), json.loads(nested(limit - 1))

    assert JsonEncoder.encode({"content": {"parameters": fine}})
    with pytest.raises(EncodingError, match=f"nests deeper than {limit} levels") as caught:
        JsonEncoder.encode({"name": "x", "content": {"a": 1, "parameters": deep}, "z": [[]]})
    assert caught.value.key == "content.parameters[0]"


@pytest.mark.behaviour("encoders")
@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_a_value_nested_beyond_recursion_is_an_encoding_error(depth):
    value: object = 1
    for _ in range(depth):
        value = {"a": value}

    with pytest.raises(EncodingError, match=r"^cannot send a\.a\."):
        JsonEncoder.encode(value)
