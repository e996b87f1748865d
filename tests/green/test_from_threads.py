"""Replies, acks and requests to stop may come from native threads that have no hub."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.event
import gevent.threadpool
import pytest

from postage import green, messaging
from postage.errors import EncodingError
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor
from tests.support.endpoints import Endpoint
from tests.support.programs import run_program
from tests.support.raw import Raw
from tests.support.running import SOON
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

Later = Callable[[Callable[[], None]], None]
"""Runs a function in another native thread, soon."""


def in_executor(function: Callable[[], None]) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(function)
    executor.shutdown(wait=False)


def in_callback(function: Callable[[], None]) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(time.sleep, 0.02).add_done_callback(lambda _future: function())
    executor.shutdown(wait=False)


def in_callback_of_process(function: Callable[[], None]) -> None:
    context = multiprocessing.get_context("forkserver")
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    executor.submit(abs, -1).add_done_callback(lambda _future: function())
    executor.shutdown(wait=False)


def in_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function).start()


def in_timer(function: Callable[[], None]) -> None:
    threading.Timer(0.02, function).start()


def in_pool_of_gevent(function: Callable[[], None]) -> None:
    gevent.get_hub().threadpool.spawn(function)


in_every_thread = pytest.mark.parametrize(
    "later",
    [
        in_executor,
        in_callback,
        in_callback_of_process,
        in_thread,
        in_timer,
        in_pool_of_gevent,
    ],
)


class Deferring(messaging.MessageProcessor):
    """Replies from other native threads."""

    later: Later
    errors: list[BaseException]

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply.later()
        self._run(lambda: reply(content["parameters"]))

    @messaging.RpcHandler("command", "strange")
    def strange(self, content: Any, reply: Any) -> None:
        reply.later()

        def answer() -> None:
            try:
                reply(object())
            except EncodingError as exc:
                self.errors.append(exc)
                reply("could not be encoded")

        self._run(answer)

    @messaging.MessageHandler("command", "stop")
    def stop_(self, content: Any) -> None:
        self._run(self.stop_consuming)

    def _run(self, function: Callable[[], None]) -> None:
        type(self).later(function)


@pytest.fixture
def processor(later: Later, endpoint: Endpoint, run_processor: RunProcessor) -> Deferring:
    """A processor that runs, and uses threads by *later*."""
    kind = type("Deferring", (Deferring,), {"later": staticmethod(later), "errors": []})
    processor: Deferring = kind(None, endpoint.eqk)
    run_processor(processor)
    return processor


@in_every_thread
def test_a_reply_from_a_native_thread_arrives(processor: Deferring, endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    watch = Stopwatch()
    calls = [producer.rpc_echo.later(number, _timeout=SOON, _max_retry=0) for number in range(12)]
    gevent.joinall(calls, SOON)
    assert [call.value.unwrap() for call in calls] == list(range(12))
    assert watch.own < SOON / 2
    assert len(green.statistics()) == 2, "no thread has connections of its own"
    assert not processor.counts["lost_reply"]


@in_every_thread
def test_the_thread_hears_that_a_reply_cannot_be_encoded(
    processor: Deferring, endpoint: Endpoint
) -> None:
    result = endpoint.producer().rpc_strange(_timeout=SOON, _max_retry=0)
    assert result.unwrap() == "could not be encoded"
    assert len(processor.errors) == 1


@in_every_thread
def test_a_native_thread_can_stop_a_processor(processor: Deferring, endpoint: Endpoint) -> None:
    endpoint.producer().message_stop()
    with gevent.Timeout(SOON):
        processor.join()
    assert not processor.consumer.consuming


def in_order(*calls: Callable[[], Any]) -> None:
    """Make *calls* in a native thread, and let greenlets run until it has ended."""
    thread = threading.Thread(target=lambda: [call() for call in calls])
    thread.start()
    wait_until(lambda: not thread.is_alive(), SOON)


@contextmanager
def received(endpoint: Endpoint, count: int) -> Iterator[tuple[Any, list[Any]]]:
    """Consume *count* messages; the block gets the consumer and the deliveries."""
    consumer = messaging.GenericConsumer(endpoint.eqk)
    consumer.prefetch = count
    producer, got = endpoint.producer(), []
    for _ in range(count):
        producer.message_x()
    run = gevent.spawn(consumer.start_consuming, lambda *message: got.append(message[1]))
    wait_until(lambda: len(got) == count, SOON)
    yield consumer, got
    consumer.stop_consuming()
    run.join(SOON)


def test_a_native_thread_can_acknowledge_and_reject(endpoint: Endpoint, raw: Raw) -> None:
    with received(endpoint, 4) as (consumer, got):
        in_order(
            lambda: consumer.ack(got[1]),
            got[0].ack,
            lambda: got[2].channel.ack(got[2].delivery_tag),
            lambda: consumer.reject(got[3], requeue=False),
        )
        wait_until(lambda: not got[0].channel._acks, SOON)
        assert got[0].channel.stale_acks == 0
    assert_stays(lambda: raw.count(endpoint.queue) == 0, 0.1)


def test_an_ack_from_a_thread_after_the_end_is_counted(endpoint: Endpoint) -> None:
    with received(endpoint, 1) as (_consumer, got):
        pass
    channel = got[0].channel
    before = channel.stale_acks
    in_order(got[0].ack, lambda: got[0].reject(requeue=True))
    wait_until(lambda: channel.stale_acks == before + 2, SOON)


LAST_REPLY = """
import threading, time
from postage import green, messaging

class P(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "work")
    def work(self, content, reply):
        reply.later()
        def answer():
            time.sleep(0.3)
            reply("late, but here")
        threading.Thread(target=answer).start()
        self.stop_consuming()

class X(messaging.Exchange):
    name = {name!r}

green.run(P(eqk=[(X, [({name!r}, "rk")])]))
"""


def test_a_reply_after_the_processor_has_ended_arrives(endpoint: Endpoint) -> None:
    messaging.GenericConsumer(endpoint.eqk)  # declares the queue
    producer = endpoint.producer()
    call = producer.rpc_work.later(_timeout=SOON, _max_retry=0)
    program = gevent.spawn(run_program, "-c", LAST_REPLY.format(name=endpoint.exchange.name))
    call.join(SOON)
    assert call.value.unwrap() == "late, but here"
    assert program.get(timeout=SOON).code == 0


def test_a_thread_that_has_ended_cannot_reply(endpoint: Endpoint) -> None:
    """The processor runs in a native thread; its reply function outlives the thread."""
    replies: list[Any] = []

    class Late(messaging.MessageProcessor):
        @messaging.RpcHandler("command", "work")
        def work(self, content: Any, reply: Any) -> None:
            replies.append(reply.later())
            self.stop_consuming()

    processors: list[Late] = []

    def serve() -> None:
        processors.append(Late(None, endpoint.eqk))
        processors[0].start_consuming()

    thread = threading.Thread(target=serve)
    thread.start()
    producer = endpoint.producer()
    wait_until(lambda: processors and processors[0].consumer.consuming, SOON)
    call = producer.rpc_work.later(_timeout=1.0, _max_retry=0)
    wait_until(lambda: not thread.is_alive(), SOON)
    replies[0]("too late")
    assert processors[0].counts["lost_reply"] == 1
    assert call.get(timeout=SOON).message
