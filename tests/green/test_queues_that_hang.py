"""Queues that keep failed messages and do not answer, or were declared just now."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pika import spec

from postage import Retry, green
from postage.green.handling import keeping
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from tests.support.deaf_proxy import DeafProxy, deaf_proxy
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, take_all
from tests.support.recorder import Handles, Recorder
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

MESSAGES = 5


class Failing(Recorder):
    """Fails at each try but the last, and records the attempts."""

    last = 10**6
    shutdown_timeout = 1.0

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append(green.message().attempt)
        if self.seen[-1] < self.last:
            raise ConnectionError


@pytest.fixture
def deaf(broker_env: Any) -> Iterator[DeafProxy]:
    with deaf_proxy(broker_env.port) as proxy:
        yield proxy
        green.close(0.1)


def made(endpoint: Endpoint, hup: Any, eqk: Any = None, **attributes: Any) -> Any:
    kind = type("Failing", (Failing,), attributes)
    return kind({"name": "failing"}, eqk or endpoint.eqk, hup)


@pytest.fixture
def hup(broker_env: Any, deaf: DeafProxy) -> Any:
    return {**broker_env.hup, "port": deaf.port}


def send(endpoint: Endpoint, count: int = MESSAGES) -> None:
    producer = endpoint.producer()
    for number in range(count):
        producer.message_work(number)


@pytest.mark.parametrize("retry", [None, Retry(delays=(60,))], ids=["parked", "delayed"])
def test_a_queue_that_hangs_holds_up_no_other(
    endpoint: Endpoint, deaf: DeafProxy, hup: Any, retry: Any, monkeypatch: Any, caplog: Any
) -> None:
    """The connection stays, what goes elsewhere is kept, and the log names the queue."""
    monkeypatch.setattr(keeping, "SLOW", 0.1)
    other = Endpoint(endpoint.sub("other"))
    bystander = made(other, hup)
    failing = made(endpoint, hup, retry=retry)
    pair = runtime_of(failing.consumer.settings).pair
    hanging = "postage.delay" if retry else f"{endpoint.queue}.parked"
    deaf.ignore(hanging, spec.Basic.Publish)
    with running(failing, bystander), caplog.at_level(logging.WARNING):
        send(endpoint)
        wait_until(lambda: deaf.hanging, SOON)
        send(other)
        wait_until(lambda: bystander.counts["parked"] == MESSAGES, SOON)
        wait_until(lambda: f"does not answer about queue '{hanging}" in caplog.text, SOON)
        assert (failing.statistics().busy, pair.publishing.losses) == (MESSAGES, 0)
        assert not {"parked", "delayed"} & failing.counts.keys()
        deaf.ignored.clear()
        deaf.cut()
        wait_until(lambda: failing.statistics().busy == 0, SOON)


def test_only_one_message_waits_at_a_queue_that_hangs(
    endpoint: Endpoint, raw: Raw, deaf: DeafProxy, hup: Any
) -> None:
    """A broker that refuses it in the end would refuse all behind it, each after a minute."""
    failing = made(endpoint, hup)
    deaf.ignore(f"{endpoint.queue}.parked", spec.Basic.Publish)
    with running(failing):
        send(endpoint)
        wait_until(lambda: failing.statistics().busy == MESSAGES and deaf.hanging, SOON)
        connection = runtime_of(failing.consumer.settings).pair.publishing.current
        channel = connection.keeping(f"{endpoint.queue}.parked").current
        assert channel.statistics().unconfirmed == 1
        deaf.ignored.clear()
        deaf.refuse()
        wait_until(lambda: failing.counts["parked"] == MESSAGES, SOON)
        assert not channel.alive
    assert len(take_all(raw, f"{endpoint.queue}.parked", MESSAGES)) == MESSAGES
    assert raw.count(endpoint.queue) == 0


def test_another_delay_takes_the_place_of_one_that_refuses(
    endpoint: Endpoint, raw: Raw, deaf: DeafProxy, hup: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keeping, "LIMIT", 0.5)
    failing = made(endpoint, hup, retry=Retry(delays=(0.355,), jitter=0), last=2)
    runtime = runtime_of(failing.consumer.settings)
    deaf.ignore(endpoint.queue, spec.Basic.Publish)
    with running(failing):
        send(endpoint)
        wait_until(lambda: failing.statistics().busy == MESSAGES and deaf.hanging, SOON)
        since = time.monotonic()
        wait_until(lambda: time.monotonic() > since + keeping.LIMIT, SOON)
        deaf.ignored.clear()
        deaf.refuse()
        wait_until(lambda: len(failing.seen) == 2 * MESSAGES, SOON)
        assert [*runtime.refused_at] == ["postage.delay.0.355s"]
        send(endpoint, 1)
        wait_until(lambda: len(failing.seen) == 2 * MESSAGES + 2, SOON)
    assert sorted(failing.seen) == [1] * (MESSAGES + 1) + [2] * (MESSAGES + 1)
    assert not raw.exists("postage.delay.0.355s")
    assert raw.exists("postage.delay.0.315s")


# --- queues that the broker may forget


@pytest.mark.needs_rabbitmq("its disk")
def test_what_a_young_queue_keeps_is_acknowledged_late(
    endpoint: Endpoint, raw: Raw, broker_env: Any, monkeypatch: Any
) -> None:
    """RabbitMQ that is killed forgets quorum queues that it has declared just before."""
    monkeypatch.setattr(keeping, "YOUNG", 1.5)
    flags = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    queue = {"name": endpoint.queue, "flags": flags}
    failing = made(endpoint, broker_env.hup, endpoint.at((queue, endpoint.key)))
    runtime = runtime_of(failing.consumer.settings)
    with running(failing):
        send(endpoint, 1)
        wait_until(lambda: runtime.declared_at, SOON)
        (declared_at,) = runtime.declared_at.values()
        wait_until(lambda: failing.counts["parked"] == 1, SOON)
        assert time.monotonic() - declared_at > keeping.YOUNG
        assert runtime.declared_at == {}
