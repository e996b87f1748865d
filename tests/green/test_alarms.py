"""What goes on while the broker takes no messages: an alarm of its memory, or of its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
import pytest

from postage import Retry, green, messaging
from postage.broker import BrokerThread
from postage.errors import OperationTimeout, PublishFailed
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint
from tests.support.measures import memory
from tests.support.raw import Raw, listen, raw_to
from tests.support.running import running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

SOON = 10.0
GRACE = 0.5
MB = 1 << 20


class Alarm(NamedTuple):
    """A broker whose alarm can be raised and ended; both let other greenlets run meanwhile."""

    hup: dict[str, Any]
    vhost: str
    begin: Callable[[], object]
    end: Callable[[], object]
    """Does nothing if the alarm has ended."""


@pytest.fixture
def alarm(request: pytest.FixtureRequest, _postage_chosen: str) -> Iterator[Alarm]:
    """An alarm on the broker that the run is about; ended with the test."""
    made = request.getfixturevalue(f"_alarm_on_{_postage_chosen}")
    yield made
    made.end()
    green.close(1.0)


@pytest.fixture
def _alarm_on_embedded() -> Iterator[Alarm]:
    with BrokerThread() as broker:
        hup = {"host": "127.0.0.1", "port": broker.port, "user": "guest", "password": "guest"}
        yield Alarm(hup, "/", broker.faults.block, broker.faults.unblock)


@pytest.fixture
def _alarm_on_rabbitmq(rabbitmq: Any, broker_env: Any) -> Alarm:
    marked = ["0.4"]

    def mark(fraction: str) -> None:
        if marked[-1] != fraction:  # the command takes a second
            marked.append(fraction)
            control(rabbitmq, "set_vm_memory_high_watermark", fraction)

    return Alarm(broker_env.hup, broker_env.vhost, lambda: mark("0"), lambda: mark("0.4"))


@pytest.fixture
def raw(alarm: Alarm) -> Iterator[Raw]:
    """A connection that only looks: one that publishes would be blocked, too."""
    with raw_to(alarm.hup, alarm.vhost) as opened:
        yield opened


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    return Endpoint(request.node.name)


def producer_at(endpoint: Endpoint, alarm: Alarm, **attributes: Any) -> Any:
    """Return a producer at the broker with the *alarm*, that has published already."""
    known = {"eks": endpoint.eks, "rpc_timeout": 1.0, "max_retry": 0, **attributes}
    made = type("Producer", (messaging.GenericProducer,), known)(hup=alarm.hup, vhost=alarm.vhost)
    made.message_first(_key="nobody")
    return made


def blocked_by(producer: Any, alarm: Alarm) -> Any:
    """Raise the alarm; return the connection of *producer* when it has heard."""
    connection = runtime_of(producer.settings).pair.publishing.get()
    alarm.begin()
    run = gevent.spawn(producer.message_first, _key="nobody")  # RabbitMQ tells those who publish
    wait_until(lambda: connection.transport.blocked, SOON, "the alarm")
    run.kill()
    return connection


def test_fifty_wait_and_then_each_message_arrives_once(
    alarm: Alarm, endpoint: Endpoint, raw: Raw, caplog: Any
) -> None:
    queue = listen(raw, endpoint.exchange, endpoint.key)
    producer = producer_at(endpoint, alarm)
    hasty = producer_at(endpoint, alarm, publish_timeout=1.0)
    connection = blocked_by(producer, alarm)
    before, watch = memory(), Stopwatch()
    patient = [spawned(producer.message_hello, f"patient {n}") for n in range(50)]
    late = [spawned(hasty.message_hello, f"hasty {n}") for n in range(50)]
    errors = outcomes(late, SOON)
    assert watch.seconds >= 1.0
    assert watch.own < 1.0 + GRACE
    assert_stays(lambda: not any(run.dead for run in patient), 2.0 - watch.seconds)
    assert memory() - before < 4 * MB

    alarm.end()
    assert outcomes(patient, SOON) == [None] * 50

    assert {type(error) for error in errors} == {PublishFailed}
    assert all("alarm" in str(error) for error in errors)
    assert all("memory" in str(error) for error in errors)
    assert {type(error.__cause__) for error in errors} == {OperationTimeout}
    assert connection.alive
    wait_until(lambda: raw.count(queue) >= 50, SOON)
    taken = [messaging.JsonEncoder.decode(raw.take(queue).body) for _ in range(raw.count(queue))]
    arrived = sorted(body["content"]["parameters"] for body in taken)
    assert arrived == sorted(f"patient {n}" for n in range(50))


@pytest.mark.parametrize("confirm", [True, False])
def test_a_flood_takes_no_memory(alarm: Alarm, endpoint: Endpoint, confirm: bool) -> None:
    producer = producer_at(endpoint, alarm, publish_timeout=1.5, confirm=confirm)
    connection = blocked_by(producer, alarm)
    before, watch = memory(), Stopwatch()

    def flood() -> None:
        for _ in range(1000):
            producer.message_hello("x" * 20_000)

    errors = outcomes([spawned(flood) for _ in range(50)], SOON)

    assert watch.seconds >= 1.5
    assert watch.own < 1.5 + GRACE
    assert {type(error) for error in errors} == {PublishFailed}
    assert connection.transport.unsent < 2 * MB
    assert memory() - before < 8 * MB


class Worker(messaging.MessageProcessor):
    """Counts what it handles."""

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        """Do nothing; it is counted."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


