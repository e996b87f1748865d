"""Processors that are told to stop, by messages, handlers and code."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging, microthreads
from postage.errors import ExitScheduler
from postage.testing.polling import wait_until
from tests.support.recorder import Handles, Recorder, at, through
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")


def in_scheduler(*processors: Any) -> Any:
    """Run a scheduler with *processors* and return its greenlet."""
    scheduler = microthreads.MicroScheduler()
    for processor in processors:
        scheduler.add_microthread(processor)
    return gevent.spawn(lambda: [None for _ in scheduler.main()])


@pytest.mark.behaviour("quit-and-restart")
def test_quit_stops_one_processor_and_the_last_ends_the_loop(endpoint):
    one, other = (at(endpoint, eqk=endpoint.at((endpoint.sub(key), key))) for key in "ab")
    producer = endpoint.producer(eks=[(endpoint.exchange, "a")])
    loop = in_scheduler(one, other)

    producer.message_quit()
    assert producer.rpc_echo("alive", _key="b").value == "alive"
    wait_until(lambda: "idle" in repr(one), SOON)
    assert not loop.dead
    producer.message_quit(_key="b")

    loop.get(timeout=SOON)


@pytest.mark.behaviour("quit-and-restart")
def test_remote_control_false_refuses_quit_and_restart(endpoint, caplog):
    class Deaf(Recorder):
        remote_control = False

    class Mallory(messaging.GenericProducer):
        def __init__(self) -> None:
            super().__init__({"name": "mallory"})

    def send(_producer: Any) -> None:
        mallory = endpoint.producer(Mallory)
        mallory.message_quit()
        mallory.message_restart()

    processor = at(endpoint, Deaf)
    through(endpoint, processor, send)

    assert processor.counts["handled"] == 3
    refusals = [record.getMessage() for record in caplog.records]
    assert [("quit" in text, "restart" in text) for text in refusals] == [
        (True, False),
        (False, True),
    ]
    assert all("'name': 'mallory'" in text for text in refusals)


class Ending(Recorder):
    @Handles("command", "stop")
    def stop(self, content):
        raise StopIteration

    @Handles("command", "exit")
    def exit(self, content):
        raise ExitScheduler

    @Handles("command", "work")
    def work(self, content):
        self.seen.append("began")
        gevent.sleep(content["parameters"])
        self.seen.append("ended")


@pytest.mark.behaviour("quit-and-restart")
def test_stop_iteration_from_a_handler_ends_this_processor_alone(endpoint, raw):
    one, other = (at(endpoint, Ending, endpoint.at((endpoint.sub(key), key))) for key in "ab")
    producer = endpoint.producer(eks=[(endpoint.exchange, "a")])
    loop = in_scheduler(one, other)

    producer.message_stop()
    wait_until(lambda: one.counts["handled"] and "idle" in repr(one), SOON)
    assert producer.rpc_echo("alive", _key="b").value == "alive"
    assert raw.count(endpoint.sub("a")) == 0  # acknowledged

    assert not loop.dead
    producer.message_exit(_key="b")
    loop.get(timeout=SOON)


@pytest.mark.behaviour("quit-and-restart")
def test_exit_scheduler_ends_all_after_their_messages(endpoint, raw):
    one, other = (at(endpoint, Ending, endpoint.at((endpoint.sub(key), key))) for key in "ab")
    producer = endpoint.producer(eks=[(endpoint.exchange, "b")])
    loop = in_scheduler(one, other)
    for _ in range(5):
        producer.message_work(0.2)
    wait_until(lambda: other.seen == ["began"] * 5, SOON)

    producer.message_exit(_key="a")
    loop.get(timeout=SOON)

    assert other.seen == ["began"] * 5 + ["ended"] * 5
    assert raw.count(endpoint.sub("b")) == 0


@pytest.mark.behaviour("quit-and-restart")
def test_quit_lets_running_handlers_of_the_same_processor_finish(endpoint, raw):
    processor = at(endpoint, Ending)
    producer = endpoint.producer()
    loop = in_scheduler(processor)
    producer.message_work(0.2)
    wait_until(lambda: processor.seen, SOON)

    producer.message_quit()
    loop.get(timeout=SOON)

    assert processor.seen == ["began", "ended"]
    assert raw.count(endpoint.queue) == 0


@pytest.mark.behaviour("quit-and-restart")
def test_a_stopping_processor_requeues_waiting_messages(endpoint, raw):
    class OneByOne(Ending):
        concurrency = 1
        prefetch = 10

    processor = at(endpoint, OneByOne)
    producer = endpoint.producer()
    for _ in range(5):
        producer.message_work(0.2)
    loop = in_scheduler(processor)
    wait_until(lambda: processor.seen == ["began"], SOON)

    processor.stop_consuming()
    wait_until(lambda: "idle" in repr(processor), SOON)

    assert processor.seen == ["began", "ended"]
    wait_until(lambda: raw.count(endpoint.queue) == 4, SOON)
    loop.kill()


@pytest.mark.behaviour("quit-and-restart")
def test_green_run_returns_when_the_last_processor_has_quit(endpoint):
    processors = [at(endpoint, eqk=endpoint.at((endpoint.sub(key), key))) for key in "abc"]
    run = gevent.spawn(green.run, *processors)
    for key in "abc":
        endpoint.producer().message_quit(_key=key)

    run.get(timeout=SOON)
