"""The setting ``memory``: beyond it, messages stay with the broker, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from postage import messaging
from postage.budget import FULL, weight
from postage.green.amqp.intake import Intake, Window
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.recorder import at
from tests.support.recovery import GatedWorker
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

MEMORY = 500_000
FAT = "x" * 20_000
MANY = 60


class Worker(GatedWorker):
    prefetch = concurrency = 50


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTAGE_MEMORY", str(MEMORY))


@pytest.fixture
def worker(endpoint: Endpoint) -> Worker:
    made: Worker = at(endpoint, Worker)
    return made


def send(endpoint: Endpoint, *, filling: Any = FAT, first: int = 0, count: int = MANY) -> None:
    producer = endpoint.producer()
    for number in range(first, first + count):
        producer.message_work(number, filling)


def is_full() -> bool:
    return in_hand() > FULL * MEMORY


def in_hand() -> int:
    return sum(Intake.in_hand.values())


def wait_for_limit(worker: Worker) -> int:
    """Wait until no more messages arrive; return how many have."""
    wait_until(is_full, SOON)
    most = len(worker.begun) + 2  # one may be on its way, and one is taken at a time
    assert_stays(lambda: len(worker.begun) <= most, 0.2)
    return len(worker.begun)


def numbers(got: list[Any]) -> list[int]:
    return [number for number, _ in got]


FLAGS: dict[str, dict[str, Any]] = {
    "a plain queue": {},
    "a quorum queue": {"arguments": {"x-queue-type": "quorum"}},
    "a queue that ends with its consumer": {"auto_delete": True},
    "an exclusive queue": {"exclusive": True},
}


@pytest.mark.parametrize("kind", FLAGS)
def test_messages_wait_in_the_broker_and_none_is_lost(endpoint: Endpoint, kind: str) -> None:
    queue = {"name": endpoint.queue, "flags": FLAGS[kind]}
    worker = at(endpoint, Worker, endpoint.at((queue, endpoint.key)))
    with running(worker):
        send(endpoint)
        begun = wait_for_limit(worker)
        assert 2 < begun < 20
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == MANY, SOON)
        wait_until(lambda: in_hand() == 0, SOON)
    assert sorted(numbers(worker.ended)) == list(range(MANY))


def test_several_queues_of_a_processor_lose_none(endpoint: Endpoint) -> None:
    """The windows of all its consumers, which share a channel, change at once."""
    keys = "abcd"
    worker = at(endpoint, Worker, endpoint.at(*((endpoint.sub(key), key) for key in keys)))
    producer = endpoint.producer()
    with running(worker):
        for number in range(len(keys) * MANY):
            producer.message_work(number, FAT, _key=keys[number % len(keys)])
        wait_until(is_full, SOON)
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == len(keys) * MANY, SOON)
    assert sorted(numbers(worker.ended)) == [*range(len(keys) * MANY)]


def test_a_pause_while_a_window_changes_loses_none(
    endpoint: Endpoint, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, changed = Window.change, []

    def change_and_pause(window: Window, size: int) -> None:
        change(window, size)
        if not changed:
            changed.append(window)
            worker.pause()

    monkeypatch.setattr(Window, "change", change_and_pause)
    send(endpoint)  # they come at once, so some are on their way when the window changes
    with running(worker):
        wait_until(lambda: changed, SOON)
        worker.gate.set()
        wait_until(lambda: not worker.statistics().busy, SOON)
        worker.resume()
        wait_until(lambda: len(worker.ended) == MANY, SOON)
    assert sorted(numbers(worker.ended)) == [*range(MANY)]


def test_they_come_in_their_order(endpoint: Endpoint) -> None:
    class OneByOne(Worker):
        concurrency = 1

    worker = at(endpoint, OneByOne)
    with running(worker):
        send(endpoint)
        wait_until(is_full, SOON)
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == MANY, SOON)
    assert numbers(worker.ended) == list(range(MANY))


def test_other_processors_go_on(endpoint: Endpoint, worker: Worker) -> None:
    other = at(endpoint, Worker, endpoint.at((endpoint.sub("other"), "other")))
    caller = endpoint.producer(eks=[(endpoint.exchange, "other")])
    with running(worker, other):
        send(endpoint)
        wait_for_limit(worker)
        for number in range(20):
            assert caller.rpc_echo(number).value == number
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == MANY, SOON)


@pytest.mark.parametrize(
    "filling", ["a small text", [{}] * 500, "x" * 600_000], ids=("small", "dense", "over the limit")
)
def test_bodies_of_every_sort_are_handled(endpoint: Endpoint, filling: Any) -> None:
    class Unlimited(Worker):
        prefetch = 0
        concurrency = 3

    worker = at(endpoint, Unlimited)
    count = {str: 1500}.get(type(filling), 30) if len(filling) < 1000 else 4
    with running(worker):
        send(endpoint, filling=filling, count=count)
        wait_until(is_full, SOON)
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == count, SOON)
    assert sorted(numbers(worker.ended)) == list(range(count))


def test_the_broker_sends_many_again_when_all_is_handled(
    endpoint: Endpoint, worker: Worker
) -> None:
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == MANY, SOON)
        worker.gate.clear()
        send(endpoint, filling="small", first=MANY, count=40)
        wait_until(lambda: len(worker.begun) >= MANY + 40, SOON)
        worker.gate.set()
        wait_until(lambda: len(worker.ended) == MANY + 40, SOON)


def test_a_processor_that_stops_then_returns_all_it_has(
    endpoint: Endpoint, worker: Worker, raw: Raw
) -> None:
    worker.shutdown_timeout = 0.1
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
    wait_until(lambda: raw.count(endpoint.queue) == MANY, SOON)
    wait_until(lambda: in_hand() == 0, SOON)


def test_a_lost_connection_loses_no_message(endpoint: Endpoint, hup: Any, proxy: Proxy) -> None:
    worker = Worker({"name": "w"}, endpoint.eqk, hup, None)
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
        assert proxy.cut()
        wait_until(lambda: worker.counts["restored"] == 1, SOON)
        worker.gate.set()
        wait_until(lambda: {*numbers(worker.ended)} == {*range(MANY)}, SOON)


def test_a_queue_that_is_deleted_then_is_consumed_again(
    endpoint: Endpoint, worker: Worker, raw: Raw
) -> None:
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
        raw.channel.queue_delete(endpoint.queue)
        wait_until(lambda: worker.counts["restored"] >= 1, SOON)
        worker.gate.set()
        assert endpoint.producer().rpc_echo("again").value == "again"


def test_a_consumer_can_be_cancelled_then(endpoint: Endpoint, worker: Worker, raw: Raw) -> None:
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
        worker.consumer.cancel(endpoint.queue)
        worker.gate.set()
        begun = len(worker.begun)
        wait_until(lambda: raw.count(endpoint.queue) >= MANY - begun - 1, SOON)


def test_rejected_and_odd_messages_leave_the_account(endpoint: Endpoint, raw: Raw) -> None:
    class Failing(Worker):
        @messaging.MessageHandler("command", "work")
        def work(self, content: Any) -> None:
            raise messaging.RejectMessage

    worker = at(endpoint, Failing)
    with running(worker):
        send(endpoint, count=30)
        for _ in range(30):
            raw.send(endpoint.exchange.name, endpoint.key, FAT.encode())
        wait_until(lambda: sum(worker.counts[each] for each in ("failed", "malformed")) == 60, SOON)
        wait_until(lambda: in_hand() == 0, SOON)


def test_the_weight_of_a_delivery_is_that_of_its_body(endpoint: Endpoint, worker: Worker) -> None:
    with running(worker):
        send(endpoint)
        wait_for_limit(worker)
        assert in_hand() >= len(worker.begun) * weight(FAT.encode())
        worker.gate.set()


@pytest.mark.parametrize("size", [20_000, 600_000], ids=["many", "one too large"])
def test_replies_beyond_it_are_dropped(endpoint: Endpoint, raw: Raw, size: int) -> None:
    producer = endpoint.producer()
    with running(at(endpoint, Worker)):
        queue = producer.rpc_echo("x", _queue_only=True)
    for _ in range(50):
        raw.send("", queue, b"x" * size)
    with pytest.raises(messaging.TimeoutError) as caught:
        producer.consume_rpc(queue, 51, timeout=0.5)
    assert len(caught.value.results) <= MEMORY / size + 1
