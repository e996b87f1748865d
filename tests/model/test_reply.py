"""The reply function of a call: once, or later, but not twice."""

from __future__ import annotations

import pytest

from postage.reply import Reply


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
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


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
