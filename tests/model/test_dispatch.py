"""Dispatch: which handlers run, what they get, and the verdict on the message."""

from __future__ import annotations

import logging
import types

import gevent
import greenlet
import pytest

from postage.dispatch import HandlerKilled, NextAction, Verdict, dispatch
from postage.encoding import JsonEncoder
from postage.errors import FilterError, RejectMessage
from postage.handlers import Handler, MessageFilter
from tests.support.bound import bound
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

FAILURES = [
    *(ValueError("bad"), KeyError("x"), RecursionError(), MemoryError(), AssertionError()),
    *(KeyboardInterrupt(), SystemExit(3), GeneratorExit(), greenlet.GreenletExit()),
    *(gevent.Timeout(1), BaseException("anything"), Speechless(), FilterError("not by a filter")),
    RejectMessage("not for me"),
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
