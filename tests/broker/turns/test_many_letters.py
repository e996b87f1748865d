"""Dead letters: a message causes a limited number of them, and many die in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from postage.broker.core.backlog import MOST_EFFORT
from postage.broker.core.dead_letters import MOST_LETTERS
from postage.broker.core.queue import BrokerQueue
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from postage.broker.wire.content import PublishedMessage
from tests.broker.turns.clock import Turns
from tests.support.core import fill, message, new_fanout_queue, new_queue

TO_ALL = {"x-dead-letter-exchange": "amq.fanout"}
TO_DELAY = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "delay"}
TO_WORK = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}
LOOPS: dict[str, list[dict[str, Any]]] = {
    "no room": [{"x-max-length": 0}],
    "no room for bytes": [{"x-max-length-bytes": 0}],
    "no time": [{"x-message-ttl": 0}],
    "refused": [{"x-max-length": 0, "x-overflow": "reject-publish-dlx"}],
    "two kinds": [{"x-message-ttl": 0}, {"x-max-length": 0}],
}


@pytest.fixture
def letters(virtual_host: VHost, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many queues each dead letter goes to."""
    numbers: list[int] = []
    original = virtual_host.put_all

    def counting(sent: PublishedMessage, queues: Sequence[BrokerQueue]) -> bool:
        numbers.append(len(queues))
        return original(sent, queues)

    monkeypatch.setattr(virtual_host, "put_all", counting)
    return numbers


@pytest.mark.parametrize("loop", LOOPS)
def test_one_message_causes_a_limited_number_of_letters(
    virtual_host: VHost, timers: Turns, node: Node, letters: list[int], loop: str
) -> None:
    kinds = LOOPS[loop]
    for n in range(12):
        new_fanout_queue(virtual_host, f"q{n}", {**TO_ALL, **kinds[n % len(kinds)]})
    fill(virtual_host.queues["q0"], b"m")
    at_once = sum(letters)
    timers.all()
    assert at_once <= MOST_EFFORT // 10, "a letter takes about ten microseconds for each queue"
    assert MOST_LETTERS <= sum(letters) <= MOST_LETTERS + 12
    assert node.memory == 0
    fill(virtual_host.queues["q0"], b"m")
    timers.all()
    assert sum(letters) >= 2 * MOST_LETTERS, "the next message is not concerned"


def test_each_reject_starts_a_new_count(virtual_host: VHost, timers: Turns) -> None:
    """A message may be tried again for ever: its consumer rejects it, and a queue delays it."""
    work = new_queue(virtual_host, "work", {**TO_DELAY})
    new_queue(virtual_host, "delay", {**TO_WORK, "x-message-ttl": 1000})
    fill(work, b"m")
    for _ in range(MOST_LETTERS):
        queued = work.get()
        assert queued is not None
        work.dead_letter(queued, "rejected")
        timers.advance(1)
    assert len(work) == 1
    deaths = work.get().message.headers["x-death"]  # type: ignore[union-attr]
    assert {each["queue"]: each["count"] for each in deaths} == {
        "work": MOST_LETTERS,
        "delay": MOST_LETTERS,
    }


def test_copies_in_many_queues_are_counted_apart(virtual_host: VHost, timers: Turns) -> None:
    count = MOST_LETTERS + 200
    dead = new_queue(virtual_host, "work")
    for n in range(count):
        new_fanout_queue(virtual_host, f"q{n}", {**TO_WORK, "x-message-ttl": 0})
    sent = message(exchange="amq.fanout")
    virtual_host.put_all(sent, virtual_host.route(sent))
    timers.all()
    assert len(dead) == count


@pytest.mark.parametrize("reason", ["expired", "maxlen"])
def test_many_messages_die_in_turns(
    virtual_host: VHost, timers: Turns, node: Node, reason: str
) -> None:
    """They are all at the head of a queue at once, and each letter goes to 400 queues."""
    queue = new_queue(virtual_host, "q", {**TO_ALL, "x-max-length": 1000})
    for n in range(400):
        new_fanout_queue(virtual_host, f"to{n}")
    taken = []
    for _ in range(100):
        fill(queue, b"m", **({"expiration": "1000"} if reason == "expired" else {}))
        taken.append(queue.get())
    if reason == "maxlen":
        fill(queue, *[b"m"] * 1000)
    for queued in taken:
        queue.requeue(queued)
    timers.skip(2)
    queue.dispatch()
    to = virtual_host.queues["to399"]
    assert len(to) < 10
    while timers.turn():
        pass
    assert len(to) == 100
    assert all(len(virtual_host.queues[f"to{n}"]) == 100 for n in range(400))
    for each in list(virtual_host.queues.values()):
        virtual_host.remove_queue(each)
    timers.all()
    assert node.memory == 0
