"""Answers: whatever a handler does, its caller gets one result."""

from __future__ import annotations

import json
import logging

import gevent
import gevent.event
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.recorder import Answers, Recorder, at
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Answering(Recorder):
    @Answers("command", "after")
    def goes_on(self, content, reply_func):
        reply_func("answered")
        gevent.sleep(0.01)
        self.seen.append("code after the reply")

    @Answers("command", "result")
    def result(self, content, reply_func):
        reply_func(messaging.MessageResult([1], "well"))

    @Answers("command", "error")
    def error(self, content, reply_func):
        reply_func(messaging.MessageResultError("foreseen"))

    @Answers("command", "exception")
    def exception(self, content, reply_func):
        reply_func(messaging.MessageResultException("OSError", "gone"))

    @Answers("command", "value")
    def value(self, content, reply_func):
        reply_func({"bare": None})

    @Answers("command", "falsy")
    def falsy(self, content, reply_func):
        reply_func(None)

    @Answers("command", "raises")
    def raises(self, content, reply_func):
        raise ZeroDivisionError("by nought")

    @Answers("command", "silent")
    def silent(self, content, reply_func):
        self.seen.append("said nothing")

    @Answers("command", "returned")
    def returned(self, content, reply_func):
        return {"returned": True}

    @Answers("command", "returned_error")
    def returned_error(self, content, reply_func):
        return messaging.MessageResultError("foreseen")

    @Answers("command", "unsendable")
    def unsendable(self, content, reply_func):
        return {"when": object()}

    @Answers("command", "class")
    class Doubling(messaging.Handler):
        def call(self):
            return self.data["parameters"]

    @Answers("command", "later")
    def later(self, content, reply_func):
        gevent.spawn_later(0.05, reply_func.later(), "in my own time")
        self.seen.append("returned")


RESULTS = {
    "after": ("success", "answered", ""),
    "result": ("success", [1], "well"),
    "error": ("error", None, "foreseen"),
    "exception": ("exception", "OSError", "gone"),
    "value": ("success", {"bare": None}, ""),
    "falsy": ("success", None, ""),
    "raises": ("exception", "ZeroDivisionError", "by nought"),
    "silent": ("exception", "NoReply", "the handler of 'silent' did not reply"),
    "returned": ("success", {"returned": True}, ""),
    "returned_error": ("error", None, "foreseen"),
    "unsendable": (
        "exception",
        "EncodingError",
        "cannot send content.value.when as JSON: object is not a JSON type",
    ),
    "class": ("success", {}, ""),
    "later": ("success", "in my own time", ""),
    "unknown": ("exception", "UnknownCommand", "nobody here handles 'unknown'"),
}


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize(("call", "expected"), RESULTS.items(), ids=RESULTS.keys())
def test_whatever_a_handler_does_its_caller_gets_one_result(endpoint, call, expected):
    with running(at(endpoint, Answering)):
        result = getattr(endpoint.producer(), f"rpc_{call}")()

    content = result.body["content"]
    assert (content["type"], content["value"], content["message"]) == expected


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("call", ["after", "later"])
def test_code_after_the_reply_still_runs(endpoint, call):
    processor = at(endpoint, Answering)
    with running(processor):
        assert getattr(endpoint.producer(), f"rpc_{call}")()
        wait_until(lambda: processor.seen, SOON)


@pytest.mark.behaviour("rpc-handlers")
def test_answer_unknown_false_ignores_unhandled_calls(endpoint):
    """One of the two knows the command; the other one's silence leaves the answer to it."""

    class Quiet(Recorder):
        answer_unknown = False

    class Knows(Quiet):
        @Answers("command", "special")
        def special(self, content, reply_func):
            gevent.sleep(0.05)
            reply_func("I know")

    eqks = [endpoint.at((endpoint.sub(name), endpoint.key)) for name in "ab"]
    quiet, knows = at(endpoint, Quiet, eqks[0]), at(endpoint, Knows, eqks[1])
    producer = endpoint.producer()
    with running(quiet, knows):
        assert producer.rpc_special().value == "I know"
        assert producer.rpc_nobody(_timeout=0.2).value == "TimeoutError"

    assert quiet.counts["unhandled"] == 2


@pytest.mark.behaviour("rpc-handlers")
def test_a_second_reply_is_counted_and_dropped(endpoint):
    class Twice(Recorder):
        @Answers("command", "twice")
        def twice(self, content, reply_func):
            reply_func("first")
            reply_func("second")

    processor = at(endpoint, Twice)
    with running(processor):
        producer = endpoint.producer()
        assert [producer.rpc_twice().value for _ in range(3)] == ["first"] * 3
        wait_until(lambda: processor.counts["second_reply"] == 3, SOON)


@pytest.mark.behaviour("rpc-handlers", "message-outcomes")
def test_a_failing_rpc_handler_answers_rejects_and_logs(endpoint, raw, caplog):
    raw.declare(endpoint.dead)
    processor = at(endpoint, Answering, endpoint.strict)
    with running(processor):
        result = endpoint.producer().rpc_raises()
        assert (result.value, result.message) == ("ZeroDivisionError", "by nought")
        assert json.loads(raw.take(endpoint.dead).body)["name"] == "raises"

    assert processor.counts["failed"] == 1
    assert [r.exc_info is not None for r in caplog.records if r.levelno >= logging.ERROR] == [True]
