"""Bodies in the form in which `postage dlq edit` shows them, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.cli.parked.editable import Editable, EditRefused, Form
from postage.encoding import JsonEncoder
from tests.support.failed import body_of, json_values, texts


@given(st.one_of(st.binary(), texts.map(lambda text: text.encode("utf-8", "replace"))))
def test_any_body_can_be_edited_and_left_as_it_is(body: bytes) -> None:
    editable = Editable.of(body)

    editable.text.encode()
    assert editable.body_from(editable.text) is None
    if editable.form is not Form.JSON:
        changed = Editable(editable.form, f"{editable.text}x\n")
        assert changed.body_from(editable.text) == body


@given(json_values, json_values)
def test_a_value_is_sent_as_it_was_edited(value: Any, other: Any) -> None:
    editable, wanted = (Editable.of(json.dumps(each).encode()) for each in (value, other))

    body = editable.body_from(wanted.text)

    if body is None:
        assert json.dumps(value) == json.dumps(other)
    else:
        assert JsonEncoder.decode(body) == JsonEncoder.decode(json.dumps(other).encode())


FORMS = {
    "JSON": (b'{"b":1}', Form.JSON, '{\n  "b": 1\n}\n'),
    "letters": ('["é\\u202e\\u001b"]'.encode(), Form.JSON, '[\n  "é\\u202e\\u001b"\n]\n'),
    "half a pair": (b'["\\ud800"]', Form.JSON, '[\n  "\\ud800"\n]\n'),
    "text": (b"two\r\nlines", Form.TEXT, "two\r\nlines"),
    "not a number": (b"[NaN]", Form.TEXT, "[NaN]"),
    "escape": (b"\x1b[2J", Form.BASE64, "G1sySg==\n"),
    "binary": (b"\xff", Form.BASE64, "/w==\n"),
    "reversal": ("\u202e".encode(), Form.BASE64, "4oCu\n"),
    "nothing": (b"", Form.BASE64, ""),
}


@pytest.mark.parametrize(("body", "form", "text"), FORMS.values(), ids=list(FORMS))
def test_a_body_is_edited_in_a_form_that_shows_all_of_it(body, form, text):
    assert Editable.of(body) == Editable(form, text)


def test_an_editor_may_add_the_last_newline():
    editable = Editable.of(b"old")

    assert editable.body_from("old\n") is None
    assert editable.body_from("new\n") == b"new"
    assert Editable.of(b"old\n").body_from("new\n") == b"new\n"


def test_other_blanks_are_no_change():
    assert Editable.of(b'{"a": [1]}').body_from('{"a":[1]}') is None


@pytest.mark.parametrize(
    ("old", "new"), [(b"[1]", "[1.0]"), (b"[1]", "[true]"), (b'{"a":1,"b":2}', '{"b":2,"a":1}')]
)
def test_other_types_and_orders_are_a_change(old, new):
    body = Editable.of(old).body_from(new)

    assert body is not None
    assert json.dumps(json.loads(body)) == json.dumps(json.loads(new))


MESSAGE = body_of("order", 1)
WRONG = {
    "cut": (b"[]", "[", "it is not JSON: .*line 1, column 2"),
    "empty": (b"[]", "", "it is not JSON"),
    "not a number": (b"[]", "[NaN]", "NaN is not JSON"),
    "too large": (b"[]", "[1e999]", "too large"),
    "long": (b"[]", "9" * 5000, "digits"),
    "deep": (b"[]", "[" * 300 + "]" * 300, "nested deeper"),
    "deeper": (b"[]", "[" * 10**5, "."),
    "twice": (b"{}", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
    "no message": (MESSAGE, "{}", "no message of Postage any longer: the key 'type' is missing"),
    "category": (MESSAGE, MESSAGE.decode().replace('"message"', '"letter"'), "category 'letter'"),
    "base64": (b"\xff", "?", "it is not base64"),
    "base64 letters": (b"\xff", "é", "it is not base64"),
}


@pytest.mark.parametrize(("body", "text", "why"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_sent_is_refused(body, text, why):
    with pytest.raises(EditRefused, match=why):
        Editable.of(body).body_from(text)


def test_what_was_no_message_may_become_anything():
    assert Editable.of(b'{"a": 1}').body_from("[]") == b"[]"
