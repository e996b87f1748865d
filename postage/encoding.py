"""Encoders, which convert Python objects to the body of an AMQP message and back.

An encoder is a class with `encode`, `decode` and `content_type`; assign another one to
``encoder_class`` of a producer or consumer to replace JSON.

Fast JSON
---------
With the extra ``fast``, orjson encodes and msgspec decodes, in half the time of the standard
library or less.  Neither does both: orjson decodes integers over 64 bits to floats, and msgspec
encodes bytes as text.  Each also accepts values that JSON does not have, and changes some of them
silently; orjson writes NaN as ``null``.  If their result could differ from that of the standard
library, the standard library does the work; a property test compares the two.  One difference is
known: for a member of an enum that is itself text or a number, but not equal to its value, orjson
sends the value.
"""

from __future__ import annotations

import codecs
import enum
import functools
import gc
import json
import marshal
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from postage.encoding_faults import depth_of_text, form_of, path_to_deepest, refused_keys
from postage.errors import DecodingError, EncodingError, MalformedMessage
from postage.message import VERSION, Message, check_body

# fmt: off
__all__ = [
    "Encoder", "Envelopes", "Forwarded", "JsonEncoder", "body_of", "encode_fast", "fast_json",
    "read_message", "too_large",
]
# fmt: on


_LARGE = 1 << 16
"""Bytes of a body from which on the collection of garbage waits until it is decoded."""


class Encoder:
    """Passes bodies through as they are; the base of every encoder."""

    content_type = ""

    @classmethod
    def encode(cls, data: Any) -> Any:
        """Return *data* as ``str`` or ``bytes``; raise `EncodingError` if it cannot be sent."""
        return data

    @classmethod
    def decode(cls, string: Any) -> Any:
        """Return the object in *string* (``bytes`` from the wire); raise `DecodingError`."""
        return string


class JsonEncoder(Encoder):
    """JSON (RFC 8259): UTF-8 only, no NaN, no numbers that are infinite as a float.

    Sets are sent as lists, members of enums as their values, UUIDs as their text.

    The standard library sends the same bytes as 1.2.1.  With the extra ``fast``, the values
    are the same, but the text has no blanks and may contain characters beyond ASCII.
    """

    content_type = "application/json"
    max_depth = 200
    """How deep lists and objects may nest.  The reason is Python's recursion limit of 1,000 frames:
    to copy a message for a handler takes two frames for each level."""

    @classmethod
    def encode(cls, data: Any) -> str:
        """Return *data* as JSON text; `EncodingError` names the key of a value that has none."""
        return cls.encode_bytes(data).decode()

    @classmethod
    def encode_bytes(cls, data: Any) -> bytes:
        """Return the text as UTF-8; not used for subclasses, because they may override `encode`."""
        libraries = fast_json()
        text = None if libraries is None else encode_fast(data, libraries)
        if text is None:
            text = _encode(data)
        if cls.is_too_deep(text):
            key = path_to_deepest(data)
            raise EncodingError(
                f"cannot send {key} as JSON: it nests deeper than {cls.max_depth} levels", key=key
            )
        return text

    @classmethod
    def decode(cls, string: str | bytes) -> Any:
        """Return the object in *string*; `DecodingError` if it is not JSON in UTF-8.

        A byte order mark before the text is skipped, as RFC 8259 (8.1) allows.
        """
        libraries, data = fast_json(), b""
        try:
            data = string.encode() if isinstance(string, str) else bytes(string)
            size = len(data)
            try:
                if size >= _LARGE:
                    value = _decode_large(data, libraries)
                else:
                    value = _decode(data) if libraries is None else libraries.loads(data)
            except (ValueError, RecursionError):
                # It may accept the data, and always raises the same errors.
                value = _decode_large(data.removeprefix(codecs.BOM_UTF8), None)
        except (ValueError, RecursionError) as exc:
            what = form_of(data) or str(exc)[:200]
            error = DecodingError(f"not JSON in UTF-8: {what}")
            if isinstance(exc, RecursionError) and cls.is_too_deep(data):  # before Python 3.12
                error = DecodingError(f"nested deeper than {cls.max_depth} levels")
            raise error from exc
        if cls.is_too_deep(data):
            raise DecodingError(f"nested deeper than {cls.max_depth} levels")
        return value

    @classmethod
    def is_too_deep(cls, text: bytes, outside: int = 0) -> bool:
        """Tell whether the JSON *text*, itself *outside* levels deep, nests over `max_depth`."""
        limit = cls.max_depth - outside
        if len(text) < 2 * limit:
            return False
        # `replace` finds each by memchr, and stops at the limit; `count` would look at each byte.
        others = text.replace(b"[", b"", limit).replace(b"{", b"", limit)
        return len(text) - len(others) >= limit and depth_of_text(text) > limit


