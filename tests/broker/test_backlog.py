"""Work of any amount is done in parts, so that other clients wait a few milliseconds at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.backlog import AT_ONCE, MOST_EFFORT, Backlog
from postage.broker.core.clock import ManualTimers, Timer
from postage.broker.core.dead_letters import MOST_LETTERS
from postage.broker.core.queue import BrokerQueue, ConsumerRotation
from postage.broker.core.routing import BrokerBinding
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.methods import encode
from tests.support.core import LimitedConsumer, fill, message, new_queue
from tests.support.frame_client import FrameClient, names_of
from tests.support.instructions import instructions

MANY = 2 * AT_ONCE + 500
TURNS = 3
"""Turns that `MANY` items take at least: the first is that of the method itself."""


class Turns(ManualTimers):
    """A clock that tells turns of the hub apart."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[Callable[[], None]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = super().later(seconds, call)
        if not seconds:
            self.due.append(partial(self._make, timer, call))
        return timer

    def _make(self, timer: Timer, call: Callable[[], None]) -> None:
        timer.cancel()
        call()

    def turn(self) -> bool:
        """Make the calls that are due now, not those that they ask for; False: there are none."""
        due, self.due = self.due, []
        for call in due:
            call()
        return bool(due)

    def skip(self, seconds: float) -> None:
        """Turn the clock without making any calls."""
        self._now += seconds

    def all(self) -> int:
        """Take turns until nothing is left to do; return their number."""
        return sum(iter(self.turn, False))


@pytest.fixture
def timers() -> Turns:
    return Turns()


# --- the backlog itself


def test_a_few_items_are_handled_at_once(timers: Turns) -> None:
    handled: list[int] = []
    Backlog(timers).each(range(100), handled.extend, "numbers")
    assert handled == list(range(100))
    assert not timers.due


def test_many_items_are_handled_in_turns(timers: Turns) -> None:
    parts: list[list[int]] = []
    Backlog(timers).each(range(MANY), parts.append, "numbers")
    assert len(parts) == 1
    assert timers.turn()
    assert len(parts) == 2
    assert timers.all()
    assert [number for part in parts for number in part] == list(range(MANY))
    assert max(map(len, parts)) <= AT_ONCE


def test_what_is_nested_shares_the_effort(timers: Turns) -> None:
    backlog, handled = Backlog(timers), []

    def handle(outer: list[int]) -> None:
        for _ in outer:
            backlog.each(range(1000), handled.extend, "inner")

    backlog.each(range(500), handle, "outer")
    most = len(handled)
    assert most <= AT_ONCE
    while timers.turn():
        assert len(handled) - most <= AT_ONCE
        most = len(handled)
    assert len(handled) == 500 * 1000


def test_a_bug_loses_one_part_only(timers: Turns, caplog: pytest.LogCaptureFixture) -> None:
    backlog, handled = Backlog(timers), []

    def handle(part: list[int]) -> None:
        if AT_ONCE in part:
            raise ZeroDivisionError
        handled.extend(part)

    backlog.each(range(MANY), handle, "numbers")
    backlog.add(lambda: handled.append(-1) or 1, "another thing")
    timers.all()
    assert handled == [*range(AT_ONCE), -1, *range(2 * AT_ONCE, MANY)]
    assert "lost numbers" in caplog.text


def test_a_bug_in_the_first_part_reaches_the_caller(timers: Turns) -> None:
    backlog, handled = Backlog(timers), []

    def handle(part: list[int]) -> None:
        if 0 in part:
            raise ZeroDivisionError
        handled.extend(part)

    with pytest.raises(ZeroDivisionError):
        backlog.each(range(MANY), handle, "numbers")
    timers.all()
    assert handled == list(range(AT_ONCE, MANY)), "the rest is not lost"


def test_what_is_added_in_a_block_waits_for_its_end(timers: Turns) -> None:
    backlog, done = Backlog(timers), list[str]()
    with backlog:
        backlog.add(lambda: done.append("added") or 1, "a step")
        done.append("block")
    assert done == ["block", "added"]


