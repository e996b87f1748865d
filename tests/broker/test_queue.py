"""Queues by themselves: order, priorities, limits, time, consumers."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.vhost import VHost
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from tests.support.core import LimitedConsumer, drain, fill, message, new_queue


def test_first_in_first_out(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"1", b"2", b"3")
    assert len(queue) == 3
    assert drain(queue) == [b"1", b"2", b"3"]


def test_requeued_messages_return_to_their_places(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"1", b"2", b"3", b"4")
    taken = [queue.get() for _ in range(3)]
    for place_of in (2, 0, 1):  # in whatever order
        entry = taken[place_of]
        assert entry is not None
        queue.requeue(entry)
    fill(queue, b"5")
    assert drain(queue) == [b"1", b"2", b"3", b"4", b"5"]
    assert all(entry.redelivered for entry in taken if entry)


def test_priorities(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-priority": 3})
    for priority in (0, 2, 1, 9, 2):
        fill(queue, str(priority).encode(), priority=priority)
    fill(queue, b"none")
    assert drain(queue) == [b"9", b"2", b"2", b"1", b"0", b"none"]


def test_priorities_mean_nothing_to_other_queues(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"low", priority=0)
    fill(queue, b"high", priority=9)
    assert drain(queue) == [b"low", b"high"]


def test_a_priority_keeps_its_place_when_it_comes_back(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-priority": 2})
    fill(queue, b"a", b"b", priority=2)
    fill(queue, b"c", priority=1)
    entry = queue.get()
    assert entry is not None
    queue.requeue(entry)
    assert drain(queue) == [b"a", b"b", b"c"]


def test_time_to_live_of_a_queue(virtual_host: VHost, timers: ManualTimers) -> None:
    queue = new_queue(virtual_host, "q", {"x-message-ttl": 1000})
    fill(queue, b"1")
    timers.advance(0.6)
    fill(queue, b"2")
    timers.advance(0.5)
    assert len(queue) == 1
    timers.advance(0.5)
    assert len(queue) == 0


def test_the_shorter_time_to_live_counts(virtual_host: VHost, timers: ManualTimers) -> None:
    queue = new_queue(virtual_host, "q", {"x-message-ttl": 1000})
    fill(queue, b"1", expiration="200")
    fill(queue, b"2", expiration="5000")
    timers.advance(0.3)
    assert len(queue) == 1
    timers.advance(0.8)
    assert len(queue) == 0


def test_messages_expire_at_the_head_alone(virtual_host: VHost, timers: ManualTimers) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"stays")
    fill(queue, b"expires", expiration="100")
    timers.advance(1)
    assert len(queue) == 2  # only the head is checked, as in RabbitMQ
    assert queue.get() is not None
    assert len(queue) == 0


def test_no_time_to_live_at_all(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-message-ttl": 0})
    fill(queue, b"1")
    assert len(queue) == 0
    taker = LimitedConsumer()
    queue.add_consumer(taker)
    fill(queue, b"2")
    assert taker.bodies == [b"2"]


def test_the_oldest_make_room(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-length": 2})
    fill(queue, b"1", b"2", b"3")
    assert drain(queue) == [b"2", b"3"]


def test_limits_in_bytes(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-length-bytes": 5})
    fill(queue, b"abc", b"de", b"f")
    assert drain(queue) == [b"de", b"f"]
    assert queue.body_bytes == 0


def test_a_full_queue_may_refuse(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-length": 1, "x-overflow": "reject-publish"})
    fill(queue, b"1")
    assert not queue.accepts(message(b"2"))
    fill(queue, b"2")
    assert drain(queue) == [b"1"]
    assert queue.accepts(message(b"3"))


def test_a_requeued_message_can_exceed_the_limit(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-max-length": 1})
    fill(queue, b"1")
    entry = queue.get()
    fill(queue, b"2")
    assert entry is not None
    queue.requeue(entry)
    queue.dispatch()
    assert drain(queue) == [b"2"]


def test_an_unused_queue_expires(virtual_host: VHost, timers: ManualTimers) -> None:
    queue = new_queue(virtual_host, "q", {"x-expires": 1000})
    timers.advance(0.8)
    queue.get()
    timers.advance(0.8)
    new_queue(virtual_host, "q", {"x-expires": 1000})
    timers.advance(0.8)
    taker = LimitedConsumer(queue=queue)
    queue.add_consumer(taker)
    timers.advance(5)
    assert "q" in virtual_host.queues
    virtual_host.remove_consumers([taker])
    timers.advance(0.9)
    assert "q" in virtual_host.queues
    timers.advance(1.2)
    assert "q" not in virtual_host.queues


@pytest.mark.parametrize("milliseconds", [1, 7, 1000])
def test_a_queue_with_consumers_needs_no_timer(
    virtual_host: VHost,
    timers: ManualTimers,
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: int,
) -> None:
    """Else a thousand queues that expire after a millisecond would take all the time there is."""
    queue = new_queue(virtual_host, "q", {"x-expires": milliseconds})
    takers = [LimitedConsumer(queue=queue) for _ in range(2)]
    for each in takers:
        queue.add_consumer(each)
    calls = []
    later = timers.later
    monkeypatch.setattr(timers, "later", lambda *each: (calls.append(each), later(*each))[1])
    timers.advance(3600)
    virtual_host.remove_consumers(takers[:1])
    timers.advance(3600)
    assert not calls
    virtual_host.remove_consumers(takers[1:])
    timers.advance(milliseconds / 1000 * 0.9)
    assert "q" in virtual_host.queues
    timers.advance(milliseconds / 1000 * 0.2)
    assert "q" not in virtual_host.queues


def test_a_message_that_fails_too_often(virtual_host: VHost) -> None:
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1}
    queue = new_queue(virtual_host, "q", arguments, durable=True)
    fill(queue, b"1")
    for expected in (1, 0):
        entry = queue.get()
        assert entry is not None
        queue.requeue(entry)
        assert len(queue) == expected


def test_consumers_take_turns(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    takers = [LimitedConsumer(), LimitedConsumer(), LimitedConsumer()]
    for taker in takers:
        queue.add_consumer(taker)
    fill(queue, *(str(n).encode() for n in range(6)))
    assert [taker.bodies for taker in takers] == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def test_a_consumer_that_had_no_room_goes_to_the_end(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    small, big = LimitedConsumer(room=1), LimitedConsumer()
    for taker in (small, big):
        queue.add_consumer(taker)
    fill(queue, b"1", b"2", b"3")
    assert (small.bodies, big.bodies) == ([b"1"], [b"2", b"3"])
    small.room = 5
    queue.dispatch()
    fill(queue, b"4", b"5")
    assert (small.bodies, big.bodies) == ([b"1", b"5"], [b"2", b"3", b"4"])


def test_the_important_are_served_first(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    low, high = LimitedConsumer(), LimitedConsumer(room=2, priority=5)
    for taker in (low, high):
        queue.add_consumer(taker)
    fill(queue, b"1", b"2", b"3")
    assert (high.bodies, low.bodies) == ([b"1", b"2"], [b"3"])


def test_one_alone_is_active(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", {"x-single-active-consumer": True})
    first, second = LimitedConsumer(room=1), LimitedConsumer(priority=9)
    for taker in (first, second):
        queue.add_consumer(taker)
    fill(queue, b"1", b"2")
    assert (first.bodies, second.bodies) == ([b"1"], [])
    queue.remove_consumer(first)
    queue.dispatch()
    assert second.bodies == [b"2"]


def test_closing_tells_the_consumers(virtual_host: VHost) -> None:
    queue, taker = new_queue(virtual_host, "q"), LimitedConsumer(room=0)
    queue.add_consumer(taker)
    fill(queue, b"1")
    assert virtual_host.remove_queue(queue) == 1
    assert taker.is_cancelled
    assert "q" not in virtual_host.queues


def test_memory_is_accounted_for(virtual_host: VHost, node: Any) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"x" * 100, b"y" * 100)
    assert node.memory > 200
    assert queue.purge() == 2
    assert node.memory == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-message-ttl": -1}, "{arg}: {{value_negative,-1}}"),
        ({"x-message-ttl": "a"}, '{arg}: "expected integer, got longstr"'),
        ({"x-message-ttl": 2**40}, "{arg}: {{value_too_large,1099511627776}}"),
        ({"x-expires": 0}, "{arg}: {{value_zero,0}}"),
        ({"x-overflow": "x"}, "{arg}: invalid_overflow"),
        ({"x-overflow": 3}, "{arg}: {{unacceptable_type,signedint}}"),
        ({"x-max-priority": 256}, "{arg}: {{max_value_exceeded,256}}"),
        ({"x-dead-letter-exchange": 5}, "invalid type 'signedint' for arg '{name}' in {q}"),
        ({"x-dead-letter-routing-key": "k"}, "{arg}: routing_key_but_no_dlx_defined"),
        ({"x-queue-type": "x"}, "{arg}: \"unsupported queue type 'x'\""),
        ({"x-delivery-limit": 1}, "{arg} of queue type rabbit_classic_queue"),
    ],
)
def test_arguments_that_cannot_be(
    virtual_host: VHost, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ChannelFault) as refused:
        new_queue(virtual_host, "q", arguments)
    name, q = next(iter(arguments)), "queue 'q' in vhost '/'"
    expected = text.format(name=name, q=q, arg=f"invalid arg '{name}' for {q}")
    assert (refused.value.code, str(refused.value)) == (406, f"PRECONDITION_FAILED - {expected}")


def test_streams_are_refused(virtual_host: VHost) -> None:
    with pytest.raises(ConnectionFault) as refused:
        new_queue(virtual_host, "q", {"x-queue-type": "stream"})
    assert refused.value.code == 540


def test_nothing_is_left_of_a_deleted_expiring_queue(virtual_host: VHost) -> None:
    gone = weakref.ref(new_queue(virtual_host, "q", {"x-expires": 60_000}))
    virtual_host.remove_queue(virtual_host.queues["q"])
    gc.collect()
    assert gone() is None


def test_a_get_meets_expired_messages_only(virtual_host: VHost, timers: ManualTimers) -> None:
    queue = new_queue(virtual_host, "q", {"x-message-ttl": 1000})
    fill(queue, b"1", b"2")
    taken = queue.get()
    assert taken is not None
    timers.advance(2)
    queue.requeue(taken)
    assert queue.get() is None
    assert len(queue) == 0
