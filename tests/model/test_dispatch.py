"""Dispatch: which handlers run, what they get, and the verdict on the message."""

from __future__ import annotations

import functools
import logging
import types

import gevent
import greenlet
import pytest

from postage.dispatch import HandlerKilled, NextAction, Reply, Verdict, dispatch
from postage.encoding import JsonEncoder
from postage.errors import AckAndRestart, EncodingError, ExitScheduler, FilterError, RejectMessage
from postage.handlers import Handler, MessageFilter
from postage.message import Message, MessageCommand, MessageResult, MessageResultException
from tests.support.bound import bound

CONTENT = {"parameters": {"list": [1, 2]}}


def command(name="sum", parameters=None):
    """Return the body of a command."""
    return MessageCommand(name, parameters or {"list": [1, 2]}).body


def raising(exc):
    """Return a handler that raises *exc*."""

    def handler(*_):
        raise exc

    return handler


def on_content(*handlers):
    """Return *handlers* as dispatch takes them, for the content of a message."""
    return [bound(handler) for handler in handlers]


class Speechless(Exception):
    def __str__(self):
        raise TypeError("no words")


FAILURES = [
    *(ValueError("bad"), KeyError("x"), RecursionError(), MemoryError(), AssertionError()),
    *(KeyboardInterrupt(), SystemExit(3), GeneratorExit(), greenlet.GreenletExit()),
    *(gevent.Timeout(1), BaseException("anything"), Speechless(), FilterError("not by a filter")),
    RejectMessage("not for me"),
]
ENDINGS = [
    (StopIteration(), NextAction.STOP),
    (ExitScheduler(), NextAction.EXIT),
    (AckAndRestart(), NextAction.RESTART),
]


# --- messages


@pytest.mark.behaviour("message-outcomes")
def test_a_message_that_was_handled_is_acknowledged():
    got = []
    outcome = dispatch(command(), on_content(got.append))

    assert got == [CONTENT]
    assert (outcome.verdict, outcome.next_action, outcome.failures) == (
        Verdict.ACK,
        NextAction.CONTINUE,
        [],
    )
    assert (outcome.name, outcome.handlers, outcome.filtered) == ("sum", 1, 0)


@pytest.mark.behaviour("message-outcomes")
def test_a_message_without_a_handler_is_acknowledged():
    outcome = dispatch(command(), [])

    assert (outcome.verdict, outcome.handlers) == (Verdict.ACK, 0)


@pytest.mark.behaviour("several-handlers")
def test_all_handlers_run_in_the_order_given():
    got: list[str] = []
    dispatch(command(), on_content(*(lambda _, n=n: got.append(n) for n in "abc")))

    assert got == ["a", "b", "c"]


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("exc", FAILURES, ids=lambda exc: type(exc).__name__)
def test_a_raising_handler_rejects_and_the_others_run(exc):
    got = []
    outcome = dispatch(command(), on_content(got.append, raising(exc), got.append))

    assert (outcome.verdict, outcome.next_action) == (Verdict.REJECT, NextAction.CONTINUE)
    assert outcome.failures == [exc]
    assert got == [CONTENT, CONTENT]


@pytest.mark.behaviour("quit-and-restart")
@pytest.mark.parametrize(("exc", "next_action"), ENDINGS, ids=lambda it: getattr(it, "name", None))
def test_an_ending_acknowledges_and_sets_the_next_action(exc, next_action):
    got = []
    outcome = dispatch(command(), on_content(raising(exc), got.append))

    assert (outcome.verdict, outcome.next_action, outcome.failures) == (
        Verdict.ACK,
        next_action,
        [],
    )
    assert got == [CONTENT]


@pytest.mark.behaviour("quit-and-restart")
def test_of_several_wishes_the_greatest_wins():
    handlers = on_content(*(raising(exc) for exc, _ in (ENDINGS[2], ENDINGS[0], ENDINGS[1])))

    assert dispatch(command(), handlers).next_action is NextAction.RESTART


@pytest.mark.behaviour("quit-and-restart")
def test_an_ending_does_not_hide_a_failure():
    outcome = dispatch(command(), on_content(raising(StopIteration()), raising(ValueError())))

    assert (outcome.verdict, outcome.next_action) == (Verdict.REJECT, NextAction.STOP)


def test_abandoned_passes_through_without_a_verdict():
    got: list[object] = []
    with pytest.raises(HandlerKilled):
        dispatch(command(), on_content(raising(HandlerKilled()), got.append))

    assert got == []


