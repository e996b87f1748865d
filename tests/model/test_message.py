"""Messages: plain dictionaries with seven keys, and the classes that build them."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.errors import MalformedMessage, RemoteError
from postage.message import (
    Message,
    MessageCommand,
    MessageResult,
    MessageResultError,
    MessageResultException,
    MessageStatus,
    RpcCommand,
    check_body,
    result_from,
)

KEYS = ["type", "name", "category", "version", "fingerprint", "content", "_reserved"]


def body(type_, name, content, category="message"):
    """Return a whole body as 1.2.1 builds it."""
    values = (type_, name, category, "2", {}, content, {})
    return dict(zip(KEYS, values, strict=True))


def result(kind, value, message=""):
    """Return the body of a result."""
    return body("result", "none", {"type": kind, "value": value, "message": message})


#: A message of every class, and its whole body.
EVERY = {
    "generic": (Message(), body("none", "none", {})),
    "args": (Message(1, "a"), body("none", "none", {"args": [1, "a"]})),
    "kwds": (Message(a=1), body("none", "none", {"kwds": {"a": 1}})),
    "both": (Message(1, a=2), body("none", "none", {"args": [1], "kwds": {"a": 2}})),
    "command": (
        MessageCommand("sum", {"a": 1}),
        body("command", "sum", {"parameters": {"a": 1}}),
    ),
    "bare command": (MessageCommand("quit"), body("command", "quit", {"parameters": {}})),
    "rpc": (RpcCommand("sum", [1, 2]), body("command", "sum", {"parameters": [1, 2]}, "rpc")),
    "bare rpc": (RpcCommand("ping"), body("command", "ping", {"parameters": {}}, "rpc")),
    "status": (MessageStatus("online"), body("status", "online", {})),
    "result": (MessageResult({"v": 1}, "done"), result("success", {"v": 1}, "done")),
    "bare result": (MessageResult(None), result("success", None)),
    "error": (MessageResultError("no such file"), result("error", None, "no such file")),
    "exception": (
        MessageResultException("KeyError", "'x'"),
        result("exception", "KeyError", "'x'"),
    ),
}
every = pytest.mark.parametrize(("message", "expected"), EVERY.values(), ids=EVERY)


@pytest.mark.behaviour(
    "message-seven-keys",
    "message-arguments",
    "message-types",
    "message-command",
    "message-status",
    "message-results",
)
@every
def test_the_whole_body(message, expected):
    assert message.body == expected
    assert list(message.body) == KEYS


@pytest.mark.behaviour("message-seven-keys")
@every
def test_a_body_is_plain_data_that_any_json_reader_understands(message, expected):
    assert type(message.body) is dict
    assert json.loads(json.dumps(message.body)) == expected


@pytest.mark.behaviour("message-arguments")
def test_empty_arguments_are_given_arguments():
    assert Message(()).body["content"] == {"args": [()]}
    assert Message(None).body["content"] == {"args": [None]}
    assert Message(kwds=None).body["content"] == {"kwds": {"kwds": None}}


class Alarm(Message):
    """A type that a user defines."""

    type = "alarm"
    name = "fire"
    category = "rpc"


@pytest.mark.behaviour("message-types")
def test_types_are_free():
    assert Alarm(3).body == body("alarm", "fire", {"args": [3]}, "rpc")


@pytest.mark.behaviour("message-types")
@pytest.mark.parametrize(
    ("message_class", "type_", "category"),
    [
        (Message, "none", "message"),
        (MessageCommand, "command", "message"),
        (RpcCommand, "command", "rpc"),
        (MessageStatus, "status", "message"),
        (MessageResult, "result", "message"),
        (MessageResultError, "result", "message"),
        (MessageResultException, "result", "message"),
    ],
)
def test_the_predefined_types_and_categories(message_class, type_, category):
    assert (message_class.type, message_class.category) == (type_, category)


@pytest.mark.behaviour("message-command")
@pytest.mark.parametrize("message_class", [MessageCommand, RpcCommand])
def test_the_name_of_a_command_is_its_text(message_class):
    assert message_class(7).body["name"] == "7"
    assert message_class("echo").body["name"] == "echo"


@pytest.mark.behaviour("message-command")
@pytest.mark.parametrize("message_class", [MessageCommand, RpcCommand])
@pytest.mark.parametrize("parameters", [None, 0, "", [], {}, {"a": 1}, "text"])
def test_the_parameters_of_a_command_are_kept_as_they_are(message_class, parameters):
    assert message_class("echo", parameters).body["content"] == {"parameters": parameters}
    assert message_class("echo", parameters=parameters) == message_class("echo", parameters)


@pytest.mark.behaviour("message-command")
@pytest.mark.parametrize("message_class", [MessageCommand, RpcCommand])
def test_the_default_parameters_are_not_shared(message_class):
    message_class("first").body["content"]["parameters"]["left"] = "behind"

    assert message_class("second").body["content"]["parameters"] == {}


@pytest.mark.behaviour("message-seven-keys")
@pytest.mark.parametrize("key", ["fingerprint", "content", "_reserved"])
def test_no_two_messages_share_a_part(key):
    Message().body[key]["left"] = "behind"

    assert Message().body[key] == {}


@pytest.mark.behaviour("message-fingerprint")
def test_fingerprint_merges_keywords():
    message = Message()
    message.fingerprint(name="a", pid="1")
    message.fingerprint(name="b", colour="red")

    assert message.body["fingerprint"] == {"name": "b", "pid": "1", "colour": "red"}


@pytest.mark.behaviour("message-fingerprint")
def test_fingerprint_takes_one_dictionary_or_both():
    message, known = Message(), {"name": "a", "pid": "1"}
    message.fingerprint(known)
    message.fingerprint({"pid": "2", "host": "x"}, host="y", values="z")

    assert message.body["fingerprint"] == {"name": "a", "pid": "2", "host": "y", "values": "z"}
    assert known == {"name": "a", "pid": "1"}


class Gauge:
    """An object whose text is its state."""

    def __str__(self):
        return "at 70 %"


@pytest.mark.behaviour("message-status")
@pytest.mark.parametrize(
    ("status", "name"), [("online", "online"), (200, "200"), (None, "None"), (Gauge(), "at 70 %")]
)
def test_the_name_of_a_status_is_the_status(status, name):
    assert MessageStatus(status).body == body("status", name, {})


@pytest.mark.behaviour("message-results")
@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1]}, "text"])
def test_the_value_of_a_result_is_kept_as_it_is(value):
    assert MessageResult(value).body == result("success", value)


@pytest.mark.behaviour("message-truth-and-equality")
@every
def test_only_error_and_exception_results_are_false(message, expected):
    true = expected["content"].get("type") not in ("error", "exception")

    assert bool(message) is message.boolean_value is true


@pytest.mark.behaviour("message-truth-and-equality")
def test_messages_are_equal_when_their_bodies_are():
    assert MessageCommand("a", {"b": 1}) == MessageCommand("a", {"b": 1})
    assert MessageCommand("a", {}) == MessageCommand("a")
    assert MessageCommand("a") != MessageCommand("b")
    assert MessageCommand("a") != RpcCommand("a")
    assert MessageResultError("x") == MessageResultError("x")


@pytest.mark.behaviour("message-truth-and-equality")
@pytest.mark.parametrize("other", [None, 1, "text", {}, Message().body, object()])
def test_comparing_with_something_else_is_simply_false(other):
    assert (Message() == other) is False
    assert (other == Message()) is False
    assert Message() != other


@pytest.mark.behaviour("message-truth-and-equality")
@every
def test_str_shows_the_body(message, expected):
    assert str(message) == str(expected)
    assert str(expected) in repr(message)


def test_messages_cannot_be_hashed_because_they_can_change():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Message())


values = st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.just({"a": None})
results = (
    st.builds(MessageResult, values, st.text())
    | st.builds(MessageResultError, st.text())
    | st.builds(MessageResultException, st.text(), st.text())
)


@pytest.mark.behaviour("message-results")
@given(sent=results)
def test_a_result_is_rebuilt_from_its_body_as_the_class_it_was(sent):
    got = result_from(json.loads(json.dumps(sent.body)))

    assert got == sent
    assert type(got) is type(sent)


MALFORMED = [
    *(None, 1, "text", [], {}, [1, 2], {"content": None}, {"content": 5}, {"content": []}),
    {"content": {"type": "success", "value": 1}},
    {"content": {"type": "success", "message": ""}},
    {"content": {"type": "triumph", "value": 1, "message": ""}},
    {"content": {"type": ["success"], "value": 1, "message": ""}},
    {"content": "x" * 10_000},
]


@pytest.mark.parametrize("reply", MALFORMED, ids=lambda reply: repr(reply)[:30])
def test_a_body_without_a_result_is_a_malformed_reply(reply):
    got = result_from(reply)

    assert type(got) is MessageResultError
    assert got.message.startswith("Malformed reply ")
    assert len(got.message) < 600


# --- the parts of a result


RESULTS = [
    (MessageResult([1], "done"), "success", [1], "done"),
    (MessageResultError("no such user"), "error", None, "no such user"),
    (MessageResultException("KeyError", "'x'"), "exception", "KeyError", "'x'"),
]


@pytest.mark.parametrize(("result", "kind", "value", "text"), RESULTS, ids=str)
def test_a_result_gives_its_kind_value_and_message(result, kind, value, text):
    assert (result.kind, result.value, result.message) == (kind, value, text)


def test_unwrap_returns_the_value_of_a_success():
    assert MessageResult({"a": 1}).unwrap() == {"a": 1}
    assert MessageResult(None).unwrap() is None


@pytest.mark.parametrize(
    ("result", "kind", "name", "words"),
    [
        (MessageResultError("no such user"), "error", "", "with an error: no such user"),
        (MessageResultException("KeyError", "'x'"), "exception", "KeyError", "KeyError: 'x'"),
    ],
    ids=str,
)
def test_unwrap_raises_the_error_of_the_server(result, kind, name, words):
    with pytest.raises(RemoteError, match=words) as caught:
        result.unwrap()

    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (error.kind, error.name, error.text) == (kind, name, result.message)
    assert str(error) == str(caught.value)


# --- the check of a body


TEXTS = KEYS[:4]


def changed(**changes):
    """Return the body of a command with *changes*."""
    return MessageCommand("sum", {"a": 1}).body | changes


@pytest.mark.behaviour("message-seven-keys", "message-types")
@pytest.mark.parametrize(
    "message",
    [
        *(Message(), MessageCommand("a"), RpcCommand("a"), MessageStatus("a"), MessageResult(1)),
        *(MessageResultError(""), MessageResultException("", "")),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_of_ours_is_one(message):
    assert check_body(message.body) is message.body


def test_keys_of_a_later_form_are_let_through():
    assert check_body(changed(trace="1"))["trace"] == "1"


@pytest.mark.behaviour("message-types")
def test_types_and_names_are_free():
    assert check_body(changed(type="", name=""))
    assert check_body(changed(type="alarm", name="f\u00fcr \u20ac"))


@pytest.mark.behaviour("message-types", "message-outcomes")
@pytest.mark.parametrize("category", ["", "MESSAGE", "RPC", "event", "rpc ", "x" * 10_000])
def test_categories_are_not(category):
    with pytest.raises(MalformedMessage, match=r"category .* is none of") as caught:
        check_body(changed(category=category))
    assert len(str(caught.value)) < 100


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("version", ["1", "3", "", "2.0", " 2", "2" * 10_000])
def test_no_other_version_is_understood(version):
    with pytest.raises(MalformedMessage, match=r"version .* is not '2'") as caught:
        check_body(changed(version=version))
    assert len(str(caught.value)) < 100


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("other", [None, 1, 1.5, True, "text", b"bytes", [], [1, 2], ()])
def test_a_body_other_than_an_object_is_malformed(other):
    with pytest.raises(MalformedMessage, match=f"is a {type(other).__name__}, not an object"):
        check_body(other)


NEEDED = {"type": "text", "name": "text", "category": "text", "content": {"nested": {}}}
FILLED = {"version": "2", "fingerprint": {}, "_reserved": {}}


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("key", NEEDED)
def test_the_keys_that_say_what_to_do_are_required(key):
    incomplete = changed()
    del incomplete[key]

    with pytest.raises(MalformedMessage, match=f"the key '{key}' is missing"):
        check_body(incomplete)


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("value", [None, 2, 2.0, True, [], ["a"], "other"], ids=repr)
@pytest.mark.parametrize("key", NEEDED)
def test_each_of_them_must_have_its_kind_of_value(key, value):
    if value == "other":
        value = {"nested": {}} if isinstance(NEEDED[key], str) else "text"

    with pytest.raises(MalformedMessage, match=f"'{key}' is a {type(value).__name__}, not a "):
        check_body(changed(**{key: value}))


@pytest.mark.behaviour("message-seven-keys", "other-languages")
@pytest.mark.parametrize("keys", [["version"], ["fingerprint"], ["_reserved"], list(FILLED)])
def test_the_other_keys_are_filled_in_if_they_are_missing(keys):
    body = {key: value for key, value in changed(extra=1).items() if key not in keys}

    assert check_body(body) == changed(extra=1)


@pytest.mark.behaviour("message-seven-keys", "other-languages")
@pytest.mark.parametrize("value", [None, 2, 3, 2.0, True, [], ["2"]], ids=repr)
@pytest.mark.parametrize("key", FILLED)
def test_a_value_of_another_type_is_replaced(key, value):
    assert check_body(changed(**{key: value})) == changed(**{key: FILLED[key]})


@pytest.mark.behaviour("message-seven-keys", "other-languages")
def test_text_is_no_fingerprint_and_an_object_no_version():
    assert check_body(changed(fingerprint="x", _reserved="x", version={"v": "2"})) == changed()


@pytest.mark.behaviour("message-seven-keys")
def test_what_was_filled_in_is_not_shared():
    first, second = (check_body({k: changed()[k] for k in NEEDED}) for _ in range(2))
    first["fingerprint"]["name"] = "first"

    assert second["fingerprint"] == first["_reserved"] == {}


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["2", "rpc", "message"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=12,
)


class Text(str):
    """A string that a user's encoder may return."""

    __slots__ = ()


class Table(dict):
    """An object that a user's encoder may return."""


@pytest.mark.behaviour("message-seven-keys")
def test_subclasses_of_str_and_dict_are_understood():
    kinds = {key: Text if isinstance(value, str) else Table for key, value in changed().items()}
    odd = Table({key: kinds[key](value) for key, value in changed().items()})

    assert check_body(odd) is odd
    with pytest.raises(MalformedMessage, match="version"):
        check_body(odd | {"version": Text("3")})


@given(value=anything)
def test_any_value_is_a_message_or_malformed(value):
    try:
        assert check_body(value) is value
        assert [type(value[key]) for key in KEYS] == [type(changed()[key]) for key in KEYS]
    except MalformedMessage as exc:
        reason = str(exc)
    else:
        reason = "none"
    assert reason
