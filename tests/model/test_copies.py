"""Copies of messages: which deliveries need no handler, because another one had or has it."""

from __future__ import annotations

from typing import Any

import pytest

from postage.copies import AGAIN, HEADER_END, SHORTEST_TIMEOUT, Copies, identity_of
from postage.errors import MalformedMessage
from postage.green.amqp.properties import Properties
from postage.protocol import SEND_ID
from tests.support.handlers import Handler


class Wire:
    """A channel."""

    def __init__(self) -> None:
        self.alive, self.withdrawn = True, False

    def withdraw(self) -> None:
        """End the consumer, or the channel, after the consumer timeout."""
        self.alive, self.withdrawn = False, True


class CopiedMessage:
    """A delivery on *channel*."""

    copy: Any

    def __init__(
        self,
        channel: Wire,
        *,
        message_id: str | None = "8f" * 16,
        again: bool = False,
        redelivered: bool = False,
        origin: str = "jobs",
        routing_key: str = "rk",
        body: bytes = b"{}",
        received: float = 0.0,
        **properties: Any,
    ) -> None:
        self.channel, self.origin, self.routing_key, self.body = channel, origin, routing_key, body
        self.exchange, self.redelivered = "depot", redelivered
        self.received = received
        type_ = AGAIN if again else None
        properties = {"content_type": "application/json", "timestamp": 1, **properties}
        self.header = Properties(message_id=message_id, type=type_, **properties).encode()

    @property
    def properties(self) -> Properties:
        """The decoded header."""
        return Properties.decode(self.header)


def handle(copies: Copies, *items: object) -> list[Handler]:
    """Let each of *items* be handled from now on."""
    handlers = [*map(Handler, items)]
    copies.in_progress.workers |= dict.fromkeys(handlers)
    return handlers


def settled(**values: Any) -> Copies:
    """Return the knowledge of a process that has acknowledged one message."""
    copies = Copies()
    copies.note(identity_of(CopiedMessage(Wire(), **values)))
    return copies


@pytest.mark.parametrize("user", [None, "guest", "u" * 40])
def test_a_marked_copy_of_what_was_settled_is_known(user: str | None) -> None:
    copies = settled(user_id=user)
    again = CopiedMessage(Wire(), again=True, user_id=user)

    assert copies.take(again)
    assert copies.take(again), "it may be sent three times"


@pytest.mark.parametrize(
    "differs",
    [
        {"message_id": "9f" * 16},
        {"message_id": None},
        {"message_id": ""},
        {"origin": "other queue"},
        {"routing_key": "other key"},
        {"again": False},
        {"headers": {"x-death": []}},
    ],
    ids=["id", "no id", "empty id", "queue", "key", "no mark", "dead-lettered"],
)
def test_other_messages_are_handled(differs: dict[str, Any]) -> None:
    assert not settled().take(CopiedMessage(Wire(), **{"again": True, **differs}))


@pytest.mark.parametrize("type_", ["postage.agai", "postage.again2", "order"])
def test_other_types_are_no_mark(type_: str) -> None:
    again = CopiedMessage(Wire(), redelivered=True)
    again.header = Properties(message_id="8f" * 16, type=type_).encode()

    assert not settled().take(again)


def test_headers_that_nobody_can_read_are_no_copy() -> None:
    class Unreadable(CopiedMessage):
        @property
        def properties(self) -> Properties:
            raise MalformedMessage("no")

    copies = settled()
    again = Unreadable(Wire(), again=True, redelivered=True)

    assert not copies.take(again)
    assert not copies.put_off(again, list)


def test_an_id_that_is_not_in_the_end_of_a_header_is_not_known() -> None:
    long = {"user_id": "u" * 200}

    assert not settled(**long).take(CopiedMessage(Wire(), again=True, **long))


def test_messages_to_which_a_program_gives_one_id_are_no_copies() -> None:
    first, second = ({SEND_ID: id_ * 16} for id_ in ("1a", "2b"))
    running = CopiedMessage(Wire(), headers=first, message_id="same")
    copies = settled(headers=first, message_id="same")
    handle(copies, running)
    other = CopiedMessage(Wire(), again=True, headers=second, message_id="same")
    copy = CopiedMessage(Wire(), again=True, headers=first, message_id="same")

    assert not copies.take(other)
    assert not copies.put_off(other, list)
    assert copies.put_off(copy, list)


