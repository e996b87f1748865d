"""The AsyncAPI documents of services: valid, and true of what the services accept."""

from __future__ import annotations

import copy
import functools
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postage import MessageCommand, Service, SettingsError, rpc
from postage.errors import BadParameters
from postage.message import MessageResult, MessageResultException, RpcCommand, command_from
from postage.services.contract.document import Served, document_of
from tests.support.contracts import Classic, Sink, as_json, resolved

jsonschema = pytest.importorskip("jsonschema")
ASYNCAPI = Path(__file__).parent / "asyncapi" / "3.0.0.json.gz"
DOCUMENT = as_json(document_of([Served.of(Sink), Served.of(Classic)], title="sinks"))
OPERATIONS = DOCUMENT["operations"]
TYPED = sorted(name for name, each in OPERATIONS.items() if "schema" in each["x-postage"])


def refs_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from refs_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from refs_in(each)


def validator_of(payload: dict[str, Any]) -> Any:
    schema = {**payload, "components": DOCUMENT["components"]}
    return jsonschema.Draft7Validator(schema)


@functools.cache
def accepts(operation: str) -> Any:
    """Return the validator of what *operation* takes."""
    return validator_of(payload_of(operation))


def payload_of(operation: str) -> dict[str, Any]:
    ref = OPERATIONS[operation]["messages"][0]["$ref"]
    return resolved(DOCUMENT, resolved(DOCUMENT, ref)["$ref"])["payload"]


@pytest.fixture(scope="module")
def asyncapi() -> Any:
    return jsonschema.Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes())))


@pytest.mark.parametrize("served", [[Sink, Classic], [Sink], [Classic], []], ids=len)
def test_asyncapi_accepts_every_export(served: Any, asyncapi: Any):
    document = as_json(document_of(map(Served.of, served), title="x", description="y"))

    asyncapi.validate(document)


def test_asyncapi_refuses_another_document(asyncapi: Any):
    document = copy.deepcopy(DOCUMENT)
    document["operations"]["Sink.total"]["action"] = "take"

    assert not asyncapi.is_valid(document)


def test_every_reference_leads_somewhere():
    for ref in refs_in(DOCUMENT):
        resolved(DOCUMENT, ref)


def test_every_schema_is_one_of_draft_07():
    for each in DOCUMENT["components"]["messages"].values():
        jsonschema.Draft7Validator.check_schema(each["payload"])
    for each in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(each)


def test_examples_fit_their_messages():
    messages = DOCUMENT["components"]["messages"]
    for name, each in messages.items():
        for example in each["examples"]:
            validator_of(each["payload"]).validate(example["payload"])
            if name in TYPED and example["payload"]["category"] == "rpc":
                signature = Sink.signatures[OPERATIONS[name]["x-postage"]["method"]]
                signature.arguments(example["payload"]["content"].get("parameters", {}))


def test_a_call_says_what_it_may_answer():
    reply = OPERATIONS["Sink.numbers"]["reply"]
    messages = [
        resolved(DOCUMENT, resolved(DOCUMENT, m["$ref"])["$ref"]) for m in reply["messages"]
    ]

    assert [each["name"] for each in messages] == [
        "numbers: success",
        "Gone",
        "BadParameters",
        "exception",
    ]
    assert messages[1]["summary"] == "It is not here any longer."
    answers = [
        MessageResult("5.5"),
        MessageResultException("Gone", "bye"),
        MessageResultException("BadParameters", "i: is missing"),
        MessageResultException("ServerError", "4f2a"),
    ]
    for answer in answers:  # each fits exactly one message
        fitting = [
            each["name"] for each in messages if validator_of(each["payload"]).is_valid(answer.body)
        ]
        assert len(fitting) == 1, answer.body


