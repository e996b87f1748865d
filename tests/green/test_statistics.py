"""Pictures of processors and producers."""

from __future__ import annotations

import dataclasses
from typing import Any

import gevent.event
import pytest

from postage import messaging
from postage.errors import NoRoute
from postage.statistics_types import ProcessorStatistics, ProducerStatistics
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint
from tests.support.running import running

SOON = 10.0


class Worker(messaging.MessageProcessor):
    concurrency = 2
    prefetch = 5

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.go = gevent.event.Event()

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.go.wait()

    @messaging.MessageHandler("command", "fail")
    def fail(self, content: Any) -> None:
        raise KeyError("on purpose")

    @messaging.RpcHandler("command", "sum")
    def sum(self, content: Any, reply_func: Any) -> None:
        reply_func(messaging.MessageResult(sum(content["parameters"])))

    @messaging.RpcHandler("command", "refuse")
    def refuse(self, content: Any, reply_func: Any) -> None:
        reply_func(messaging.MessageResultError("no"))


def test_what_a_processor_does(endpoint: Endpoint) -> None:
    worker = Worker({"name": "w"}, endpoint.eqk)
    producer = endpoint.producer()
    assert worker.statistics().state == "idle"
    with running(worker):
        for _ in range(4):
            producer.message_work()
        wait_until(lambda: worker.statistics().busy == 2, SOON)
        wait_until(lambda: worker.statistics().waiting == 2, SOON)
        busy = worker.statistics()
        assert (busy.name, busy.state, busy.queues) == ("w", "consuming", (endpoint.queue,))
        worker.go.set()
        producer.message_fail()
        producer.message_unheard()
        producer.forward("no message")
        wait_until(lambda: worker.statistics().malformed == 1, SOON)
        wait_until(lambda: worker.statistics().parked == 2, SOON)
        wait_until(lambda: worker.statistics().busy == 0, SOON)
        done = worker.statistics()
        assert (done.handled, done.failed, done.unhandled) == (5, 1, 1)
        assert (done.busy, done.waiting, done.expired, done.poisonous) == (0, 0, 0, 0)
    assert worker.statistics().state == "idle"


def test_a_processor_that_drains_says_so(endpoint: Endpoint) -> None:
    worker = Worker({"name": "w"}, endpoint.eqk)
    with running(worker):
        endpoint.producer().message_work()
        wait_until(lambda: worker.statistics().busy == 1, SOON)
        worker.stop_consuming()
        wait_until(lambda: worker.statistics().state == "draining", SOON)
        worker.go.set()


def test_what_a_producer_does(endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    with running(Worker({"name": "w"}, endpoint.eqk)):
        producer.message_unheard()
        calls = [spawned(producer.rpc_sum, [n, 1]) for n in range(10)]
        gevent.sleep(0)
        assert producer.statistics().calling == 10
        outcomes(calls, SOON)
        producer.rpc_refuse()
        producer.rpc_unheard()
    producer.mandatory = True
    with pytest.raises(NoRoute):
        producer.message_nowhere(_key="nowhere")
    picture = producer.statistics()
    assert (picture.sent, picture.failed, picture.calling) == (1, 1, 0)
    assert (picture.succeeded, picture.erred, picture.excepted) == (10, 1, 1)


@pytest.mark.parametrize("kind", [ProcessorStatistics, ProducerStatistics])
def test_they_are_frozen(kind: Any) -> None:
    names = [each.name for each in dataclasses.fields(kind)]
    picture = kind(**dict.fromkeys(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(picture, names[0], 1)