@pytest.mark.parametrize("kept", [1, 3])
def test_the_latest_ones_are_known_and_little_of_them(kept: int) -> None:
    copies = Copies(kept)
    for number in range(10):
        lost = CopiedMessage(Wire(), message_id=f"{number:032}", headers={"h": "x" * 10_000})
        lost.channel.withdraw()
        copies.leave(lost)

    def known(number: int, **how: bool) -> bool:
        return copies.take(CopiedMessage(Wire(), message_id=f"{number:032}", **how))

    assert [known(n, again=True) for n in range(10)] == [n >= 10 - kept for n in range(10)]
    assert [known(n, redelivered=True) for n in range(10)] == [n >= 10 - kept for n in range(10)]
    assert all(len(each[3]) <= -HEADER_END.start for each in copies._settled)
    assert (len(copies._unsettled), copies._size) == (0, 0)


def test_what_is_settled_after_a_copy_came_is_known_too() -> None:
    copies = Copies(2)

    def settle(number: int) -> None:
        copies.note(identity_of(CopiedMessage(Wire(), message_id=f"{number:032}")))

    def known(number: int) -> bool:
        return copies.take(CopiedMessage(Wire(), message_id=f"{number:032}", again=True))

    settle(0)
    assert known(0)
    settle(1)
    settle(2)
    assert [known(n) for n in range(3)] == [False, True, True]


def test_of_equal_messages_as_many_are_handled_as_there_are() -> None:
    copies, wire = Copies(), Wire()
    lost = [CopiedMessage(wire, message_id="order-7") for _ in range(2)]
    wire.withdraw()
    for each in lost:
        copies.leave(each)
    again = [CopiedMessage(Wire(), message_id="order-7", redelivered=True) for _ in range(3)]

    assert [copies.take(each) for each in again] == [True, True, False]


@pytest.mark.parametrize(
    "differs",
    [{"body": b"[]"}, {"message_id": "order-8"}, {"origin": "other"}, {"redelivered": False}],
    ids=lambda differs: next(iter(differs)),
)
def test_a_redelivered_copy_has_the_same_everything(differs: dict[str, Any]) -> None:
    copies, lost = Copies(), CopiedMessage(Wire(), message_id="order-7")
    lost.channel.withdraw()
    copies.leave(lost)
    again = {"message_id": "order-7", "redelivered": True, **differs}

    assert not copies.take(CopiedMessage(Wire(), **again))


def test_what_a_lost_connection_redelivers_is_no_copy() -> None:
    copies, lost = Copies(), CopiedMessage(Wire())
    lost.channel.alive = False
    copies.leave(lost)
    handle(copies, lost)
    again = CopiedMessage(Wire(), redelivered=True)

    assert not copies.put_off(again, list)
    assert not copies.take(again)


def test_a_copy_waits_for_the_handlers_of_any_component() -> None:
    copies, first = Copies(), CopiedMessage(Wire())
    job, handler = handle(copies, object(), first)
    again, resumed = CopiedMessage(Wire(), again=True), []

    assert copies.put_off(again, lambda: resumed.append(again))
    job.end()
    assert resumed == []
    handler.end()
    assert resumed == [again]
    handle(copies, first)
    assert not copies.put_off(CopiedMessage(Wire()), list), "it is not delivered again"
    assert not copies.put_off(first, list), "it does not wait for itself"


def test_a_copy_may_come_before_the_news_of_its_timeout() -> None:
    copies, first = Copies(), CopiedMessage(Wire())
    handle(copies, first)

    assert copies.put_off(CopiedMessage(Wire(), redelivered=True), list)
    assert not copies.put_off(CopiedMessage(Wire(), redelivered=True), list), "one copy waits"
    late = CopiedMessage(Wire(), redelivered=True, received=SHORTEST_TIMEOUT)
    assert copies.put_off(late, list), "the first copy has timed out, too"
    assert first.copy is late
    nameless = Copies()
    handle(nameless, CopiedMessage(Wire(), message_id=None))
    assert not nameless.put_off(CopiedMessage(Wire(), message_id=None, redelivered=True), list)


def test_one_copy_waits_for_each_lost_delivery() -> None:
    copies, wire = Copies(), Wire()
    lost = [CopiedMessage(wire, message_id=None) for _ in range(2)]
    handle(copies, *lost)
    wire.withdraw()
    second = Wire()
    again = [CopiedMessage(second, message_id=None, redelivered=True) for _ in range(3)]

    assert [copies.put_off(each, list) for each in again] == [True, True, False]
    second.withdraw()  # after the next consumer timeout
    assert copies.put_off(CopiedMessage(Wire(), message_id=None, redelivered=True), list)
