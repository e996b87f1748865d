"""Filters: what stands before a handler."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

Filters = messaging.MessageFilter
Handles = messaging.MessageHandler


def add(content: Any, what: str, times: int = 1) -> Any:
    """Append to the parameters of a message."""
    content["parameters"].extend([what] * times)
    return content


def shout(body: Any) -> Any:
    """Change a whole body."""
    body["name"] = body["name"].upper()
    return body


def refuse(_content: Any) -> Any:
    raise messaging.FilterError("not for this handler")


def break_down(_content: Any) -> Any:
    raise KeyError("nothing to do with filters")


def replace(_content: Any) -> Any:
    return "something else altogether"


class Filtered(messaging.MessageProcessor):
    concurrency = 1

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @Filters(add, "above")
    @Handles("command", "hello")
    def above(self, content):
        self.seen.append(("above", content["parameters"]))

    @Handles("command", "hello")
    @Filters(add, "below", times=2)
    def below(self, content):
        self.seen.append(("below", content["parameters"]))

    @Filters(add, "outer")
    @Handles("command", "hello")
    @Filters(add, "inner")
    def several(self, content):
        self.seen.append(("several", content["parameters"]))

    @Handles("command", "hello")
    def bare(self, content):
        self.seen.append(("bare", content["parameters"]))

    @Filters(shout)
    @messaging.MessageHandlerFullBody("command", "whole")
    def whole(self, body):
        self.seen.append(body["name"])

    @Filters(replace)
    @Handles("command", "replaced")
    def replaced(self, content):
        self.seen.append(content)

    @Filters(add, "never seen")
    @Filters(refuse)
    @Handles("command", "some")
    def refused(self, content):
        self.seen.append("refused")

    @Filters(break_down)
    @Handles("command", "some")
    def broken(self, content):
        self.seen.append("broken")

    @Handles("command", "some")
    def some(self, content):
        self.seen.append("some")

    @Filters(add, "in a class")
    @Handles("command", "by_class")
    class ByClass(messaging.Handler):
        def call(self):
            self.processor.seen.append(self.data["parameters"])

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])

    @Filters(add, "filtered")
    @messaging.RpcHandler("command", "filtered_echo")
    def filtered_echo(self, content, reply_func):
        reply_func(content["parameters"])

    @Filters(refuse)
    @messaging.RpcHandler("command", "refused_echo")
    def refused_echo(self, content, reply_func):
        self.seen.append("must not run")

    @Filters(break_down)
    @messaging.RpcHandler("command", "broken_echo")
    def broken_echo(self, content, reply_func):
        self.seen.append("must not run")


@pytest.fixture
def filtered(endpoint, raw):
    """The processor, running, and a producer for it."""
    raw.declare(endpoint.dead)
    processor = Filtered({"name": "filtered"}, endpoint.strict)
    with running(processor):
        yield processor, endpoint.producer()


def handled(processor: Filtered, producer: Any) -> list[Any]:
    """Return what *processor* saw of all that was sent before."""
    assert producer.rpc_echo("the end").value == "the end"
    return processor.seen


@pytest.mark.behaviour("filters")
def test_filters_run_innermost_first_on_a_copy(filtered):
    processor, producer = filtered
    producer.message_hello(["x"])

    assert handled(processor, producer) == [
        ("above", ["x", "above"]),
        ("below", ["x", "below", "below"]),
        ("several", ["x", "inner", "outer"]),
        ("bare", ["x"]),
    ]


@pytest.mark.behaviour("filters")
@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("whole", [], "WHOLE"),
        ("replaced", [], "something else altogether"),
        ("by_class", ["x"], ["x", "in a class"]),
    ],
)
def test_what_a_filter_returns_goes_to_the_handler(filtered, name, parameters, expected):
    processor, producer = filtered
    getattr(producer, f"message_{name}")(parameters)

    assert handled(processor, producer) == [expected]


@pytest.mark.behaviour("filters")
def test_a_filter_works_on_an_rpc_handler(filtered):
    _, producer = filtered

    assert producer.rpc_filtered_echo(["x"]).value == ["x", "filtered"]


@pytest.mark.behaviour("filter-errors")
def test_a_filter_exception_discards_for_that_handler_only(filtered, raw, endpoint):
    processor, producer = filtered
    producer.message_some([])

    assert handled(processor, producer) == ["some"]
    assert processor.counts["filtered"] == 2
    assert processor.counts["failed"] == 0
    assert (raw.count(endpoint.queue), raw.count(endpoint.dead)) == (0, 0)  # acknowledged


@pytest.mark.behaviour("filter-errors")
@pytest.mark.parametrize(
    ("call", "name", "said"),
    [
        ("refused_echo", "FilterError", "not for this handler"),
        ("broken_echo", "KeyError", "'nothing to do with filters'"),
    ],
)
def test_an_rpc_that_a_filter_discards_is_an_exception_result(filtered, call, name, said):
    processor, producer = filtered

    result = getattr(producer, f"rpc_{call}")([])

    assert isinstance(result, messaging.MessageResultException)
    assert (result.value, result.message) == (name, said)
    assert handled(processor, producer) == []


@pytest.mark.behaviour("filter-errors")
def test_only_an_unexpected_filter_exception_is_a_warning(filtered, caplog):
    processor, producer = filtered
    producer.message_some([])
    wait_until(lambda: processor.seen, SOON)

    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [("KeyError" in r.getMessage(), bool(r.exc_info)) for r in warnings] == [(True, True)]