def test_docstrings_and_events_are_told():
    assert OPERATIONS["Sink.numbers"]["description"] == "Add numbers.\n\nAll of them."
    assert OPERATIONS["Sink.numbers"]["summary"] == "Add numbers."
    assert OPERATIONS["Sink.Order"]["x-postage"]["kind"] == "event"
    assert OPERATIONS["Sink.Line"]["action"] == "send"
    address = resolved(DOCUMENT, OPERATIONS["Sink.Line"]["channel"]["$ref"])["address"]
    assert address == "Line"


def test_of_classic_handlers_name_kind_and_doc_are_known():
    told = {name: each["x-postage"] for name, each in OPERATIONS.items()}

    assert told["Classic.sum"] == {
        "service": "Classic", "kind": "rpc", "name": "sum", "type": "command", "method": "sum",
    }  # fmt: skip
    assert OPERATIONS["Classic.sum"]["summary"] == "Add."
    assert told["Sink.any_status"]["name"] is None
    assert not {name for name in told if "quit" in name or "describe" in name}
    for body in (RpcCommand("sum", [1, 2]).body, RpcCommand("sum").body):
        accepts("Classic.sum").validate(body)


SENT: list[tuple[str, MessageCommand]] = [
    ("numbers", command_from(RpcCommand, "numbers", 1)),
    ("numbers", command_from(RpcCommand, "numbers", 1, 2.5)),
    ("numbers", command_from(RpcCommand, "numbers", 1 << 70, b=True)),
    ("numbers", command_from(RpcCommand, "numbers", i=1, d="9.99")),
    ("total", command_from(RpcCommand, "total", 1, 2)),
    ("total", command_from(RpcCommand, "total", [1, 2])),
    ("total", command_from(RpcCommand, "total", numbers=[1])),
    ("nothing", command_from(RpcCommand, "nothing")),
    ("anything", command_from(RpcCommand, "anything", {"a": 1})),
    ("placed", command_from(RpcCommand, "placed", 1, "b", c="x")),
    ("tree", command_from(RpcCommand, "tree", node={"name": "a", "children": [{"name": "b"}]})),
    ("tree", command_from(RpcCommand, "tree", {"name": "a"})),
    ("restock", command_from(MessageCommand, "restock", "bolt", 3)),
]


@pytest.mark.parametrize("index", range(len(SENT)))
def test_what_producers_send_fits(index: int):
    name, message = SENT[index]
    message.fingerprint({"name": "client", "pid": "1"})

    Sink.signatures[name].arguments(message.body["content"].get("parameters", {}))
    accepts(f"Sink.{name}").validate(message.body)


# --- fuzzed

GOOD: list[Any] = [
    1, -1, 1 << 80, 160, 9, 0.5, "x", "red", "abcde", True, None, "9.99", "AAAA", "a===",
    "2026-01-31", "2026-01-31T12:30:00", "2026-01-31T12:30:00Z", "12:30:00", "PT1H",
    "5f6cd9e2-6f3b-4a57-9d1c-2f0c1f3f7a10", [], [1], [1, 2], [1, 2, 3], ["a"], ["a", 1], [1, "a"],
    ["a", 0.5], ["a", 0.5, None], {}, {"x": 1}, {"x": "a"}, {"1": "a"}, {"a": 1}, {"name": "a"},
    {"name": "a", "children": [{"name": "b"}, {}]}, {"name": "a", "children": [{"name": "b"}]},
    {"lines": [{"item": "a", "count": 2}], "note": None, "color": "blue", "new": 1},
    {"lines": [{"item": 1}]}, {"lines": [], "color": "green"}, {"type": "Cat", "lives": 10},
    {"type": "Cat", "lives": 2}, {"type": "Cat", "more": 2}, {"type": "Dog", "loudBark": True},
    [{"type": "Dog", "loudBark": True}], {"type": "Cow"},
]  # fmt: skip
NAMES = sorted({each.name for s in Sink.signatures.values() for each in s.parameters} | {"other"})
values = st.sampled_from(GOOD)
parameters = st.one_of(
    values,
    st.lists(values, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
    st.fixed_dictionaries(
        {
            "args": st.one_of(st.lists(values, max_size=3), values),
            "kwds": st.one_of(st.dictionaries(st.sampled_from(NAMES), values, max_size=3), values),
        }
    ),
)


@pytest.mark.parametrize("operation", TYPED)
@settings(max_examples=25)
@given(data=st.data())
def test_it_says_what_the_service_accepts(operation: str, data: st.DataObject):
    told = OPERATIONS[operation]["x-postage"]
    signature = Sink.signatures[told["method"]]
    names = [each["name"] for each in told["parameters"]]
    known = st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))
    sent = data.draw(st.one_of(parameters, known, st.lists(values, max_size=len(names))))
    message = RpcCommand(told["name"], sent)
    message.body["category"] = "rpc" if told["kind"] == "rpc" else "message"

    is_told = accepts(operation).is_valid(message.body)

    try:
        signature.arguments(sent)
    except BadParameters:
        # A format of a text, and base64, are remarks in JSON Schema, which a validator may ignore.
        if is_told:
            assert told["method"] in {"texts", "times", "numbers"}, sent
    else:
        assert is_told, sent


