"""What goes on while the broker takes no messages: an alarm of its memory, or of its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
import pytest

from postage import green, messaging
from postage.broker import BrokerThread
from postage.errors import OperationTimeout, PublishFailed
from postage.green.runtime import runtime_of
from postage.testing.polling import wait_until
from postage.testing.vhosts import chosen_broker
from tests.support.attempts import outcomes, spawned
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


@pytest.fixture
def alarm(request: pytest.FixtureRequest) -> Iterator[Alarm]:
    """An alarm on the broker that the run is about; ended with the test."""
    kind = chosen_broker(request.config)
    made = request.getfixturevalue(f"_alarm_on_{kind}")
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
    def mark(fraction: str) -> None:
        command = ("set_vm_memory_high_watermark", fraction)
        gevent.get_hub().threadpool.apply(rabbitmq.ctl, command)

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
