"""Which messages become dead letters, where they go, and what their headers say."""

from __future__ import annotations

from typing import Any

from postage.broker.core.clock import ManualTimers
from postage.broker.core.vhost import VHost
from postage.broker.wire.content import PublishedMessage
from tests.support.core import drain, fill, message, new_queue, publish

TO_DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


def only(place: VHost, queue: str = "dead") -> PublishedMessage:
    """Return the only message in a queue."""
    assert len(place.queues[queue]) == 1
    entry = place.queues[queue].get()
    assert entry is not None
    return entry.message


def reject(place: VHost, queue: str) -> None:
    """Take a message from a queue, and reject it."""
    entry = place.queues[queue].get()
    assert entry is not None
    place.queues[queue].dead_letter(entry, "rejected")


def death(place: VHost, queue: str = "dead") -> Any:
    return only(place, queue).headers["x-death"][0]


def test_rejected(place: VHost) -> None:
    new_queue(place, "dead")
    new_queue(place, "q", TO_DEAD)
    publish(place, message(b"body", key="q", content_type="a/b", headers={"mine": 1}))
    reject(place, "q")
    letter = only(place)
    assert (letter.exchange, letter.key, letter.body) == ("", "dead", b"body")
    assert letter.properties.get("content_type") == "a/b"
    headers = dict(letter.headers)
    (entry,) = headers.pop("x-death")
    assert headers == {
        "mine": 1,
        "x-first-death-reason": "rejected",
        "x-first-death-queue": "q",
        "x-first-death-exchange": "",
    }
    assert entry.pop("time") == 1_700_000_000
    assert entry == {
        "count": 1,
        "reason": "rejected",
        "queue": "q",
        "exchange": "",
        "routing-keys": ["q"],
    }


def test_expired(place: VHost, timers: ManualTimers) -> None:
    new_queue(place, "dead")
    new_queue(place, "q", TO_DEAD)
    fill(place.queues["q"], b"m", expiration="500")
    timers.advance(1)
    letter = only(place)
    (entry,) = letter.headers["x-death"]
    assert (entry["reason"], entry["original-expiration"]) == ("expired", "500")
    assert letter.properties.get("expiration") is None  # or it would expire again at once


def test_too_many(place: VHost) -> None:
    new_queue(place, "dead")
    queue = new_queue(place, "q", {"x-max-length": 1, **TO_DEAD})
    fill(queue, b"1", b"2")
    assert death(place)["reason"] == "maxlen"


def test_refused_and_dead_lettered(place: VHost) -> None:
    new_queue(place, "dead")
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish-dlx", **TO_DEAD}
    queue = new_queue(place, "q", arguments)
    fill(queue, b"1", b"2")
    assert only(place).body == b"2"


def test_failed_too_often(place: VHost) -> None:
    new_queue(place, "dead")
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 0, **TO_DEAD}
    queue = new_queue(place, "q", arguments, durable=True)
    fill(queue, b"1")
    entry = queue.get()
    assert entry is not None
    entry.deliveries += 1
    queue.requeue(entry)
    assert death(place)["reason"] == "delivery_limit"


def test_without_a_key_it_keeps_its_own(place: VHost) -> None:
    new_queue(place, "q", {"x-dead-letter-exchange": "amq.direct"})
    new_queue(place, "dead")
    bind(place, "dead", "amq.direct", "q")
    fill(place.queues["q"], b"m")
    reject(place, "q")
    assert only(place).key == "q"


def bind(place: VHost, queue: str, exchange: str, key: str) -> None:
    from postage.broker.core.routing import BrokerBinding

    place.bind(exchange, BrokerBinding("queue", queue, key), None)


def test_an_exchange_that_is_not_there_takes_nothing(place: VHost) -> None:
    new_queue(place, "q", {"x-dead-letter-exchange": "none"})
    fill(place.queues["q"], b"m")
    reject(place, "q")
    assert len(place.queues["q"]) == 0


def test_the_same_death_again_is_counted(place: VHost) -> None:
    new_queue(place, "q", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    fill(place.queues["q"], b"m")
    for _ in range(3):
        reject(place, "q")
    assert death(place, "q")["count"] == 3


def test_the_newest_death_comes_first(place: VHost) -> None:
    new_queue(place, "dead")
    new_queue(place, "b", TO_DEAD)
    new_queue(place, "a", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
    fill(place.queues["a"], b"m")
    reject(place, "a")
    reject(place, "b")
    letter = only(place)
    assert [each["queue"] for each in letter.headers["x-death"]] == ["b", "a"]
    assert letter.headers["x-first-death-queue"] == "a"


def test_no_message_goes_round_by_itself(place: VHost, timers: ManualTimers) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        new_queue(place, one, {"x-message-ttl": 100, **arguments})
    fill(place.queues["a"], b"m")
    timers.advance(10)
    assert len(place.queues["a"]) == len(place.queues["b"]) == 0


def test_a_long_chain_of_queues_is_no_deep_recursion(place: VHost) -> None:
    last = 300  # each death makes the header longer
    for n in range(last):
        key = {"x-dead-letter-routing-key": f"q{n + 1}", "x-dead-letter-exchange": ""}
        new_queue(place, f"q{n}", {"x-message-ttl": 0, **key})
    new_queue(place, f"q{last}")
    fill(place.queues["q0"], b"m")
    assert drain(place.queues[f"q{last}"]) == [b"m"]
