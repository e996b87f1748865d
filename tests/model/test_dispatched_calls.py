"""Dispatch of calls: who answers, with what, and what a reply function does."""

from __future__ import annotations

import types

import gevent
import pytest

from postage.dispatch import Reply, Verdict, dispatch
from postage.encoding import JsonEncoder
from postage.errors import EncodingError, FilterError, RejectMessage
from postage.handlers import Handler
from postage.message import Message, MessageResult, MessageResultException
from tests.support.dispatched import (
    CONTENT,
    ENDINGS,
    Speechless,
    command,
    discard,
    filtered,
    on_content,
    raising,
)


def ask(*handlers, **options):
    """Dispatch a call to *handlers*; return the outcome and the answers that were sent."""
    answers: list[object] = []
    return dispatch(
        command(), on_content(*handlers), reply=Reply(answers.append), **options
    ), answers


def exception(name, text):
    """Return the answers of a call that failed."""
    return [MessageResultException(name, text)]


@pytest.mark.behaviour("rpc-handlers")
def test_an_rpc_handler_gets_content_and_reply_function():
    outcome, answers = ask(lambda content, reply: reply(content["parameters"]["list"]))

    assert answers == [[1, 2]]
    assert (outcome.verdict, outcome.failures) == (Verdict.ACK, [])


@pytest.mark.behaviour("rpc-handlers")
def test_code_after_the_reply_still_runs():
    ran = []
    _, answers = ask(lambda content, reply: (reply(1), ran.append("after")))

    assert (answers, ran) == ([1], ["after"])


@pytest.mark.behaviour("several-handlers")
def test_of_several_handlers_of_a_call_only_the_last_one_answers():
    _, answers = ask(lambda _, reply: reply("first"), lambda _, reply: reply("last"))

    assert answers == ["last"]


@pytest.mark.behaviour("rpc-handlers", "message-outcomes")
@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (ValueError("bad"), "bad"),
        (KeyError("x"), "'x'"),
        (ZeroDivisionError(), ""),
        (SystemExit(3), "3"),
        (KeyboardInterrupt(), ""),
        (gevent.Timeout(1), "1 second"),
        (RejectMessage("not for me"), "not for me"),
        (Speechless(), "(its __str__ raised TypeError)"),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, BaseException) else "",
)
def test_an_exception_reaches_the_caller_and_rejects_the_message(exc, text):
    outcome, answers = ask(raising(exc))

    assert answers == exception(type(exc).__name__, text)
    assert (outcome.verdict, outcome.failures) == (Verdict.REJECT, [exc])


@pytest.mark.behaviour("rpc-handlers", "quit-and-restart")
@pytest.mark.parametrize(("exc", "next_action"), ENDINGS, ids=lambda it: getattr(it, "name", None))
def test_a_caller_hears_of_an_ending_too(exc, next_action):
    outcome, answers = ask(raising(exc))

    assert answers == exception(type(exc).__name__, "")
    assert (outcome.verdict, outcome.next_action) == (Verdict.ACK, next_action)


@pytest.mark.behaviour("rpc-handlers")
def test_an_exception_after_the_reply_does_not_send_a_second_one():
    def handler(_, reply):
        reply("fine")
        raise ValueError("too late")

    outcome, answers = ask(handler)

    assert answers == ["fine"]
    assert outcome.verdict is Verdict.REJECT


@pytest.mark.behaviour("rpc-handlers")
def test_a_handler_that_returns_without_reply_is_answered_for():
    outcome, answers = ask(lambda *_: None)

    assert answers == exception("NoReply", "the handler of 'sum' did not reply")
    assert outcome.verdict is Verdict.ACK


@pytest.mark.behaviour("rpc-handlers")
def test_a_call_without_a_handler_is_answered_at_once():
    outcome, answers = ask()

    assert answers == exception("UnknownCommand", "nobody here handles 'sum'")
    assert (outcome.verdict, outcome.handlers) == (Verdict.ACK, 0)


@pytest.mark.behaviour("rpc-handlers")
def test_with_a_shared_key_unknown_calls_are_not_answered():
    outcome, answers = ask(answer_unknown=False)

    assert answers == []
    assert outcome.verdict is Verdict.ACK


@pytest.mark.behaviour("rpc-handlers")
def test_a_handler_may_promise_to_answer_later():
    kept: list[Reply] = []
    _, answers = ask(lambda _, reply: kept.append(reply.later()))
    assert answers == []

    kept[0]("now")
    assert answers == ["now"]


