"""Bodies of messages as a person can edit them, and what is wrong with the result.  Pure."""

from __future__ import annotations

import base64
import binascii
import copy
import enum
import json
import re
from dataclasses import dataclass
from typing import Any

from postage.encoding import JsonEncoder
from postage.errors import DecodingError, EncodingError, MalformedMessage
from postage.message import check_body

__all__ = ["EditRefused", "Editable", "Form"]

_BASE64_LINE = 76
_ODD = re.compile(
    r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""Characters that an editor may not show, or that make it show others elsewhere."""


class EditRefused(Exception):
    """A text cannot become the body of the message; the text says why."""


class Form(enum.Enum):
    """How a body is edited; the value is the ending of the file."""

    JSON = ".json"
    TEXT = ".txt"
    BASE64 = ".b64"


@dataclass(frozen=True)
class Editable:
    """The body of a message in the form in which it is edited."""

    form: Form
    text: str
    is_message: bool = False
    """Whether it is a message of Postage, and so must be one again."""

    @classmethod
    def of(cls, body: bytes) -> Editable:
        """Return *body* as indented JSON if it is JSON, as text if it is UTF-8, else as base64.

        Never raises.  Characters that an editor may not show are escaped in JSON; a text with such
        characters is edited as base64.
        """
        try:
            value = JsonEncoder.decode(body)
        except DecodingError:
            return cls._of_no_json(body)
        return cls(Form.JSON, f"{_indented(value)}\n", is_message=not _why_no_message(value))

    @classmethod
    def _of_no_json(cls, body: bytes) -> Editable:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = "\0"
        if text and not _ODD.search(text):
            return cls(Form.TEXT, text)
        encoded = base64.b64encode(body).decode()
        lines = [encoded[at : at + _BASE64_LINE] for at in range(0, len(encoded), _BASE64_LINE)]
        return cls(Form.BASE64, "".join(f"{line}\n" for line in lines))

    def body_from(self, text: str) -> bytes | None:
        """Return the body that *text*, the edited one, stands for; None if nothing has changed.

        Raises `EditRefused` with the reason if *text* cannot be the body.
        """
        if self.form is Form.JSON:
            return self._json_from(text)
        if self.form is Form.BASE64:
            return None if text == self.text else _bytes_from(text)
        if not self.text.endswith("\n"):
            text = text.removesuffix("\n")  # editors add it
        return None if text == self.text else _encoded(text)

    def _json_from(self, text: str) -> bytes | None:
        if text == self.text:
            return None
        try:
            value = json.loads(text, object_pairs_hook=_once)
            value = JsonEncoder.decode(_encoded(text))  # stricter
        except json.JSONDecodeError as exc:
            at = f"line {exc.lineno}, column {exc.colno}"
            raise EditRefused(f"it is not JSON: {exc.msg}, {at}") from None
        except (DecodingError, RecursionError, ValueError) as exc:
            raise EditRefused(str(exc)) from None
        why = self.is_message and _why_no_message(value)
        if why:
            raise EditRefused(f"it would be no message of Postage any longer: {why}")
        if _indented(value) == self.text.removesuffix("\n"):
            return None  # only blanks have changed
        try:
            return JsonEncoder.encode_bytes(value)
        except EncodingError as exc:
            raise EditRefused(str(exc)) from None


def _indented(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = _ODD.sub(lambda found: json.dumps(found[0])[1:-1], text)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value, indent=2)
    return text


def _why_no_message(value: Any) -> str:
    """Return why *value* is no message of Postage; empty if it is one."""
    try:
        check_body(copy.deepcopy(value))  # which fills in what is missing
    except MalformedMessage as exc:
        return str(exc)
    return ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return *pairs* as a dictionary; refuse a key that stands twice: one of them would be lost."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _bytes_from(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise EditRefused(f"it is not base64: {exc}") from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise EditRefused(f"it is not UTF-8: {exc.reason}") from None
