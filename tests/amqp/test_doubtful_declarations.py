"""Which declarations may end a connection, and what is remembered of those that did."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.errors import ChannelRefused
from postage.green.amqp.refusals import COUNTED, MOST_REMEMBERED, REMEMBERED, Declaration, Refusals
from tests.support.endpoints import exchange

NO = ChannelRefused(503, "COMMAND_INVALID - unknown exchange type 'x'")


def of_type(kind: str, name: str = "e", **attributes: Any) -> Declaration:
    return Declaration.of_exchange(exchange(name, kind, **attributes).parameters)


def of_queue(name: str = "q", **flags: Any) -> Declaration:
    return Declaration.of_queue(name, {"durable": True, **flags})


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
@pytest.mark.parametrize("attributes", [{}, {"durable": False}, {"auto_delete": True}])
def test_types_of_every_broker_are_usual(kind: str, attributes: dict[str, Any]) -> None:
    assert of_type(kind, **attributes).is_usual
    assert of_type(kind, arguments={"alternate-exchange": "other"}).is_usual


@pytest.mark.parametrize("kind", ["x-delayed-message", "Direct", "direct ", "x"])
def test_other_types_are_doubtful_unless_passive(kind: str) -> None:
    assert not of_type(kind).is_usual
    assert of_type(kind, passive=True).is_usual


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"auto_delete": True},
        {"exclusive": True, "durable": False},
        {"arguments": {"x-queue-type": "quorum", "x-delivery-limit": 3}},
        {"arguments": {"x-message-ttl": 5000, "x-dead-letter-exchange": "d"}},
        {"passive": True, "durable": False},
        {"arguments": None},
    ],
)
def test_usual_queues(flags: dict[str, Any]) -> None:
    assert of_queue(**flags).is_usual


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ({"durable": False}, "leave durable = False out"),
        ({"durable": False, "auto_delete": True}, "leave durable = False out"),
        ({"arguments": {"x-queue-type": "stream"}}, "no streams: run what needs them on RabbitMQ"),
        ({"arguments": {"x-queue-type": 5}}, "Correct"),
        ({"arguments": {"x-queue-master-locator": "min-masters"}}, "Correct"),
        ({"exclusive": True, "arguments": {"x-unheard-of": 1}}, "Correct"),
        ({"arguments": {"x-dead-letter-exchange": "d" * 5000}}, "Correct"),
    ],
)
def test_doubtful_queues(flags: dict[str, Any], remedy: str) -> None:
    declaration = of_queue(**flags)
    assert not declaration.is_usual
    text = str(declaration.refused(541, "no"))
    assert text.startswith("the broker refused queue 'q' with ")
    assert remedy in text


NAMES = st.text(max_size=63)  # at most 255 bytes


@given(NAMES, NAMES, st.integers(), st.integers())
def test_a_sort_knows_neither_names_nor_values(one: str, two: str, x: int, y: int) -> None:
    first = of_queue(one, arguments={"x-unheard-of": x})
    second = of_queue(two, arguments={"x-unheard-of": y})
    assert first.sort == second.sort
    assert of_type("x", one).sort == of_type("x", two).sort
    assert of_type("x", one).sort != of_type("y", one).sort


# --- memory


def test_a_refusal_is_for_the_sort_and_passes() -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    raised = refusals.refuse(of_type("x", "one"), NO)
    assert "'one'" in str(raised)
    with pytest.raises(ChannelRefused, match="'two'") as caught:
        refusals.check(of_type("x", "two"))
    assert (caught.value.code, caught.value.text) == (NO.code, NO.text)
    refusals.check(of_type("y"))
    now = REMEMBERED
    refusals.check(of_type("x", "two"))


def test_a_refusal_of_a_usual_declaration_is_for_it_alone() -> None:
    refusals = Refusals()
    refusals.refuse(of_queue("bad"), NO)
    refusals.check(of_queue("good"))
    with pytest.raises(ChannelRefused):
        refusals.check(of_queue("bad"))


def test_a_refusal_that_may_pass_is_not_remembered() -> None:
    refusals = Refusals()
    nodes = ChannelRefused(541, "INTERNAL_ERROR - Cannot declare a queue on node 'a': nodedown")
    assert not nodes.is_final
    refusals.refuse(of_queue(), nodes)
    refusals.check(of_queue())
    denied = ChannelRefused(541, "INTERNAL_ERROR - Feature `x` is deprecated.")
    assert denied.is_final


def test_a_suspicion_ends_with_innocence_of_the_declaration() -> None:
    refusals = Refusals()
    guilty, innocent = of_queue("guilty"), of_queue("innocent")
    refusals.suspect(guilty)
    assert refusals.is_suspect(innocent), "it has the same flags"
    refusals.accept(innocent)
    assert not refusals.is_suspect(innocent)
    assert refusals.is_suspect(guilty)
    refusals.accept(guilty)
    assert not refusals.is_suspect(guilty)


@given(st.lists(st.tuples(st.sampled_from("sar"), st.integers(0, 5)), max_size=30))
def test_what_is_remembered_is_what_was_told_last(steps: list[tuple[str, int]]) -> None:
    refusals, suspects, refused = Refusals(lambda: 0.0), set[int](), set[int]()
    queues = [of_queue(f"q{number}", auto_delete=number % 2 == 0) for number in range(6)]
    for step, number in steps:
        if step == "s":
            refusals.suspect(queues[number])
            suspects.add(number)
        elif step == "a":
            refusals.accept(queues[number])
            suspects.discard(number)
        else:
            refusals.refuse(queues[number], NO)
            refused.add(number)
    for number, queue in enumerate(queues):
        if number in suspects:
            assert refusals.is_suspect(queue)
        if number in refused:
            with pytest.raises(ChannelRefused):
                refusals.check(queue)
        else:
            refusals.check(queue)


def test_memory_is_bounded() -> None:
    refusals = Refusals()
    for number in range(3 * MOST_REMEMBERED):
        refusals.refuse(of_type(f"x{number}"), NO)
        refusals.suspect(of_queue(f"q{number}"))
    assert len(refusals._refused) <= MOST_REMEMBERED
    assert len(refusals._suspects) <= MOST_REMEMBERED + 2


# --- channels of a user


def test_a_limit_that_is_told_again_is_shared_with_others() -> None:
    refusals, told = Refusals(), []
    refusals.on_limit.append(lambda: told.append(refusals.channels))
    refusals.channels_used = 1
    for limit in (10, 10, 10, 10, 10, 8, 1, 1):
        refusals.limit_channels(limit)
    assert told == [10, 5, 2, 2, 2, 2, 1, 1]


def test_a_channel_that_has_ended_may_be_counted_for_a_while() -> None:
    now = 100.0
    refusals = Refusals(lambda: now)
    assert not refusals.counts_ended
    refusals.note_channel_end()
    assert refusals.counts_ended
    now += COUNTED
    assert not refusals.counts_ended


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_who_has_no_channels_learns_nothing_from_the_others(limit: int) -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.limit_channels(limit)
    assert refusals.channels == limit
    assert refusals.allows_channel
    refusals.channels_used = limit
    assert not refusals.allows_channel