@given(st.lists(st.integers(0, 2 * MOST_EFFORT), max_size=30), st.sets(st.integers(0, 29)))
def test_steps_are_taken_in_order_and_in_turns(efforts: list[int], parents: set[int]) -> None:
    timers, turns = Turns(), list[list[int]]()
    backlog = Backlog(timers)

    def step(number: int, effort: int) -> int:
        turns[-1].append(number)
        if number in parents:
            backlog.add(partial(step, 100 + number, effort), "a step of a step")
        return effort

    turns.append([])
    with backlog:
        for number, effort in enumerate(efforts):
            backlog.add(partial(step, number, effort), "a step")
    while timers.due:
        turns.append([])
        timers.turn()
    taken = [number for turn in turns for number in turn]
    known = range(len(efforts))
    assert taken == [*known, *(100 + number for number in known if number in parents)]
    for turn in turns:
        assert sum(efforts[number % 100] for number in turn[:-1]) < MOST_EFFORT
    assert not len(backlog)


# --- dead letters

TO_ALL = {"x-dead-letter-exchange": "amq.fanout"}
LOOPS: dict[str, list[dict[str, Any]]] = {
    "no room": [{"x-max-length": 0}],
    "no room for bytes": [{"x-max-length-bytes": 0}],
    "no time": [{"x-message-ttl": 0}],
    "refused": [{"x-max-length": 0, "x-overflow": "reject-publish-dlx"}],
    "two kinds": [{"x-message-ttl": 0}, {"x-max-length": 0}],
}


def fanout(virtual_host: VHost, name: str, arguments: dict[str, Any] | None = None) -> BrokerQueue:
    """Declare a queue, and bind it to amq.fanout."""
    queue = new_queue(virtual_host, name, arguments)
    virtual_host.bind("amq.fanout", BrokerBinding("queue", name, ""), None)
    return queue


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
        fanout(virtual_host, f"q{n}", {**TO_ALL, **kinds[n % len(kinds)]})
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


TO_DELAY = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "delay"}
TO_WORK = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}


def test_copies_in_many_queues_are_counted_apart(virtual_host: VHost, timers: Turns) -> None:
    count = MOST_LETTERS + 200
    dead = new_queue(virtual_host, "work")
    for n in range(count):
        fanout(virtual_host, f"q{n}", {**TO_WORK, "x-message-ttl": 0})
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
        fanout(virtual_host, f"to{n}")
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


# --- what one method of a client can cause


@pytest.fixture
def other(node: Node) -> FrameClient:
    """Another client, which does ordinary things meanwhile."""
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="other")
    return client


def is_served(other: FrameClient) -> bool:
    """Tell whether *other* gets its answers."""
    other.publish("other")
    found = other.call("basic.get", 1, queue="other", no_ack=True)
    return bool(found.method.name == "basic.get_ok")


def take(client: FrameClient, timers: Turns, count: int) -> None:
    """Let *client* hold *count* messages of the queue q."""
    client.call("queue.declare", 1, queue="q")
    fill(client.node.vhosts["/"].queues["q"], *[b"m"] * count)
    client.send_method("basic.consume", 1, queue="q", consumer_tag="c")
    while client.receive():
        client.connection.resume()
        timers.all()
    assert client.node.vhosts["/"].queues["q"].unacked == count
    client.send_method("basic.cancel", 1, consumer_tag="c")


def nack(client: FrameClient) -> None:
    client.send_method("basic.nack", 1, multiple=True, requeue=True)


def recover(client: FrameClient) -> None:
    client.send_method("basic.recover", 1, requeue=True)


def close_channel(client: FrameClient) -> None:
    client.send_method("channel.close", 1)


def leave(client: FrameClient) -> None:
    client.connection.close()


def lose(client: FrameClient) -> None:
    client.connection.abort()


