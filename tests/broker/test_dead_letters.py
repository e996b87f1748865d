"""Which messages become dead letters, where they go, and what their headers say."""

from __future__ import annotations

from typing import Any

import pytest

from postage.broker.core import dead_letters
from postage.broker.core.clock import ManualTimers
from postage.broker.core.vhost import VHost
from postage.broker.wire.content import PublishedMessage
from tests.support.core import drain, fill, message, new_queue, publish

TO_DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


def only(virtual_host: VHost, queue: str = "dead") -> PublishedMessage:
    """Return the only message in a queue."""
    assert len(virtual_host.queues[queue]) == 1
    entry = virtual_host.queues[queue].get()
    assert entry is not None
    return entry.message


def reject(virtual_host: VHost, queue: str) -> None:
    """Take a message from a queue, and reject it."""
    entry = virtual_host.queues[queue].get()
    assert entry is not None
    virtual_host.queues[queue].dead_letter(entry, "rejected")


def death(virtual_host: VHost, queue: str = "dead") -> Any:
    return only(virtual_host, queue).headers["x-death"][0]


def test_rejected(virtual_host: VHost) -> None:
    new_queue(virtual_host, "dead")
    new_queue(virtual_host, "q", TO_DEAD)
    publish(virtual_host, message(b"body", key="q", content_type="a/b", headers={"mine": 1}))
    reject(virtual_host, "q")
    letter = only(virtual_host)
    assert (letter.exchange, letter.key, letter.body) == ("", "dead", b"body")
    assert letter.properties.get("content_type") == "a/b"
    headers = dict(letter.headers)
    (entry,) = headers.pop("x-death")
    assert headers == {
        "mine": 1,
        "x-first-death-reason": "rejected",
        "x-first-death-queue": "q",
        "x-first-death-exchange": "",
        "x-last-death-reason": "rejected",
        "x-last-death-queue": "q",
        "x-last-death-exchange": "",
    }
    assert entry.pop("time") == 1_700_000_000
    assert entry == {
        "count": 1,
        "reason": "rejected",
        "queue": "q",
        "exchange": "",
        "routing-keys": ["q"],
    }


def test_expired(virtual_host: VHost, timers: ManualTimers) -> None:
    new_queue(virtual_host, "dead")
    new_queue(virtual_host, "q", TO_DEAD)
    fill(virtual_host.queues["q"], b"m", expiration="500")
    timers.advance(1)
    letter = only(virtual_host)
    (entry,) = letter.headers["x-death"]
    assert (entry["reason"], entry["original-expiration"]) == ("expired", "500")
    assert letter.properties.get("expiration") is None  # or it would expire again at once


def test_too_many(virtual_host: VHost) -> None:
    new_queue(virtual_host, "dead")
    queue = new_queue(virtual_host, "q", {"x-max-length": 1, **TO_DEAD})
    fill(queue, b"1", b"2")
    assert death(virtual_host)["reason"] == "maxlen"


def test_refused_and_dead_lettered(virtual_host: VHost) -> None:
    new_queue(virtual_host, "dead")
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish-dlx", **TO_DEAD}
    queue = new_queue(virtual_host, "q", arguments)
    fill(queue, b"1", b"2")
    assert only(virtual_host).body == b"2"


def test_failed_too_often(virtual_host: VHost) -> None:
    new_queue(virtual_host, "dead")
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 0, **TO_DEAD}
    queue = new_queue(virtual_host, "q", arguments, durable=True)
    fill(queue, b"1")
    entry = queue.get()
    assert entry is not None
    entry.deliveries += 1
    queue.requeue(entry)
    assert death(virtual_host)["reason"] == "delivery_limit"


