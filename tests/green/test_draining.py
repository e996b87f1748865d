"""Stopping in order: running handlers finish in their time, and other messages are requeued."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging, microthreads
from postage.dispatch import HandlerKilled
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.running import SOON
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")

SCRIPT = "tests/green/programs/draining.py"


class Worker(messaging.MessageProcessor):
    """Its handlers end when the gate is open, or never, or do not even hear of their end."""

    shutdown_timeout = 0.5

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.seen: list[str] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "wait")
    def waits(self, content: Any) -> None:
        self.seen.append("began")
        self.gate.wait()
        self.seen.append("ended")

    @messaging.MessageHandler("command", "deaf")
    def deaf(self, content: Any) -> None:
        self.seen.append("began")
        while not self.gate.is_set():
            with suppress(HandlerKilled):
                self.gate.wait()

    @messaging.MessageHandler("command", "stop_myself")
    def stops_itself(self, content: Any) -> None:
        try:
            self.stop()
        except AssertionError as exc:
            self.seen.append(str(exc))
        self.stop_consuming()


def worker(endpoint: Endpoint, name: str = "rk", **attributes: Any) -> Any:
    """Return a processor with a queue and a key of its own."""
    kind = type("Own", (Worker,), attributes)
    return kind({"name": name}, endpoint.at((endpoint.sub(name), name)))


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that *function* takes: by the clock, and of its own."""
    watch = Stopwatch()
    function()
    return watch.seconds, watch.own


@pytest.fixture
def started(endpoint: Endpoint) -> Iterator[Callable[..., Any]]:
    """Run processors in one scheduler; whatever a test leaves running is let go."""
    made: list[Any] = []

    def start(*processors: Any, message: str) -> Any:
        scheduler = microthreads.MicroScheduler()
        for processor in processors:
            scheduler.add_microthread(processor)
        made.extend(processors)
        run = gevent.spawn(lambda: [None for _ in scheduler.main()])
        for processor in processors:
            getattr(endpoint.producer(), f"message_{message}")(_key=processor.fingerprint["name"])
        wait_until(lambda: all(each.seen == ["began"] for each in processors), SOON)
        return scheduler, run

    yield start
    for processor in made:
        processor.gate.set()


# --- a processor


def test_stop_returns_when_what_runs_has_finished(
    endpoint: Endpoint, raw: Raw, started: Any
) -> None:
    processor = worker(endpoint, shutdown_timeout=30.0)
    scheduler, run = started(processor, message="wait")
    gevent.spawn_later(0.1, processor.gate.set)

    took, own = timed(processor.stop)

    assert took > 0.05
    assert own < 5
    assert processor.seen == ["began", "ended"]
    assert raw.count(endpoint.sub("rk")) == 0
    assert not run.dead, "the scheduler goes on"
    scheduler.stop()
    run.get(timeout=SOON)


@pytest.mark.parametrize("message", ["wait", "deaf"])
@pytest.mark.parametrize("timeout", [None, 0.1])
def test_stop_gives_what_does_not_finish_back(
    endpoint: Endpoint, raw: Raw, started: Any, message: str, timeout: float | None
) -> None:
    processor = worker(endpoint)
    scheduler, run = started(processor, message=message)

    took, own = timed(lambda: processor.stop(timeout))

    limit = processor.shutdown_timeout if timeout is None else timeout
    assert limit <= took
    assert own < limit + 1
    assert "ended" not in processor.seen
    wait_until(lambda: raw.count(endpoint.sub("rk")) == 1, SOON)
    scheduler.stop()
    run.get(timeout=SOON)


def test_a_shorter_stop_cuts_a_longer_one_short(endpoint: Endpoint, started: Any) -> None:
    processor = worker(endpoint, shutdown_timeout=60.0)
    _, run = started(processor, message="wait")
    processor.stop_consuming()

    assert timed(lambda: processor.stop(0.1))[1] < 1.1
    assert processor.stop(0) is None, "it has stopped"
    run.kill()


def test_a_handler_that_waits_for_its_own_end_is_told(endpoint: Endpoint) -> None:
    processor = worker(endpoint)
    endpoint.producer().message_stop_myself()

    gevent.spawn(processor.start_consuming).get(timeout=SOON)

    assert ["a handler cannot wait for its own end" in text for text in processor.seen] == [True]


# --- a scheduler


@pytest.mark.parametrize("message", ["wait", "deaf"])
@pytest.mark.parametrize("how", ["shutdown", "stop", "stop sooner"])
def test_however_many_never_end_all_is_over_in_time(
    endpoint: Endpoint, raw: Raw, started: Any, how: str, message: str
) -> None:
    names = [f"p{number}" for number in range(6)]
    herd = [worker(endpoint, name, shutdown_timeout=1.0) for name in names]
    scheduler, run = started(*herd, message=message)
    limit = 0.2 if how == "stop sooner" else 1.0
    watch = Stopwatch()

    if how == "shutdown":
        scheduler.shutdown()
    else:
        scheduler.stop(limit if how == "stop sooner" else None)
    run.get(timeout=SOON)

    assert watch.seconds >= limit
    assert watch.own < limit + 1
    for name in names:
        wait_until(lambda n=name: raw.count(endpoint.sub(n)) == 1, SOON)


