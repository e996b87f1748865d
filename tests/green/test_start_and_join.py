"""The two ways to run a processor: start() and join(), or start_consuming(), which is both."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.errors import ConnectionClosed, SettingsError, TopologyMismatch
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")


class Worker(messaging.MessageProcessor):
    """Works until its gate is open."""

    def __init__(self, *args: Any) -> None:
        self.gate = gevent.event.Event()
        self.begun: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        self.gate.wait()


def test_start_does_not_switch_and_join_waits_for_the_end(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    others: list[str] = []
    gevent.spawn(others.append, "ran")
    worker.start()
    assert not others
    assert worker.join(0.01) is False

    wait_until(lambda: worker.consumer.consuming, SOON)
    endpoint.producer().message_work(1)
    wait_until(lambda: worker.begun == [1], SOON)
    worker.stop_consuming()
    assert worker.join(0.05) is False, "its handler runs"
    worker.gate.set()
    assert worker.join(SOON) is True
    assert (worker.statistics().state, worker.counts["handled"]) == ("idle", 1)


def test_a_processor_can_be_started_again(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    worker.gate.set()
    for number in range(3):
        worker.start()
        endpoint.producer().message_work(number)
        wait_until(lambda n=number: worker.counts["handled"] == n + 1, SOON)
        worker.stop()
        assert worker.join(0) is True
    assert worker.begun == [0, 1, 2]


def test_join_raises_what_has_ended_it_and_start_reports_it(endpoint: Endpoint, raw: Raw) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    raw.channel.queue_delete(endpoint.queue)
    raw.declare(endpoint.queue, auto_delete=True)
    green.close()  # it has to declare its queue again
    reported: list[Any] = []
    worker.start(reported.append)

    with pytest.raises(TopologyMismatch) as error:
        worker.join(SOON)

    assert reported == [error.value]
    assert worker.statistics().state == "idle"


def test_our_own_close_ends_it_with_that_error(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    reported: list[Any] = []
    worker.start(reported.append)
    wait_until(lambda: worker.consumer.consuming, SOON)
    green.close()

    with pytest.raises(ConnectionClosed):
        worker.join(SOON)
    assert [type(error) for error in reported] == [ConnectionClosed]


def test_an_end_without_an_error_is_reported_as_none(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    reported: list[Any] = []
    worker.start(reported.append)
    worker.stop()
    assert reported == [None]


def test_a_greenlet_killed_in_start_consuming_stops_it(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    run = gevent.spawn(worker.start_consuming)
    wait_until(lambda: worker.consumer.consuming, SOON)
    endpoint.producer().message_work(1)
    wait_until(lambda: worker.begun == [1], SOON)

    gevent.spawn_later(0.05, worker.gate.set)
    run.kill(timeout=SOON)

    assert (run.dead, worker.statistics().state, worker.counts["handled"]) == (True, "idle", 1)


@pytest.mark.parametrize("name", ["start", "stop", "join", "kill"])
def test_handlers_may_be_named_like_the_methods(endpoint: Endpoint, name: str) -> None:
    def answer(self: Any, content: Any, reply: Any) -> None:
        reply(content["parameters"])

    handler = messaging.RpcHandler("command", name)(answer)
    kind = type("Named", (messaging.MessageProcessor,), {name: handler})
    processor = kind({"name": name}, endpoint.eqk)
    loop = gevent.spawn(green.run, processor)

    assert getattr(endpoint.producer(), f"rpc_{name}")(1).value == 1
    processor.stop_consuming()
    loop.get(timeout=SOON)


def test_a_processor_that_runs_cannot_be_started(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    worker.gate.set()
    worker.start()
    with pytest.raises(AssertionError, match="runs already"):
        worker.start()
    endpoint.producer().message_work(1)
    wait_until(lambda: worker.counts["handled"] == 1, SOON)
    worker.stop()
    endpoint.producer().message_work(2)  # an abandoned consumer would give it back for ever

    worker.start()
    wait_until(lambda: worker.begun == [1, 2], SOON)
    worker.stop()


def test_a_scheduler_takes_a_processor_once(endpoint: Endpoint) -> None:
    worker = Worker({"name": "worker"}, endpoint.eqk)
    with pytest.raises(SettingsError, match="does not run yet"):
        green.run(worker, worker)


def test_a_failed_start_stops_what_it_has_started_alone(endpoint: Endpoint) -> None:
    keys = ("a", "b", "c")
    workers = [Worker({"name": key}, endpoint.at((endpoint.sub(key), key))) for key in keys]
    _, second, third = workers
    second.start()
    wait_until(lambda: second.consumer.consuming, SOON)
    with pytest.raises(AssertionError, match="runs already"):
        green.run(*workers)
    assert [each.statistics().state for each in workers] == ["idle", "consuming", "idle"]

    third.start()
    wait_until(lambda: third.consumer.consuming, SOON)
    second.stop()
    third.stop()


def test_what_cannot_be_started_does_not_hold_up_the_end(endpoint: Endpoint) -> None:
    scheduler = green.Scheduler()
    first = Worker({"name": "first"}, endpoint.eqk)
    second = Worker({"name": "second"}, endpoint.at((endpoint.sub("b"), "b")))
    second.start()
    scheduler.add_microthread(first)
    loop = gevent.spawn(list, scheduler.main())
    wait_until(lambda: first.consumer.consuming, SOON)
    with pytest.raises(AssertionError, match="runs already"):
        scheduler.add_microthread(second)
    scheduler.shutdown()
    loop.get(timeout=SOON)
    assert second.consumer.consuming
    second.stop()
