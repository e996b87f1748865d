"""A queue that the broker refuses for good ends its processor; the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pika.exceptions
import pytest

from postage import green
from postage.errors import TopologyMismatch
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.recorder import Recorder
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")


@pytest.fixture
def loop() -> Iterator[Any]:
    """Run processors under a scheduler that ends with the last of them; return its greenlet."""
    schedulers: list[green.Scheduler] = []

    def start(*processors: Any) -> Any:
        schedulers.append(green.Scheduler(autoquit=True))
        for processor in processors:
            schedulers[-1].add_microthread(processor)
        running = gevent.spawn(lambda: [None for _ in schedulers[-1].main()])
        wait_until(lambda: all(each.consumer.consuming for each in processors), SOON)
        return running

    yield start
    for scheduler in schedulers:
        scheduler.stop(1.0)


def processor(endpoint: Endpoint, name: str) -> Recorder:
    return Recorder({"name": name}, endpoint.at((endpoint.sub(name), name)))


def refuse(raw: Raw, queue: str) -> None:
    """Make *queue* anew with other flags, however often its processor is faster."""

    def is_replaced() -> bool:
        raw.channel.queue_delete(queue)
        try:
            raw.channel.queue_declare(queue, durable=True, arguments={"x-max-length": 7})
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True

    wait_until(is_replaced, SOON)


def test_the_others_go_on_and_nothing_is_repeated(
    endpoint: Endpoint, raw: Raw, loop: Any, caplog: Any
):
    fine, bad = processor(endpoint, "fine"), processor(endpoint, "bad")
    running = loop(fine, bad)
    refuse(raw, endpoint.sub("bad"))
    wait_until(lambda: "because the broker would refuse it again" in caplog.text, SOON)

    assert endpoint.producer().rpc_echo("alive", _key="fine").value == "alive"
    assert (bad.counts["restarts"], bad.consumer.consuming, fine.consumer.consuming) == (0, 0, 1)
    assert not running.dead
    fine.stop_consuming()
    with pytest.raises(TopologyMismatch, match="x-max-length = 7"):
        running.get(timeout=SOON)


def test_the_last_one_raises_the_error_at_once(endpoint: Endpoint, raw: Raw, loop: Any):
    running = loop(processor(endpoint, "bad"))
    refuse(raw, endpoint.sub("bad"))

    with pytest.raises(TopologyMismatch, match="x-max-length = 7"):
        running.get(timeout=SOON)


def test_a_shutdown_is_no_error_although_one_was_refused(endpoint: Endpoint, raw: Raw, caplog: Any):
    scheduler = green.Scheduler()
    fine, bad = processor(endpoint, "fine"), processor(endpoint, "bad")
    for each in (fine, bad):
        scheduler.add_microthread(each)
    running = gevent.spawn(lambda: [None for _ in scheduler.main()])
    wait_until(lambda: fine.consumer.consuming and bad.consumer.consuming, SOON)
    refuse(raw, endpoint.sub("bad"))
    wait_until(lambda: "because the broker would refuse it again" in caplog.text, SOON)
    scheduler.shutdown()

    assert running.get(timeout=SOON)
