"""Failed messages that the broker does not keep, and what peers write into their headers."""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

import gevent
import pytest

from postage import Retry, RetryLater, green, messaging
from postage.green.handling import keeping
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Answers, Handles, Recorder, at
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.undisturbed import Bystander

pytestmark = pytest.mark.usefixtures("broker_env")

FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}
MESSAGES = 30
WATCHED = 2.0
"""Seconds for which a processor that can park nothing is watched."""


class Failing(Recorder):
    """Fails by `error`, the first `failures` times."""

    error: Any = ConnectionError
    failures = 10**6

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append((green.message().attempt, time.monotonic()))
        if len(self.seen) <= self.failures:
            raise self.error

    @Answers("command", "work")
    def answer(self, content: Any, reply: Any) -> None:
        self.seen.append((0, 0.0))
        raise self.error


def made(endpoint: Endpoint, **attributes: Any) -> Any:
    return at(endpoint, type("Failing", (Failing,), attributes))


def full(endpoint: Endpoint, raw: Any, _patch: Any) -> None:
    """The parking queue refuses each message (nack)."""
    raw.declare(f"{endpoint.queue}.parked", arguments=FULL)


def refused(endpoint: Endpoint, raw: Any, patch: Any) -> None:
    """The broker refuses the declaration of the parking queue (406)."""
    patch.setattr(keeping, "MAX_PARKED", -1)


def reserved(endpoint: Endpoint, raw: Any, patch: Any) -> None:
    """The broker reserves the name of the parking queue (403)."""
    patch.setattr(Failing, "park", "amq.parked")
    patch.setattr("postage.green.processor.PROCESSOR", {})


@pytest.mark.parametrize("trouble", [full, refused, reserved])
def test_a_processor_that_can_park_nothing_is_quiet(
    trouble: Any, endpoint: Any, raw: Any, monkeypatch: Any, caplog: Any
) -> None:
    """It keeps the messages, computes and logs little, disturbs no other, and ends in time."""
    trouble(endpoint, raw, monkeypatch)
    failing, producer = made(endpoint), endpoint.producer()
    failing.shutdown_timeout = 1.0
    other = Endpoint(endpoint.sub("other"))
    with running(at(other, Bystander)), caplog.at_level(logging.WARNING):
        with running(failing):
            for number in range(MESSAGES):
                producer.message_work(number)
            wait_until(lambda: failing.counts["failed"] == MESSAGES, SOON)
            wait_until(lambda: "could not be parked" in caplog.text, SOON)
            caplog.clear()
            computed = time.process_time()
            gevent.sleep(WATCHED)
            computed = time.process_time() - computed
            assert other.producer().rpc_echo("still").value == "still"
            watch = Stopwatch()
        assert watch.own < 1.0 + 2.0
    assert computed < WATCHED / 2, f"{computed:.2f} s of {WATCHED:g} s"
    assert len(caplog.records) < 15
    assert (len(failing.seen), failing.counts["parked"]) == (MESSAGES, 0)
    wait_until(lambda: raw.count(endpoint.queue) == MESSAGES, SOON)


# --- what a handler asks for


def test_a_message_may_come_again_without_a_delay(endpoint: Any) -> None:
    failing = made(endpoint, error=RetryLater(0), failures=2)
    with running(failing):
        endpoint.producer().message_work(1)
        wait_until(lambda: len(failing.seen) == 3, SOON)
    assert [attempt for attempt, _ in failing.seen] == [1, 2, 3]


def test_a_call_is_not_answered_later(endpoint: Any, raw: Any) -> None:
    """The caller of a handler that asks for more time is told so at once, as of any error."""
    failing = made(endpoint, error=RetryLater(60))
    with running(failing):
        result = endpoint.producer().rpc_work(1)
    assert (result.kind, result.value) == ("exception", "RetryLater")
    assert (len(failing.seen), failing.counts["delayed"]) == (1, 0)
    assert raw.count(endpoint.queue) == 0


@pytest.mark.parametrize("delays", [(), (0.1,)], ids=["parked", "delayed"])
def test_a_message_keeps_its_priority(endpoint: Any, raw: Any, delays: Any) -> None:
    failing = made(endpoint, retry=Retry(delays=delays) if delays else None)
    with running(failing):
        endpoint.producer().message_work(1, _priority=7, _headers={"x-tenant": "a"})
        wait_until(lambda: raw.exists(f"{endpoint.queue}.parked"), SOON)
        found = raw.take(f"{endpoint.queue}.parked")
    assert (found.properties.priority, found.properties.headers["x-tenant"]) == (7, "a")


# --- what peers write

BODY = messaging.JsonEncoder.encode(messaging.MessageCommand("work", 1).body).encode()


@pytest.mark.parametrize(
    "forged",
    [
        {"postage-delay": "60s", "x-postage-attempt": 2**40, "x-postage-round": 2**40},
        {"x-postage-attempt": -1, "x-postage-round": -5, "x-postage-first-failed-ms": -1},
        {"x-postage-attempt": "many", "x-postage-round": [1], "x-postage-first-failed-ms": {}},
        {"x-postage-round": True, "x-postage-attempt": True},
    ],
    ids=["huge", "negative", "odd", "flags"],
)
def test_headers_of_peers_steer_no_delay(endpoint: Any, raw: Any, forged: Any) -> None:
    failing = made(endpoint, failures=1, retry=Retry(delays=(0.1,), jitter=0))
    raw.declare(endpoint.queue)
    raw.put(endpoint.queue, BODY, headers=forged)
    with running(failing):
        wait_until(lambda: len(failing.seen) == 2, SOON)
    assert [attempt for attempt, _ in failing.seen] == [1, 2]


def test_a_peer_can_only_shorten_its_own_tries(endpoint: Any, raw: Any) -> None:
    """A history that Postage may have written is believed: it ends the tries of this message."""
    failing = made(endpoint, retry=Retry(delays=(60,)))
    raw.declare(endpoint.queue)
    raw.put(endpoint.queue, BODY, headers={"x-postage-round": 1, "x-postage-attempt": 7})
    with running(failing):
        wait_until(lambda: raw.exists(f"{endpoint.queue}.parked"), SOON)
        headers = raw.take(f"{endpoint.queue}.parked").properties.headers
    assert (headers["x-postage-attempt"], headers["x-postage-round"]) == (8, 1)


def test_waiting_for_the_broker_leaves_nothing_behind(endpoint: Any) -> None:
    """Each copy is watched for a channel that hangs; the watch ends with the confirm."""
    failing, producer = made(endpoint), endpoint.producer()
    with running(failing):
        for number in range(20):
            producer.message_work(number)
        wait_until(lambda: failing.counts["parked"] == 20, SOON)
        watches = [each for each in gc.get_objects() if "_end_if_stuck" in repr(each)[:200]
                   and isinstance(each, gevent.Greenlet) and not each.dead]  # fmt: skip
    assert watches == []


def test_a_handler_that_takes_too_long_is_tried_again(endpoint: Any) -> None:
    class Slow(Recorder):
        retry = Retry(now=1, delays=(0.1,), jitter=0)

        @Handles("command", "work")
        @green.time_limit(0.05)
        def work(self, content: Any) -> None:
            self.seen.append(green.message().attempt)
            if len(self.seen) < 4:
                gevent.sleep(60)

    slow = at(endpoint, Slow)
    with running(slow):
        endpoint.producer().message_work(1)
        wait_until(lambda: len(slow.seen) == 4, SOON)
        wait_until(lambda: slow.statistics().busy == 0, SOON)
    assert (slow.seen, slow.counts["delayed"]) == ([1, 2, 3, 4], 1)
