"""What a consumer remembers of its declarations, and which refusals it waits out."""

from __future__ import annotations

from typing import Any

import pytest

from postage.errors import ChannelRefused, ConnectionLost, OperationTimeout, TopologyMismatch
from postage.exchange import Exchange
from postage.green.topology import QueueDeclaration, Topology, may_pass
from tests.support.instructions import instructions


class One(Exchange):
    name = "one"


class Other(Exchange):
    name = "other"
    passive = True


def queue(name: str, *keys: str, exchange: type[Exchange] = One, **flags: Any) -> QueueDeclaration:
    return QueueDeclaration(name, name, flags, {(exchange, key): None for key in keys})


def test_queues_and_keys_keep_the_order_of_declaration() -> None:
    known = Topology()
    for name, key in (("b", "1"), ("a", "2"), ("b", "3"), ("b", "1")):
        known.add(queue(name, key))
    assert known.queues_and_keys == [("b", "1"), ("b", "3"), ("a", "2")]


def test_what_is_noted_twice_is_the_first_one() -> None:
    known = Topology()
    first = known.add(queue("q", "1"))
    assert known.add(queue("q", "2")) is first
    assert first in known
    assert list(known) == [first]


def test_a_queue_used_as_it_is_can_be_declared_later() -> None:
    known = Topology()
    first = known.add(queue("q", "1", passive=True))
    known.add(queue("q", "2", durable=True))
    assert first.flags == {"durable": True}
    known.add(queue("q", "3", passive=True))
    assert first.flags == {"durable": True}


def test_unbinding_removes_a_key_and_leaving_all_keys_of_a_queue() -> None:
    known = Topology()
    known.add(queue("q", "1", "2"))
    known.add(queue("r", "1"))
    known.discard_binding(One, "q", "1")
    known.discard_binding(Other, "q", "2")
    known.discard_binding(One, "unknown", "1")
    assert known.queues_and_keys == [("q", "2"), ("r", "1")]
    left = known.discard("q")
    assert left is not None
    assert left not in known
    assert known.queues_and_keys == [("r", "1")]
    assert known.discard("q") is None


def refused(code: int, text: str) -> ChannelRefused:
    return ChannelRefused(code, text)


def mismatch(code: int, text: str) -> TopologyMismatch:
    return TopologyMismatch(
        code, text, kind="queue", name="q", flag="durable", ours="true", theirs="false"
    )


NODE_DOWN = "NOT_FOUND - home node 'rabbit@b' of durable queue 'q' in vhost '/' is down"
NO_QUEUE = "NOT_FOUND - no queue 'q' in vhost '/'"
NO_EXCHANGE = "NOT_FOUND - no exchange 'other' in vhost '/'"
PASSING = [
    (ConnectionLost("gone"), queue("q")),
    (OperationTimeout("queue.declare", 30), queue("q", passive=True)),
    (refused(404, NO_QUEUE), queue("q")),
    (refused(404, NODE_DOWN), queue("q")),
    (refused(404, NODE_DOWN), queue("q", passive=True)),
    (refused(404, NO_EXCHANGE), queue("q", "k")),
    (refused(405, "RESOURCE_LOCKED - cannot obtain exclusive access to queue 'q'"), queue("q")),
]
FINAL = [
    (refused(403, "ACCESS_REFUSED - no permission for queue 'q'"), queue("q")),
    (refused(404, NO_QUEUE), queue("q", passive=True)),
    (mismatch(404, NO_QUEUE), queue("q", passive=True)),
    (refused(404, NO_EXCHANGE), queue("q", "k", exchange=Other)),
    (mismatch(406, "PRECONDITION_FAILED - inequivalent arg"), queue("q")),
    (refused(406, "PRECONDITION_FAILED - invalid arg 'x-what'"), queue("q")),
    (refused(530, "every channel of the connection is in use"), queue("q")),
]


@pytest.mark.parametrize(("error", "wanted"), PASSING, ids=lambda each: repr(each)[:40])
def test_what_may_pass_is_waited_out(error: Any, wanted: QueueDeclaration) -> None:
    assert may_pass(error, wanted)


@pytest.mark.parametrize(("error", "wanted"), FINAL, ids=lambda each: repr(each)[:40])
def test_what_stays_as_it_is_is_not(error: Any, wanted: QueueDeclaration) -> None:
    assert not may_pass(error, wanted)


@pytest.mark.parametrize("kind", ["queues", "bindings"])
def test_those_that_are_known_make_nothing_slower(kind: str) -> None:
    few, many = Topology(), Topology()
    for known, count in ((few, 10), (many, 1000)):
        for number in range(count):
            known.add(queue(*((f"q{number}", "1") if kind == "queues" else ("q0", f"{number}"))))

    def one_more(known: Topology) -> None:
        noted = known.add(queue("one", "1"))
        known.add(queue("one", "2"))
        assert noted in known
        known.discard_binding(One, "one", "1")
        assert known.discard("one") is noted

    assert instructions(lambda: one_more(many)) == instructions(lambda: one_more(few))


def test_a_queue_has_the_latest_name_from_the_broker() -> None:
    known = Topology()
    nameless = QueueDeclaration("amq.gen-1", "", {}, {(One, "1"): None})
    known.add(queue("q", "1"))
    known.add(nameless)
    nameless.name = "amq.gen-2"  # on another connection
    assert known.get("amq.gen-1") is None
    assert known.get("amq.gen-2") is nameless
    assert known.discard("amq.gen-2") is nameless
    assert known.queues_and_keys == [("q", "1")]