def body_of(encoder: Encoder, message: object) -> bytes:
    """Return *message* as the bytes of a body; raise `EncodingError` if it cannot be sent."""
    if type(encoder) is JsonEncoder:  # the usual case: the text need not be decoded and encoded
        return encoder.encode_bytes(message)
    encoded = encoder.encode(message)
    if isinstance(encoded, bytes):
        return encoded
    if not isinstance(encoded, str):
        name = type(encoder).__name__
        raise EncodingError(f"{name}.encode must return str or bytes, not {type(encoded).__name__}")
    try:
        return encoded.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise EncodingError(f"the body is no text that UTF-8 can hold: {exc}") from exc


def too_large(body: bytes, owner: str, max_body: int | None) -> EncodingError:
    """Return the error for a *body* over *max_body* bytes, an attribute of the class *owner*."""
    return EncodingError(
        f"a body of {len(body)} bytes is larger than max_body of {owner}, {max_body} bytes: send "
        f"less, or raise max_body here and in the processor's consumer class, and max_message_size "
        f"of the broker"
    )


# --- messages with the same envelope: all of a body except its content

MOST_ENVELOPES = 256
"""The envelopes that a sender keeps.  Names may be made from data, so their number has no limit."""


_Kind = tuple[str, str, str]
"""The type, name and category of a message."""


class Forwarded:
    """A body that is sent as it is, in the place of a message."""

    __slots__ = ("body",)

    def __init__(self, body: Any) -> None:
        self.body = body

    def fingerprint(self, values: Mapping[str, Any]) -> None:
        """Add nothing."""