@pytest.mark.behaviour("message-outcomes")
def test_a_failure_is_logged_once_with_its_traceback(caplog):
    dispatch(command(), on_content(raising(ValueError("bad"))))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "raising.<locals>.handler failed on the message 'sum'" in record.getMessage()
    assert record.exc_info
    assert str(record.exc_info[1]) == "bad"


@pytest.mark.behaviour("message-outcomes")
def test_a_rejection_is_logged_without_a_traceback(caplog):
    caplog.set_level(logging.INFO)
    dispatch(command(), on_content(raising(RejectMessage("not for me"))))

    (record,) = caplog.records
    assert "rejected the message 'sum': not for me" in record.getMessage()
    assert not record.exc_info


# --- copies


@pytest.mark.behaviour("several-handlers")
@pytest.mark.parametrize("part", ["content", None])
def test_each_handler_gets_its_own_deep_copy(part):
    got = []

    def spoil(message):
        got.append(message)
        content = message if part else message["content"]
        assert content == CONTENT
        content["parameters"]["list"].append("spoiled")
        content.clear()

    outcome = dispatch(command(), [bound(spoil, part)] * 3)

    assert outcome.failures == []
    assert len({id(message) for message in got}) == 3


@pytest.mark.behaviour("several-handlers")
def test_a_content_handler_cannot_change_the_body_of_another():
    got = []
    dispatch(command(), [bound(dict.clear), bound(got.append, None)])

    assert got == [command()]


@pytest.mark.behaviour("several-handlers")
def test_the_deepest_body_that_decodes_can_be_copied():
    depth = JsonEncoder.max_depth - 2
    body = command(parameters=JsonEncoder.decode("[" * depth + "]" * depth))
    got = []
    outcome = dispatch(body, on_content(got.append, got.append))

    assert (outcome.failures, len(got)) == ([], 2)


class Uncopied:
    """A type that a user's encoder may return."""

    def __deepcopy__(self, memo):
        raise TypeError("there is only one of me")


@pytest.mark.behaviour("message-outcomes")
def test_a_copy_that_fails_is_a_failure_of_that_handler():
    got = []
    outcome = dispatch(command(parameters=Uncopied()), on_content(got.append, got.append))

    assert (outcome.verdict, len(outcome.failures), len(got)) == (Verdict.REJECT, 1, 1)


# --- filters


def filtered(handler, *filters):
    """Return a handler like *handler* with *filters*, the innermost first."""

    @functools.wraps(handler)
    def with_filters(*args):
        handler(*args)

    for each in filters:
        MessageFilter(each)(with_filters)
    return with_filters


def discard(exc):
    """Return a filter that raises *exc*."""
    return raising(exc)


@pytest.mark.behaviour("filters")
def test_the_handler_gets_the_filtered_message():
    got: list[object] = []
    handler = filtered(got.append, lambda m: [m, "inner"], lambda m: [m, "outer"])
    dispatch(command(), on_content(handler))

    assert got == [[[CONTENT, "inner"], "outer"]]


@pytest.mark.behaviour("filters")
def test_a_filter_cannot_spoil_the_message_for_other_handlers():
    got: list[object] = []
    spoiled = filtered(got.append, lambda m: m.clear() or "spoiled")
    dispatch(command(), on_content(spoiled, got.append, spoiled))

    assert got == ["spoiled", CONTENT, "spoiled"]


@pytest.mark.behaviour("filter-errors")
@pytest.mark.parametrize("exc", [FilterError("no"), ValueError("bad"), StopIteration(), KeyError()])
def test_a_filter_exception_discards_for_that_handler_only(exc):
    got: list[object] = []
    handler = filtered(lambda m: got.append("wrong"), discard(exc), lambda m: got.append("wrong"))
    outcome = dispatch(command(), on_content(handler, got.append))

    assert got == [CONTENT]
    assert (outcome.verdict, outcome.filtered, outcome.failures) == (Verdict.ACK, 1, [])
    assert outcome.next_action is NextAction.CONTINUE


@pytest.mark.behaviour("filters")
def test_filters_of_a_handler_class_apply():
    got: list[object] = []

    @MessageFilter(lambda message: [message])
    class Wrapped(Handler):
        def call(self):
            got.append((self.processor, self.data))

    dispatch(command(), on_content(types.MethodType(Wrapped, "processor")))

    assert got == [("processor", [CONTENT])]


# --- calls


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