def test_without_a_key_it_keeps_its_own(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q", {"x-dead-letter-exchange": "amq.direct"})
    new_queue(virtual_host, "dead")
    bind(virtual_host, "dead", "amq.direct", "q")
    fill(virtual_host.queues["q"], b"m")
    reject(virtual_host, "q")
    assert only(virtual_host).key == "q"


def bind(virtual_host: VHost, queue: str, exchange: str, key: str) -> None:
    from postage.broker.core.routing import BrokerBinding

    virtual_host.bind(exchange, BrokerBinding("queue", queue, key), None)


def test_an_exchange_that_is_not_there_takes_nothing(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q", {"x-dead-letter-exchange": "none"})
    fill(virtual_host.queues["q"], b"m")
    reject(virtual_host, "q")
    assert len(virtual_host.queues["q"]) == 0


def test_the_same_death_again_is_counted(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    fill(virtual_host.queues["q"], b"m")
    for _ in range(3):
        reject(virtual_host, "q")
    assert death(virtual_host, "q")["count"] == 3


@pytest.mark.parametrize(
    "fake",
    [
        *({"count": count} for count in ("abc", None, 2**63 - 1, -(2**63), 0, 1.5, True, [1], {})),
        {"count": 5, "time": "yesterday"},
        {"count": 5, "exchange": {"a": [None]}},
        {"count": 5, "routing-keys": "q"},
        {"count": 5, "routing-keys": [["q"]]},
    ],
    ids=repr,
)
def test_a_faked_death_counts_for_nothing(virtual_host: VHost, fake: dict[str, Any]) -> None:
    """Whatever publishers write as ``x-death``, a consumer that rejects the message is safe."""
    new_queue(virtual_host, "q", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    entry = {"queue": "q", "reason": "rejected", **fake}
    publish(virtual_host, message(b"m", key="q", headers={"x-death": [entry, "no table", entry]}))
    reject(virtual_host, "q")
    (found,) = only(virtual_host, "q").headers["x-death"]
    assert (found["count"], found["exchange"], found["routing-keys"]) == (1, "", ["q"])


@pytest.mark.parametrize("deaths", ["text", 5, None, {"count": 1}, [None, [[]], "x"]], ids=repr)
def test_an_x_death_that_is_no_list_of_deaths(virtual_host: VHost, deaths: Any) -> None:
    new_queue(virtual_host, "q", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    publish(virtual_host, message(b"m", key="q", headers={"x-death": deaths}))
    reject(virtual_host, "q")
    (found,) = only(virtual_host, "q").headers["x-death"]
    assert found["count"] == 1


def test_a_bug_with_one_letter_loses_no_other(
    virtual_host: VHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new_queue(virtual_host, "dead")
    new_queue(virtual_host, "q", TO_DEAD)
    original = dead_letters.dead_letter

    def buggy(letter: PublishedMessage, *others: Any, **options: bool) -> PublishedMessage:
        if letter.body == b"2":
            raise ZeroDivisionError
        return original(letter, *others, **options)

    monkeypatch.setattr(dead_letters, "dead_letter", buggy)
    fill(virtual_host.queues["q"], b"1", b"2", b"3")
    for _ in range(3):
        reject(virtual_host, "q")
    assert drain(virtual_host.queues["dead"]) == [b"1", b"3"]
    assert "lost a dead letter of 'q'" in caplog.text


def test_the_newest_death_comes_first(virtual_host: VHost) -> None:
    new_queue(virtual_host, "dead")
    new_queue(virtual_host, "b", TO_DEAD)
    new_queue(virtual_host, "a", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
    fill(virtual_host.queues["a"], b"m")
    reject(virtual_host, "a")
    reject(virtual_host, "b")
    letter = only(virtual_host)
    assert [each["queue"] for each in letter.headers["x-death"]] == ["b", "a"]
    assert letter.headers["x-first-death-queue"] == "a"


def test_no_message_goes_round_by_itself(virtual_host: VHost, timers: ManualTimers) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        new_queue(virtual_host, one, {"x-message-ttl": 100, **arguments})
    fill(virtual_host.queues["a"], b"m")
    timers.advance(10)
    assert len(virtual_host.queues["a"]) == len(virtual_host.queues["b"]) == 0


def test_a_long_chain_of_queues_is_no_deep_recursion(
    virtual_host: VHost, timers: ManualTimers
) -> None:
    last = 300  # each death makes the header longer
    for n in range(last):
        key = {"x-dead-letter-routing-key": f"q{n + 1}", "x-dead-letter-exchange": ""}
        new_queue(virtual_host, f"q{n}", {"x-message-ttl": 0, **key})
    new_queue(virtual_host, f"q{last}")
    fill(virtual_host.queues["q0"], b"m")
    timers.advance(0)
    assert drain(virtual_host.queues[f"q{last}"]) == [b"m"]