@pytest.mark.behaviour("rpc-handlers")
def test_a_promise_does_not_outlive_an_exception():
    def handler(_, reply):
        reply.later()
        raise ValueError("bad")

    assert ask(handler)[1] == exception("ValueError", "bad")


@pytest.mark.behaviour("rpc-handlers")
def test_an_unencodable_reply_fails_handler_and_caller():
    sent: list[object] = []

    def send(result):
        body = result.body if isinstance(result, Message) else result
        sent.append(JsonEncoder.decode(JsonEncoder.encode(body)))

    outcome = dispatch(
        command(), on_content(lambda _, reply: reply({"when": object()})), reply=Reply(send)
    )

    assert isinstance(outcome.failures[0], EncodingError)
    assert sent[0]["content"]["value"] == "EncodingError"
    assert "when" in sent[0]["content"]["message"]


@pytest.mark.behaviour("filter-errors")
@pytest.mark.parametrize("exc", [FilterError("no"), ValueError("bad")])
def test_a_filter_that_discards_a_call_is_an_exception_result(exc):
    outcome, answers = ask(filtered(lambda *_: pytest.fail("ran"), discard(exc)))

    assert answers == exception(type(exc).__name__, str(exc))
    assert (outcome.verdict, outcome.filtered) == (Verdict.ACK, 1)


@pytest.mark.behaviour("filters")
def test_filters_apply_to_calls():
    handler = filtered(lambda message, reply: reply(message), lambda message: [message])

    assert ask(handler)[1] == [[CONTENT]]


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("value", [0, False, "", [], {"a": 1}, MessageResult(1, "well")], ids=repr)
def test_the_value_that_a_handler_returns_is_its_reply(value):
    outcome, answers = ask(lambda *_: value)

    assert answers == [value]
    assert (outcome.verdict, outcome.failures) == (Verdict.ACK, [])


@pytest.mark.behaviour("rpc-handlers")
def test_a_handler_that_has_replied_may_return_anything():
    assert ask(lambda _, reply: (reply("sent"), "returned"))[1] == ["sent"]


@pytest.mark.behaviour("rpc-handlers")
def test_a_handler_that_replies_later_may_return_anything():
    assert ask(lambda _, reply: (reply.later(), "returned"))[1] == []


@pytest.mark.behaviour("handler-classes", "rpc-handlers")
def test_the_value_returned_by_a_handler_class_is_the_reply():
    class Doubled(Handler):
        def call(self):
            return self.data["parameters"]["list"] * self.processor

    class Silent(Handler):
        def call(self):
            pass

    assert ask(types.MethodType(Doubled, 2))[1] == [[1, 2, 1, 2]]
    assert ask(types.MethodType(Silent, 2))[1] == exception(
        "NoReply", "the handler of 'sum' did not reply"
    )


@pytest.mark.behaviour("rpc-handlers")
def test_a_returned_value_that_cannot_be_sent_fails():
    def send(result):
        if not isinstance(result, MessageResultException):
            raise EncodingError("cannot send this")

    outcome = dispatch(command(), on_content(lambda *_: object()), reply=Reply(send))

    assert isinstance(outcome.failures[0], EncodingError)
    assert outcome.verdict is Verdict.REJECT


# --- the reply function


@pytest.fixture
def sent():
    return []


@pytest.fixture
def reply(sent):
    return Reply(sent.append)


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("value", [None, 0, "", {"a": 1}])
def test_any_value_is_sent(reply, sent, value):
    reply(value)

    assert sent == [value]
    assert not reply.is_due


@pytest.mark.behaviour("rpc-handlers")
def test_a_second_reply_is_counted_logged_and_dropped(sent, caplog):
    dropped = []
    reply = Reply(sent.append, lambda: dropped.append("one"))
    for value in (1, 2, 3):
        reply(value)

    assert (sent, len(dropped)) == ([1], 2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.behaviour("rpc-handlers")
def test_a_reply_is_due_until_it_was_sent_or_promised(reply, sent):
    assert reply.is_due
    assert reply.later() is reply
    assert not reply.is_due

    reply("late")
    assert sent == ["late"]


@pytest.mark.behaviour("rpc-handlers")
def test_a_reply_that_could_not_be_sent_can_be_tried_again():
    attempts = []

    def send(value):
        attempts.append(value)
        if len(attempts) == 1:
            raise ValueError(value)

    reply = Reply(send)
    with pytest.raises(ValueError, match="first"):
        reply("first")
    assert reply.is_due

    reply("second")
    assert (attempts, reply.sent) == (["first", "second"], True)
