"""Whatever a handler raises or replies, the processor lives and the caller is told."""

from __future__ import annotations

import logging

import pytest

from postage import messaging
from tests.green.bad_input.victim import UNSENDABLE
from tests.support.bad_bodies import body
from tests.support.bad_errors import RAISERS

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("what", RAISERS)
def test_a_message_whose_handler_raises_is_rejected_and_logged(case, what):
    data = body(name="fail", content={"parameters": what})
    case.put(data)

    case.assert_rejected(data)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    (record,) = case.logged(logging.INFO)
    assert "Victim.fail" in record.getMessage()
    if "reject" in what.lower():
        assert (record.levelno, record.exc_info) == (logging.INFO, None)
    else:
        assert record.levelno == logging.ERROR
        assert type(record.exc_info[1]).__name__ == RAISERS[what][0]


@pytest.mark.behaviour("rpc-handlers", "message-outcomes")
@pytest.mark.parametrize("what", RAISERS)
def test_whatever_an_rpc_handler_raises_its_caller_gets_to_know(case, what):
    result = case.producer.rpc_fail(what)

    assert isinstance(result, messaging.MessageResultException)
    assert result.value == RAISERS[what][0]
    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    assert len(case.logged(logging.INFO)) == 1


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("what", ["ValueError", "SystemExit", "GreenletExit"])
def test_an_answer_given_before_the_handler_raised_stands(case, what):
    assert case.producer.rpc_answer_then_fail(what).value == "answered"

    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    assert case.victim.counts["second_reply"] == 0


# --- replies of handlers


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("times", [2, 5])
def test_replies_after_the_first_are_counted_and_dropped(case, times):
    assert case.producer.rpc_chatter(times).value == 0

    case.assert_lives()
    assert case.victim.counts["second_reply"] == times - 1
    assert len(case.logged()) == 1  # the others are counted


@pytest.mark.behaviour("encoders", "rpc-handlers")
@pytest.mark.parametrize("what", UNSENDABLE)
def test_a_reply_that_cannot_be_encoded_is_an_exception_result(case, what):
    result = case.producer.rpc_unsendable(what)

    assert result.value == "EncodingError"
    assert "content.value" in result.message
    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()


@pytest.mark.behaviour("rpc-handlers")
def test_another_reply_may_follow_one_that_cannot_be_encoded(case):
    assert case.producer.rpc_second_thoughts().value == "something else, then"
    case.assert_lives()
    assert case.logged() == []


@pytest.mark.behaviour("rpc-queue-only")
def test_a_reply_that_is_no_result_is_malformed_for_its_caller(case):
    result = case.producer.rpc_no_result()

    assert isinstance(result, messaging.MessageResultError)
    assert result.message.startswith("Malformed reply")
    case.assert_lives()