class Envelopes:
    """Encodes the messages of one sender; for any native thread.

    The messages of a type and name differ only in their content.  So the JSON before and after it
    is kept, and the content alone is encoded; the bytes are those of the whole body.  The whole
    body is encoded if

    * something has looked at it (`Message.body`), and so may have changed it;
    * the encoder is not `JsonEncoder`, or a value of the fingerprint is not text;
    * the usual library cannot encode the content, or it nests too deep: the whole body then goes to
      the other library, or raises the error that names the value.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # A copy of the fingerprint, which may change, and what stands before and after the content.
        self._kept: tuple[dict[str, Any], dict[_Kind, tuple[bytes, bytes]]] = {}, {}

    def encode(
        self, encoder: Encoder, message: Message | Forwarded, fingerprint: dict[str, Any]
    ) -> bytes:
        """Return the body of *message*, with *fingerprint* in it; raise `EncodingError`."""
        if type(encoder) is JsonEncoder and isinstance(message, Message) and message._built:  # noqa: SLF001 - it is ours
            name, content = message._built  # noqa: SLF001
            kind = message.type, name, message.category
            of, ends = self._kept
            if of != fingerprint:
                of, ends = self._kept = dict(fingerprint), {}
            before, after = ends.get(kind) or _add_envelope(kind, of, ends)
            text = _encode_usual(content, 1) if before else None
            if text is not None:
                return before + text + after
        message.fingerprint(fingerprint)
        return body_of(encoder, message.body)


def _add_envelope(
    kind: _Kind, fingerprint: dict[str, Any], ends: dict[_Kind, tuple[bytes, bytes]]
) -> tuple[bytes, bytes]:
    """Return what stands before and after the content of messages of *kind*; keep it in *ends*.

    Both are empty if that may differ between such messages.
    """
    # A number in it may be equal to another one that has another text, as 1 is to True.
    is_text = all(type(value) is str for value in fingerprint.values())
    head = {**dict(zip(("type", "name", "category"), kind, strict=True)), "version": VERSION}
    text = _encode_usual({**head, "fingerprint": fingerprint}, 0) if is_text else None
    if text is None:
        return b"", b""
    if len(ends) >= MOST_ENVELOPES:
        ends.clear()
    comma, colon = (b", ", b": ") if fast_json() is None else (b",", b":")
    before = text[:-1] + comma + b'"content"' + colon
    ends[kind] = before, comma + b'"_reserved"' + colon + b"{}}"
    return ends[kind]


def _encode_usual(data: Any, outside: int) -> bytes | None:
    """Return *data* as `JsonEncoder` encodes it inside of *outside* levels of a message.

    None if not the usual library encodes it, but the other one, or if it cannot be sent.
    """
    libraries = fast_json()
    try:
        text = _encode(data) if libraries is None else encode_fast(data, libraries)
    except EncodingError:
        return None
    return None if text is None or JsonEncoder.is_too_deep(text, outside) else text


# --- reading messages whose envelope is known


class _KnownEnvelope(NamedTuple):
    """A message whose content is empty, and what stands after the content of it and its like."""

    message: dict[str, Any]
    after: bytes


_NOT_ALIKE = _KnownEnvelope({}, b"\0")  # no message ends so
# For any native thread.
_known: dict[bytes, _KnownEnvelope] = {}
"""The envelopes that were read twice, by what stands before the content."""
_seen: set[int] = set()
"""The hashes of what stood before the content, for all envelopes that were read."""
MOST_KNOWN, MOST_SEEN = 1_000, 10_000
"""Beyond so many, we begin anew.  Names, and the processes of senders, have no limit."""
LONGEST_ENVELOPE = 1 << 10
"""Bytes before the content of the largest envelope that is kept."""
_CONTENT = b'"content":'
_BLANK = ord(" ")
_AFTER = (b', "_reserved": {}}', b',"_reserved":{}}')
_KEYS = Message().body.keys()


def read_message(data: bytes) -> dict[str, Any]:
    """Return the message in the JSON *data*; raise `DecodingError` or `MalformedMessage`.

    Messages of one sender and name differ only in their content.  So the second one of them is kept
    without its content.  For those after it, the content alone is decoded and the rest is copied,
    which costs two thirds.  The result is the same, and so are the errors.
    """
    at = _content_of(data)
    before = data[:at]
    known = _known.get(before) if at else None
    message = None if known is None else _with_content(known, data, at)
    if message is None:
        message = check_body(JsonEncoder.decode(data))
        if at and known is None:
            _keep_envelope(before, data)
    return message


def _content_of(data: bytes) -> int:
    """Return where the content in *data* begins; 0 if it is not before an object at the end."""
    at = data.find(_CONTENT) if data[-3:] == b"{}}" else -1
    if at < 0:
        return 0
    at += len(_CONTENT)
    return at + 1 if data[at] == _BLANK else at


def _with_content(known: _KnownEnvelope, data: bytes, at: int) -> dict[str, Any] | None:
    """Return the message in *data*, whose content begins at *at*; None if that is unusual."""
    kept, after = known
    if not data.endswith(after) or len(data) >= _LARGE:
        return None
    text, libraries = data[at : -len(after)], fast_json()
    try:
        content = _decode(text) if libraries is None else libraries.loads(text)
    except (ValueError, RecursionError):
        return None
    if type(content) is not dict:
        return None
    if len(text) > JsonEncoder.max_depth and JsonEncoder.is_too_deep(text, 1):
        return None
    message = kept.copy()
    message["fingerprint"] = kept["fingerprint"].copy()
    message["content"], message["_reserved"] = content, {}
    return message


def _keep_envelope(before: bytes, data: bytes) -> None:
    """Keep all but the content of *data*, and whether the messages that differ in that are alike.

    At first sight only notes it, because a sender may send a single message.
    """
    sight = hash(before)
    if len(before) > LONGEST_ENVELOPE:
        return
    if sight in _seen:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[before] = _envelope_of(before, data) or _NOT_ALIKE
    else:
        if len(_seen) >= MOST_SEEN:
            _seen.clear()
        _seen.add(sight)


def _envelope_of(before: bytes, data: bytes) -> _KnownEnvelope | None:
    """Return the envelope of *data*; None if it has objects besides content and fingerprint.

    The values of the fingerprint must be texts, which need no copies.
    """
    after = next((each for each in _AFTER if data.endswith(each)), b"")
    try:
        message = JsonEncoder.decode(before + b"{}" + after)
        # All seven keys, so that "content" is not the end of the name of another one.
        is_whole = message.keys() == _KEYS and message["content"] == {}
        fingerprint = check_body(message)["fingerprint"]
    except (DecodingError, MalformedMessage):
        return None
    is_flat = all(type(value) is str for value in fingerprint.values())
    return _KnownEnvelope(message, after) if is_whole and is_flat else None


# --- JSON by orjson and msgspec


class FastJson(NamedTuple):
    """The functions of orjson and msgspec."""

    dumps: Callable[..., bytes]
    loads: Callable[[bytes], Any]
    options: int
    """The options with which orjson refuses the types that the standard library refuses."""


@functools.cache
def fast_json() -> FastJson | None:
    """Return the libraries of the extra ``fast``; None unless both are installed.

    The first call loads them, so that a program starts faster: they take a megabyte and a tenth of
    the time to start.
    """
    try:
        import msgspec  # noqa: PLC0415 - see above
        import orjson  # noqa: PLC0415
    except ImportError:
        return None
    options = (
        orjson.OPT_PASSTHROUGH_SUBCLASS
        | orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
    )
    return FastJson(orjson.dumps, msgspec.json.Decoder().decode, options)


def encode_fast(data: Any, libraries: FastJson) -> bytes | None:
    """Return *data* as JSON in UTF-8; None if the standard library must do it, or refuse it."""
    try:
        text = libraries.dumps(data, None, libraries.options)
    except TypeError:
        return None
    return None if text.find(b"null") >= 0 and _may_hold_nan(data) else text


# A NaN or infinity as marshal writes it: the type code of floats, then IEEE 754, little-endian.
_NAN = re.compile(rb"[g\xe7].{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)


def _may_hold_nan(data: Any) -> bool:
    """Tell whether a null in the JSON of *data* may stand for a NaN or infinity, not for a None."""
    try:
        marshalled = marshal.dumps(data)
    except ValueError:  # it holds an object that marshal does not know
        return True
    # The last byte of a NaN is 7F or FF, which few other values have.
    has_byte = b"\x7f" in marshalled or b"\xff" in marshalled
    return has_byte and _NAN.search(marshalled) is not None


# --- JSON by the standard library


def _as_json(value: object) -> Any:
    """Return a value of a JSON type for *value*; raise TypeError if there is none."""
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, getattr(sys.modules.get("uuid"), "UUID", ())):
        return str(value)  # a program that has a UUID has imported uuid
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Return *text* as a float; refuse it if that is infinite, which could not be sent again."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large for a float")
    return number


# Made once, because json.dumps and json.loads make new ones at each call with an option.
_encoder = json.JSONEncoder(allow_nan=False, default=_as_json)
# As `_encoder.encode` makes one for each call, but without the search for loops: a loop ends in a
# RecursionError here.
_write: Any = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None,
    _encoder.default,
    json.encoder.encode_basestring_ascii,
    _encoder.indent,
    _encoder.key_separator,
    _encoder.item_separator,
    _encoder.sort_keys,
    _encoder.skipkeys,
    _encoder.allow_nan,
)
_decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _encode(data: Any) -> bytes:
    try:
        try:
            return "".join(_write(data, 0)).encode()
        except RecursionError:  # it may be a loop, which `encode` names
            return _encoder.encode(data).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        key = next(refused_keys(data, _encoder.encode, JsonEncoder.max_depth), "")
        raise EncodingError(f"cannot send {key or 'this'} as JSON: {exc}", key=key) from exc


def _decode(data: bytes) -> Any:
    text = data.decode("utf-8")
    try:  # not by `decode`, which spends a third of its time on blanks around the text
        value, end = _decoder.scan_once(text, 0)
    except StopIteration:  # there are blanks, or an error, whose place `decode` reports
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


def _decode_large(data: bytes, libraries: FastJson | None) -> Any:
    # New lists and objects start the collection of garbage again and again, which finds none among
    # them: with it, a large body takes up to five times as long.
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        return _decode(data) if libraries is None else libraries.loads(data)
    finally:
        if is_enabled:
            gc.enable()