@pytest.mark.parametrize("settle", [nack, recover, close_channel, leave, lose])
def test_many_deliveries_return_in_turns(
    client: FrameClient,
    timers: Turns,
    node: Node,
    other: FrameClient,
    settle: Callable[[FrameClient], None],
) -> None:
    take(client, timers, MANY)
    settle(client)
    queue = node.vhosts["/"].queues["q"]
    assert len(queue) == AT_ONCE
    assert is_served(other)
    assert timers.all() >= TURNS - 1
    assert (len(queue), queue.unacked) == (MANY, 0)
    assert queue.purge() == MANY
    timers.all()
    client.receive()
    assert node.memory == 0


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_many_deliveries_are_settled_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, method: str
) -> None:
    take(client, timers, MANY)
    client.send_method(method, 1, multiple=True)
    assert node.memory
    assert is_served(other)
    assert timers.all() >= TURNS - 1
    assert node.memory == node.vhosts["/"].queues["q"].unacked == 0


@pytest.mark.parametrize("method", ["queue.purge", "queue.delete"])
def test_many_messages_are_freed_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, method: str
) -> None:
    client.call("queue.declare", 1, queue="q")
    fill(node.vhosts["/"].queues["q"], *[b"m"] * MANY)
    assert client.call(method, 1, queue="q").message_count == MANY
    assert node.memory
    assert is_served(other)
    timers.all()
    assert node.memory == 0


def test_many_copies_are_put_in_turns_and_charged(
    client: FrameClient, timers: Turns, node: Node, virtual_host: VHost
) -> None:
    for n in range(MANY):
        fanout(virtual_host, f"q{n}")
    client.call("confirm.select", 1)
    client.publish("", exchange="amq.fanout")
    assert names_of(client.receive()) == ["basic.ack"]
    charged = node.memory
    assert sum(map(len, virtual_host.queues.values())) <= AT_ONCE
    for n in range(MANY - 100, MANY):
        virtual_host.remove_queue(virtual_host.queues[f"q{n}"])
    timers.all()
    assert sum(map(len, virtual_host.queues.values())) == MANY - 100
    assert node.memory == charged * (MANY - 100) // MANY
    for queue in list(virtual_host.queues.values()):
        virtual_host.remove_queue(queue)
    timers.all()
    assert node.memory == 0


@pytest.mark.parametrize("end", [None, close_channel, lose])
def test_a_long_transaction_is_committed_in_turns(
    client: FrameClient,
    timers: Turns,
    node: Node,
    other: FrameClient,
    end: Callable[[FrameClient], None] | None,
) -> None:
    client.call("queue.declare", 1, queue="q")
    client.call("tx.select", 1)
    for _ in range(MANY):
        client.publish("q")
    client.publish("nowhere", mandatory=True)
    client.send_method("tx.commit", 1)
    queue = node.vhosts["/"].queues["q"]
    assert len(queue) == AT_ONCE
    assert is_served(other)
    if end is not None:
        end(client)
    timers.all()
    assert len(queue) == MANY
    queue.purge()
    client.receive()
    timers.all()
    assert (node.memory, node.held) == (0, 0)


def test_copies_in_a_transaction_are_charged_before_the_commit(
    client: FrameClient, node: Node, virtual_host: VHost
) -> None:
    for n in range(100):
        fanout(virtual_host, f"q{n}")
    client.call("tx.select", 1)
    client.publish("", b"x" * 1000, exchange="amq.fanout")
    before = node.memory
    client.send_method("tx.commit", 1)
    assert node.memory <= before
    assert node.memory > 100 * 1000


def test_many_exclusive_queues_go_in_turns(
    client: FrameClient, timers: Turns, node: Node, virtual_host: VHost, other: FrameClient
) -> None:
    before = node.definitions
    for n in range(MANY):
        new_queue(virtual_host, f"q{n}", owner=client.connection)
        fill(virtual_host.queues[f"q{n}"], b"m")
    client.connection.close()
    assert len(virtual_host.queues) > MANY // 4
    assert is_served(other)
    timers.all()
    assert list(virtual_host.queues) == ["other"]
    assert node.memory == 0
    assert node.definitions < before