def test_consumers_acknowledge_and_calls_time_out_under_an_alarm(
    alarm: Alarm, endpoint: Endpoint, raw: Raw
) -> None:
    processor = Worker({}, endpoint.eqk, alarm.hup, alarm.vhost)
    producer = producer_at(endpoint, alarm)
    for number in range(200):
        producer.message_work(number)
    blocked_by(producer, alarm)

    with running(processor):
        wait_until(lambda: processor.counts["handled"] >= 200, SOON)
        watch = Stopwatch()
        replies = outcomes([spawned(producer.rpc_echo, number) for number in range(20)], SOON)
        assert watch.own < 1.0 + GRACE
        assert {reply.value for reply in replies} == {"TimeoutError"}
        alarm.end()
        wait_until(lambda: producer.rpc_echo("after").value == "after", SOON)

    assert raw.count(endpoint.queue) == 0, "acknowledged, or it would be back"


def test_closing_under_an_alarm_fails_every_waiter(alarm: Alarm, endpoint: Endpoint) -> None:
    producer = producer_at(endpoint, alarm)
    blocked_by(producer, alarm)
    runs = [spawned(producer.message_hello) for _ in range(50)]
    assert_stays(lambda: not any(run.dead for run in runs), 0.1)
    watch = Stopwatch()
    green.close(0.1)

    assert {type(error).__name__ for error in outcomes(runs, SOON)} == {"ConnectionClosed"}
    assert watch.own < GRACE


def test_statistics_show_the_alarm(alarm: Alarm, endpoint: Endpoint) -> None:
    producer = producer_at(endpoint, alarm)
    blocked_by(producer, alarm)

    reasons = {each.role: each.blocked for each in green.statistics()}
    assert "memory" in reasons["publishing"]
    assert reasons["consuming"] is None
    alarm.end()
    wait_until(lambda: all(each.blocked is None for each in green.statistics()), SOON)


# --- messages that fail meanwhile


class Failing(Worker):
    """Fails at the first try of each message, or at each one."""

    shutdown_timeout = 1.0

    def __init__(self, *args: Any) -> None:
        self.tries: list[tuple[int, int]] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        attempt = green.message().attempt
        self.tries.append((content["parameters"], attempt))
        if self.retry is None or attempt == 1:
            raise ConnectionError


FEW = 20


def failing_at(endpoint: Endpoint, alarm: Alarm, raw: Raw, *, delays: tuple[float, ...]) -> Any:
    """Return a processor whose `FEW` messages wait in its queue, and raise the alarm."""
    retry = Retry(delays=delays, jitter=0) if delays else None
    kind = type("Failing", (Failing,), {"retry": retry})
    processor = kind({}, endpoint.eqk, alarm.hup, alarm.vhost)
    raw.declare(f"{endpoint.queue}.parked")
    producer = producer_at(endpoint, alarm)
    for number in range(FEW):
        producer.message_work(number)
    blocked_by(producer, alarm)
    return processor


@pytest.mark.parametrize("delays", [(), (0.1,)], ids=["parked", "delayed"])
def test_what_fails_under_an_alarm_is_kept_once(
    alarm: Alarm, endpoint: Endpoint, raw: Raw, delays: Any
) -> None:
    processor = failing_at(endpoint, alarm, raw, delays=delays)
    what = "delayed" if delays else "parked"
    with running(processor):
        wait_until(lambda: processor.counts["failed"] == FEW, SOON)
        assert_stays(lambda: not processor.counts[what], GRACE)
        alarm.end()
        wait_until(lambda: processor.counts[what] == FEW, SOON)
        tries = [(number, n + 1) for n in range(len(delays) + 1) for number in range(FEW)]
        wait_until(lambda: len(processor.tries) >= len(tries), SOON)
        assert_stays(lambda: len(processor.tries) == len(tries), GRACE)
    assert sorted(processor.tries) == sorted(tries)
    parked = [raw.take(f"{endpoint.queue}.parked") for _ in range(0 if delays else FEW)]
    numbers = [each.value["content"]["parameters"] for each in parked]
    assert sorted(numbers) == ([] if delays else [*range(FEW)])
    assert (raw.count(endpoint.queue), raw.count(f"{endpoint.queue}.parked")) == (0, 0)


@pytest.mark.parametrize("delays", [(), (0.1,)], ids=["parked", "delayed"])
def test_what_fails_under_an_alarm_returns_at_a_stop(
    alarm: Alarm, endpoint: Endpoint, raw: Raw, delays: Any
) -> None:
    """Nothing of what was to be copied is written after the alarm."""
    processor = failing_at(endpoint, alarm, raw, delays=delays)
    with running(processor):
        wait_until(lambda: processor.counts["failed"] == FEW, SOON)
        watch = Stopwatch()
        processor.stop()
        assert watch.own < processor.shutdown_timeout + 1.0
    alarm.end()
    producer_at(endpoint, alarm)  # the connection publishes again
    wait_until(lambda: raw.count(endpoint.queue) == FEW, SOON)
    assert_stays(lambda: raw.count(endpoint.queue) == FEW, GRACE)
    assert raw.count(f"{endpoint.queue}.parked") == 0
