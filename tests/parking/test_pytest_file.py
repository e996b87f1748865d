"""The file of `postage dlq export`: what a peer wrote is a literal or a comment, and never code."""

from __future__ import annotations

import ast
import base64
import datetime as dt
import decimal
import json
import math
from typing import Any

import pika.compat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postage.cli.parked.as_it_failed import AsItFailed
from postage.cli.parked.pytest_file import pytest_file
from postage.cli.parked.python_source import DEEPEST, Unwritable, python_source
from postage.encoding import JsonEncoder
from postage.parking import FailedMessage
from tests.support.failed import HOSTILE, body_of, failed, json_values, texts

OURS = "x-postage-"
DOSSIER = (
    *("why", "exception", "text", "traceback", "handler", "processor", "component", "host", "pid"),
    *("queue", "exchange", "routing-key"),
)
NAMES = {
    "float": float, "datetime": dt, "decimal": decimal, "base64": base64, "__builtins__": {},
}  # fmt: skip

table_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        texts,
        st.binary(max_size=40),
        st.datetimes(timezones=st.just(dt.timezone.utc)),
        st.decimals(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, types included; NaN equals itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)
    if isinstance(one, decimal.Decimal) and isinstance(other, decimal.Decimal):
        return repr(one) == repr(other)
    return type(one) is type(other) and one == other


def value_of(node: ast.expr) -> Any:
    """Evaluate *node* with nothing but the names that source may use."""
    return eval(compile(ast.Expression(node), "source", "eval"), dict(NAMES))  # noqa: S307 - checked


def only_values(node: ast.expr) -> None:
    """Fail if *node* is anything but literals, and calls of constructors with literals."""
    allowed = (ast.Constant, ast.Dict, ast.List, ast.Load, ast.UnaryOp, ast.USub)
    names = (ast.Call, ast.Name, ast.Attribute, ast.keyword)
    for each in ast.walk(node):
        assert isinstance(each, allowed + names), ast.dump(each)
        if isinstance(each, ast.Call):
            called = ast.unparse(each.func)
            assert called in {"float", "datetime.datetime", "decimal.Decimal", "base64.b64decode"}
        if isinstance(each, ast.Attribute):
            assert ast.unparse(each).split(".")[0] in NAMES


def parts_of(source: str) -> dict[str, Any]:
    """Return the values in *source*; fail if it is anything but the file that was meant."""
    tree = ast.parse(source.encode())  # bytes, so that a cookie of an encoding would count
    doc, *rest = tree.body
    assert ast.get_docstring(tree) == (
        "A message that failed, as `postage dlq export` has written it.\n\n"
        "The test fails as the message did, until the fault is mended."
    )
    assert isinstance(doc, ast.Expr)
    imports = [each for each in rest if isinstance(each, (ast.Import, ast.ImportFrom))]
    modules = [ast.unparse(each) for each in imports]
    for text in ("import base64", "import datetime", "import decimal"):
        if text in modules:
            modules.remove(text)
    assert modules == ["from shop.orders import Orders", "from postage.testing import handle"]
    *assigned, test = rest[len(imports) :]
    values = {}
    for each in assigned:
        assert isinstance(each, ast.Assign)
        (target,) = each.targets
        only_values(each.value)
        values[ast.unparse(target)] = value_of(each.value)
    assert list(values) == ["BODY", "PROPERTIES", "HEADERS"]
    assert isinstance(test, ast.FunctionDef)
    call, check = test.body
    assert ast.unparse(check) == "assert handled.handlers, 'no handler takes the message'"
    assert isinstance(call, ast.Assign)
    assert isinstance(call.value, ast.Call)
    assert ast.unparse(call.value.func) == "handle"
    assert [ast.unparse(each) for each in call.value.args] == ["Orders", "BODY"]
    named = {each.arg: each.value for each in call.value.keywords}
    assert ast.unparse(named.pop("properties")) == "PROPERTIES"
    assert ast.unparse(named.pop("headers")) == "HEADERS"
    for name, node in named.items():
        values[str(name)] = ast.literal_eval(node)
    return values


def exported(message: FailedMessage) -> str:
    return pytest_file(message, "shop.orders", "Orders")


# --- values


@given(table_values)
def test_any_value_is_written_as_what_it_is(value: Any) -> None:
    node = ast.parse(python_source(value), mode="eval").body

    only_values(node)
    assert same(value_of(node), value)


@given(texts)
def test_a_text_is_one_literal_in_which_all_is_seen(text: str) -> None:
    source = python_source(text)

    assert ast.literal_eval(source) == text
    assert isinstance(ast.parse(source, mode="eval").body, ast.Constant)
    assert source.isprintable()
    source.encode()


def test_integers_of_pika_are_written_as_integers():
    value = pika.compat.long(5)

    assert (repr(value), python_source([value])) == ("5L", "[5]")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [nested(DEEPEST + 1), {1: 2}, object(), ["x" * 1000] * 1000, [[]] * 10**6, type("S", (), {})()],
    ids=["deep", "key", "object", "long", "empty", "other"],
)
def test_what_has_no_readable_source_is_refused(value):
    with pytest.raises(Unwritable):
        python_source(value)


def test_the_deepest_value_can_be_parsed():
    source = f"def test():\n    x = {python_source(nested(DEEPEST))}\n"

    assert ast.parse(source)


def test_an_indented_value_is_readable():
    value = {"name": "order", "content": {"parameters": [{"item": "bolts" * 10}, {"count": 3}]}}

    assert python_source(value) == (
        "{\n"
        "    'name': 'order',\n"
        "    'content': {\n"
        "        'parameters': [{'item': 'boltsboltsboltsboltsboltsboltsboltsboltsboltsbolts'}, "
        "{'count': 3}],\n"
        "    },\n"
        "}"
    )  # fmt: skip