def test_the_end_does_not_wait_for_a_silent_broker(endpoint: Endpoint, broker_env: Any) -> None:
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        eqk = endpoint.at(*((endpoint.sub(name), name) for name in "abc"))
        processor = Worker({"name": "silent"}, eqk, hup)
        run = gevent.spawn(green.run, processor)
        wait_until(lambda: processor.consumer.consuming, SOON)
        proxy.half_open()

        assert timed(processor.stop)[1] < 1
        run.get(timeout=SOON)
        green.close(0.1)


# --- whole programs


@pytest.fixture
def program(endpoint: Endpoint, raw: Raw) -> Iterator[Any]:
    """The program, started with a shutdown_timeout, ready, and its producer."""
    with Program("-B", SCRIPT, endpoint.queue, "1.0") as started:
        started.wait_for_line("ready")
        yield started


def numbers(program: Program, word: str) -> list[int]:
    return [int(line.split()[1]) for line in program.stdout.splitlines() if line.startswith(word)]


@pytest.mark.slow
@pytest.mark.behaviour("quit-and-restart")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_a_message_is_finished_or_requeued(
    endpoint: Endpoint, raw: Raw, program: Program, number: int
) -> None:
    producer, over, sent = endpoint.producer(), gevent.event.Event(), 0

    def keep_sending() -> None:
        nonlocal sent
        while not over.is_set():
            producer.message_work([sent, 0.05])
            sent += 1

    sending = gevent.spawn(keep_sending)
    wait_until(lambda: len(numbers(program, "finished")) > 20, SOON)

    program.popen.send_signal(number)
    finished = program.wait()
    over.set()
    sending.get(timeout=SOON)

    assert finished.code == 0, finished.stderr
    assert finished.stderr == ""
    began, ended = numbers(program, "began"), numbers(program, "finished")
    assert sorted(began) == sorted(ended), "what was begun is finished"
    assert len(set(ended)) == len(ended) < sent, "and nothing twice"
    wait_until(lambda: raw.count(endpoint.queue) == sent - len(ended), SOON)


@pytest.mark.slow
@pytest.mark.behaviour("quit-and-restart")
def test_a_program_with_an_endless_handler_ends_in_time(
    endpoint: Endpoint, raw: Raw, program: Program
) -> None:
    endpoint.producer().message_work([1, 3600])
    program.wait_for_line("began 1")

    began = time.time()
    program.popen.send_signal(signal.SIGTERM)
    finished = program.wait()

    assert finished.code == 0, finished.stderr
    ended = float(program.wait_for_line("ended").split()[1])
    assert 1.0 <= ended - began < 2.0
    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)


@pytest.mark.slow
@pytest.mark.behaviour("quit-and-restart")
@pytest.mark.parametrize("fault", ["cut", "half_open"])
def test_a_program_ends_during_the_loss_of_its_connection(
    endpoint: Endpoint, broker_env: Any, fault: str
) -> None:
    with Proxy(broker_env.port) as proxy:
        env = broker_env.environment() | {"POSTAGE_PORT": str(proxy.port)}
        with Program("-B", SCRIPT, endpoint.queue, "30", env=env) as program:
            program.wait_for_line("ready")
            wait_until(lambda: proxy.connections, SOON)
            endpoint.producer().message_work([1, 0])
            program.wait_for_line("finished")
            proxy.refuse()
            getattr(proxy, fault)()
            if fault == "cut":
                program.wait_for_line("is lost; reconnecting")

            began = time.time()
            program.popen.send_signal(signal.SIGTERM)
            finished = program.wait()

            assert finished.code == 0, finished.stderr
            ended = float(program.wait_for_line("ended").split()[1])
            assert ended - began < (0.5 if fault == "cut" else 1.0)
            assert time.time() - began < 3.0, "and the end of the interpreter"


# --- before there is a broker


@pytest.mark.slow
def test_a_program_that_waits_for_its_broker_starts_before_it(endpoint: Endpoint) -> None:
    from postage.testing.rabbitmq import free_ports

    (port,) = free_ports(1)
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F?wait_for_broker=1"
    with Program("-B", SCRIPT, endpoint.queue, "1", env={"POSTAGE_URL": url}) as program:
        program.wait_for_line("No connection for consuming")
        with Program("-m", "postage", "broker", "--port", str(port)) as broker:
            broker.wait_for_line(str(port))
            program.wait_for_line("ready")
            there = {"host": "127.0.0.1", "port": port, "user": "guest", "password": "guest"}
            producer = endpoint.producer(hup=there, vhost="/")
            producer.message_work([1, 0])
            program.wait_for_line("finished 1")
            assert producer.rpc_unknown().value == "UnknownCommand"
            finished = program.terminate()
        assert finished.code == 0, finished.stderr