@pytest.mark.parametrize("end", ["queue.delete", "connection"])
def test_many_consumers_go_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, end: str
) -> None:
    other.call("queue.declare", 1, queue="q")
    before = node.definitions
    for n in range(MANY):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=f"c{n}", no_ack=True)
    client.receive()
    if end == "connection":
        client.connection.close()
        fill(node.vhosts["/"].queues["q"], b"m")
        assert len(node.vhosts["/"].queues["q"]) == 1, "consumers that are gone get nothing"
    else:
        other.call("queue.delete", 1, queue="q")
        assert len(client.receive()) <= AT_ONCE
    assert is_served(other)
    timers.all()
    if end == "connection":
        assert not node.vhosts["/"].queues["q"].consumers
    assert node.definitions < before


# --- many consumers of one queue


@pytest.mark.parametrize("priority", [0, 1, -1])
def test_a_delivery_does_not_look_at_all_consumers(virtual_host: VHost, priority: int) -> None:
    costs = []
    for count in (10, 1000):
        queue = new_queue(virtual_host, f"q{count}")
        for _ in range(count):
            queue.add_consumer(LimitedConsumer())
        queue.add_consumer(LimitedConsumer(priority=priority))
        fill(queue, b"first")
        costs.append(instructions(lambda queue=queue: fill(queue, b"m")))
    assert costs[1] <= costs[0] + 100, "at most a search by halves"


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.integers(1, 30))
def test_consumers_of_the_highest_priority_take_turns(priorities: list[int], count: int) -> None:
    rotation = ConsumerRotation(single=False)
    consumers = [LimitedConsumer(priority=each) for each in priorities]
    for consumer in consumers:
        rotation.add(consumer)
    best = [each for each in consumers if each.priority == max(priorities)]
    taken = [rotation.next() for _ in range(count)]
    assert taken == [best[n % len(best)] for n in range(count)]
    assert [each.priority for each in rotation] == sorted(priorities, reverse=True)


def test_an_ack_serves_each_queue_of_a_channel_once(
    client: FrameClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.call("queue.declare", 1, queue="q")
    client.call("basic.qos", 1, prefetch_count=1, global_=True)
    for n in range(50):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=f"c{n}")
    client.publish("q")
    served: list[BrokerQueue] = []
    original = BrokerQueue.dispatch

    def dispatch(queue: BrokerQueue) -> None:
        served.append(queue)
        original(queue)

    monkeypatch.setattr(BrokerQueue, "dispatch", dispatch)
    client.send_method("basic.ack", 1, delivery_tag=1)
    assert len(served) <= 2


def test_a_method_does_not_look_at_all_consumers(client: FrameClient) -> None:
    costs = []
    for count in (10, 500):
        client.call("queue.declare", 1, queue=f"q{count}")
        for n in range(count):
            consume = {"queue": f"q{count}", "consumer_tag": f"{count}-{n}"}
            client.send_method("basic.consume", 1, **consume)
        client.receive()
        consume = encode(1, "basic.consume", queue=f"q{count}", consumer_tag=f"{count}-last")
        declare = encode(1, "queue.declare", queue=f"q{count}", durable=True)
        costs.append(instructions(lambda data=consume + declare: client.send(data)))
        assert client.receive()[-1].consumer_count == count + 1
    assert costs[0] == costs[1]


def test_a_rollback_keeps_the_order_of_the_tags(client: FrameClient, timers: Turns) -> None:
    take(client, timers, 5)
    client.receive()
    client.call("tx.select", 1)
    for tag in (4, 2, 5):
        client.send_method("basic.ack", 1, delivery_tag=tag)
    client.call("tx.rollback", 1)
    client.send_method("basic.ack", 1, delivery_tag=3, multiple=True)
    client.call("tx.commit", 1)
    assert client.node.vhosts["/"].queues["q"].unacked == 2