# --- the file


@settings(max_examples=50)  # each has the whole file
@given(
    st.fixed_dictionaries({f"{OURS}{name}": st.one_of(texts, table_values) for name in DOSSIER}),
    st.dictionaries(texts.filter(lambda name: not name.startswith("x-")), table_values),
    st.one_of(json_values.map(lambda v: json.dumps(v).encode()), st.binary()),
    texts,
)
def test_what_peers_wrote_never_becomes_code(dossier, headers, body, text):
    message = failed(body, {**headers, **dossier}, message_id=text, reply_to=text)

    values = parts_of(exported(message))

    assert same(values["HEADERS"], headers)
    assert values["PROPERTIES"] == {"reply_to": text, "message_id": text}
    try:
        expected = JsonEncoder.decode(body)
    except ValueError:
        expected = body
    assert same(values["BODY"], expected)


@given(texts, json_values)
def test_the_body_of_a_message_is_readable(name, parameters):
    body = body_of(name, parameters)
    message = failed(body, {})

    values = parts_of(exported(message))

    assert same(values["BODY"], JsonEncoder.decode(body))
    assert JsonEncoder.decode(JsonEncoder.encode(values["BODY"])) == values["BODY"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_nowhere_more_than_text(text):
    dossier = {f"{OURS}{name}": text for name in DOSSIER}
    message = failed(body_of(text, text), {**dossier, text: text}, app_id=text)

    source = exported(message)
    values = parts_of(source)

    assert values["BODY"]["content"]["parameters"] == text
    assert values["queue"] == text
    assert all(line.isprintable() for line in source.split("\n"))


BODIES = {
    "not a number": b'{"x": NaN}',
    "infinite": b'{"x": 1e999}',
    "deep": b"[" * 100 + b"]" * 100,
    "deeper": b"[" * 10**5 + b"]" * 10**5,
    "long digits": b"9" * 5000,
    "10 MB": json.dumps({"text": '"""\\\n' * (2 * 10**6)}).encode(),
    "many values": json.dumps([[]] * 50_000).encode(),
    "binary": bytes(range(256)),
    "empty": b"",
    "UTF-16": '{"x": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_other_bodies_are_written_as_bytes(body):
    assert parts_of(exported(failed(body)))["BODY"] == body


def test_for_another_encoder_a_body_is_written_as_bytes():
    source = pytest_file(failed(b"{}"), "shop.orders", "Orders", as_json=False)

    assert parts_of(source)["BODY"] == b"{}"


def test_headers_without_source_are_left_out_and_named():
    headers = {"deep": nested(60), "x-tenant": "a"}
    source = exported(failed(b"{}", headers))

    assert parts_of(source)["HEADERS"] == {"x-tenant": "a"}
    assert "# Left out is deep: it nests deeper than 50 levels." in source


def test_the_dossier_stands_above_as_comments():
    dossier = {
        "why": "failed", "exception": "builtins.KeyError", "text": "'bolts'", "attempt": 3,
        "traceback": 'Traceback:\n  File "shop.py", line 7, in order\nKeyError: bolts',
        "parked-ms": 1_700_000_000_000,
    }  # fmt: skip
    source = exported(failed(b"{}", {f"{OURS}{name}": value for name, value in dossier.items()}))

    for line in (
        "#   why: failed",
        "#   exception: builtins.KeyError: 'bolts'",
        "#   attempts: 3",
        "#   parked: 2023-11-14 22:13:20 UTC",
        '#     File "shop.py", line 7, in order',
    ):
        assert line in source.split("\n")


@pytest.mark.parametrize(
    ("name", "function"),
    [("order", "test_command_order"), ("Ö/../x", "test_command_x"), ("", "test_command")],
)
def test_the_test_has_the_name_of_the_message(name, function):
    assert f"def {function}():" in exported(failed(body_of(name)))


# --- the message as it failed


def test_a_message_is_exported_as_it_was_delivered():
    headers = {
        "x-tenant": "a", "x-death": [{"count": 1}], "x-first-death-queue": "q",
        "x-delivery-count": 3, f"{OURS}send-id": "s", f"{OURS}why": "failed", f"{OURS}attempt": 3,
        f"{OURS}round": 1, f"{OURS}first-failed-ms": 5000, f"{OURS}expiration": "9000",
        f"{OURS}user-id": "bob", f"{OURS}queue": "orders", f"{OURS}exchange": "shop",
        f"{OURS}routing-key": "order",
    }  # fmt: skip
    then = AsItFailed.of(failed(b"x", headers, message_id="m", delivery_mode=2))

    assert then.properties == {"message_id": "m", "expiration": "9000", "user_id": "bob"}
    assert then.headers == {
        "x-tenant": "a", f"{OURS}attempt": 2, f"{OURS}round": 1, f"{OURS}first-failed-ms": 5000,
    }  # fmt: skip
    assert (then.queue, then.exchange, then.routing_key) == ("orders", "shop", "order")


def test_a_first_try_leaves_no_number_of_tries():
    then = AsItFailed.of(failed(b"x", {f"{OURS}attempt": 1, f"{OURS}why": "failed"}))

    assert then.headers == {}


def test_a_message_without_a_dossier_is_taken_as_it_lies_there():
    then = AsItFailed.of(failed(b"x"))

    assert (then.queue, then.routing_key) == ("orders.parked", "orders.parked")
    assert math.isclose(len(then.properties), 0)