# --- names


def made(module: str, **namespace: Any) -> type[Service]:
    return type("Twin", (Service,), {"__module__": module, **namespace})


def test_two_components_of_one_name_are_refused():
    twins = [Served.of(made("a")), Served.of(made("b"))]

    with pytest.raises(SettingsError, match=r"two components are called Twin, a\.Twin and b\.Twin"):
        document_of(twins, title="x")


def test_types_of_one_name_are_told_apart():
    first, second = (make_dataclass("Same", [("x", hint)]) for hint in (int, str))
    first.__module__, second.__module__ = "a", "b"

    def both(self, a, b): ...

    both.__annotations__ = {"a": first, "b": second, "return": None}
    kind = type("Both", (Service,), {"both": rpc(both)})

    schemas = document_of([Served.of(kind)], title="x")["components"]["schemas"]

    assert schemas["a.Same"]["properties"] == {"x": {"type": "integer"}}
    assert schemas["b.Same"]["properties"] == {"x": {"type": "string"}}
    assert "Same" not in schemas


class Number(msgspec.Struct, tag=True):
    value: int


class Sum(msgspec.Struct, tag=True):
    parts: tuple[Term, Term, Term, Term]


class Product(msgspec.Struct, tag=True):
    parts: tuple[Term, Term, Term, Term]


Term = Sum | Product | Number


KINDS = {
    f"Kind{n}": msgspec.defstruct(
        f"Kind{n}", [(name, "Tree") for name in "abcd"], tag=True, module=__name__
    )
    for n in range(12)
}
globals().update(KINDS)
Tree = Union[(*KINDS.values(), Number)]


class Pair(msgspec.Struct):
    left: Pair | None
    right: Pair | None


class Endless(msgspec.Struct):
    inner: Endless


@dataclass
class Wide:
    rows: Annotated[list[int], msgspec.Meta(min_length=10**7)]


class Recursive(Service):
    queue = "recursive"

    @rpc
    def reduce(self, term: Term) -> None: ...

    @rpc
    def mirror(self, pair: Pair) -> None: ...

    @rpc
    def prune(self, tree: Tree) -> None: ...

    @rpc
    def never(self, endless: Endless) -> None: ...

    @rpc
    def widen(self, wide: Wide) -> None: ...


def test_examples_of_recursive_types_are_small():
    messages = document_of([Served.of(Recursive)], title="r")["components"]["messages"]

    def given(name: str) -> Any:
        example = messages[f"Recursive.{name}"]["examples"][0]["payload"]
        return example["content"]["parameters"]

    number = {"type": "Number", "value": 1}
    product = {"type": "Product", "parts": [number] * 4}
    assert given("reduce") == {"term": {"type": "Sum", "parts": [product] * 4}}
    assert given("prune") == {"tree": {"type": "Kind0", **dict.fromkeys("abcd", number)}}
    assert given("mirror") == {"pair": {"left": None, "right": None}}
    for name in ("never", "widen"):
        assert "examples" not in messages[f"Recursive.{name}"]
