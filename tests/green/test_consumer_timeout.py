"""A handler that takes longer than the broker's consumer timeout: its message is handled once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.green.handling.keeping import Parking
from postage.testing.polling import wait_until
from postage.testing.vhosts import chosen_broker, chosen_version
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running
from tests.support.waiting import wait_until_steady

pytestmark = pytest.mark.usefixtures("broker_env")

TIMEOUT = 1000
"""Milliseconds.  A copy that is acknowledged in the moment of its own timeout comes again; so the
tests let handlers end just after a timeout."""


class Lasting(messaging.MessageProcessor):
    """Its handler lasts until `opened`, and then ends or raises an error, once."""

    shutdown_timeout = 0.1
    error: Exception | None = None

    def __init__(self, *args: Any) -> None:
        self.begun = 0
        self.at_once = self.most_at_once = 0
        self.opened = gevent.event.Event()
        super().__init__(*args)

    def _lasts(self) -> None:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.opened.wait()
        self.at_once -= 1
        error, self.error = self.error, None
        if error is not None:
            raise error

    @messaging.MessageHandler("command", "last")
    def last(self, content: Any) -> None:
        self._lasts()

    @messaging.RpcHandler("command", "answer")
    def answer(self, content: Any, reply: Any) -> None:
        self._lasts()
        reply("done")


@pytest.fixture(scope="module")
def arguments(_postage_chosen: str, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The arguments of a quorum queue whose consumers have `TIMEOUT` for each message."""
    is_embedded = chosen_broker(request.config) == "embedded"
    if is_embedded and chosen_version(request.config).startswith("3."):
        pytest.skip("the embedded broker imitates the consumer timeout of RabbitMQ 4 only")
    node = None if is_embedded else request.getfixturevalue("rabbitmq")
    is_old = node is not None and node.ctl("version").startswith("3.")
    if is_old:
        set_timeout(node, TIMEOUT, 100)
    green.close()  # a channel reads the settings of its node when it is opened
    yield {"x-queue-type": "quorum"} | ({} if is_old else {"x-consumer-timeout": TIMEOUT})
    green.close()
    if is_old:
        set_timeout(node, 1_800_000, 60_000)


@pytest.fixture
def eqk(endpoint: Endpoint, arguments: dict[str, Any]) -> Iterator[Any]:
    """A quorum queue with these *arguments*."""
    yield endpoint.at(({"name": endpoint.queue, "flags": {"arguments": arguments}}, endpoint.key))
    green.close()


def set_timeout(node: Any, milliseconds: int, interval: int) -> None:
    """Set the consumer timeout of a node that knows none of queues, and how often it looks."""
    settings = {"consumer_timeout": milliseconds, "channel_tick_interval": interval}
    calls = (f"application:set_env(rabbit, {name}, {value})" for name, value in settings.items())
    node.ctl("eval", ", ".join(calls) + ".")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postage.copies.SHORTEST_TIMEOUT", 0.2)


def timed_out(processor: Lasting, times: int) -> bool:
    counts = processor.counts
    return counts["cancelled"] + counts["lost"] >= times and processor.consumer.consuming


def wait_for_the_last_copy(*processors: Lasting) -> None:
    """Wait until no copy comes any more: an ack just after the timeout makes one more of them."""

    def comes() -> list[int]:
        names = "duplicates", "cancelled", "lost"
        return [each.counts[name] for each in processors for name in names]

    wait_until_steady(comes, 0.3, SOON)


def is_empty(raw: Raw, endpoint: Endpoint) -> bool:
    """Tell whether the queue stays empty without its consumers."""
    return raw.count(endpoint.queue) == 0


def test_its_copies_wait_and_are_acknowledged(
    endpoint: Endpoint, raw: Raw, eqk: Any, caplog: Any
) -> None:
    processor = Lasting({"name": "lasting"}, eqk)
    with running(processor):
        endpoint.producer().message_last()
        wait_until(lambda: timed_out(processor, 2), SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["duplicates"], SOON)
        wait_for_the_last_copy(processor)

    assert processor.begun == 1
    assert is_empty(raw, endpoint)
    assert any("consumer timeout" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [RuntimeError("no"), messaging.RejectMessage("no")])
def test_if_it_fails_its_copy_is_handled(
    endpoint: Endpoint, raw: Raw, eqk: Any, error: Exception
) -> None:
    processor = Lasting({"name": "lasting"}, eqk)
    processor.error = error
    with running(processor):
        endpoint.producer().message_last()
        wait_until(lambda: timed_out(processor, 2), SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["handled"] == 2, SOON)
        wait_for_the_last_copy(processor)

    assert (processor.begun, processor.most_at_once) == (2, 1)
    assert is_empty(raw, endpoint)


def test_what_is_parked_after_it_is_parked_once(
    endpoint: Endpoint, raw: Raw, eqk: Any, monkeypatch: Any
) -> None:
    """The copy waits for the broker, as under an alarm, until the original is withdrawn."""
    processor, let, park = Lasting({"name": "lasting"}, eqk), gevent.event.Event(), Parking.park

    def park_later(*arguments: Any) -> None:
        let.wait()
        park(*arguments)

    monkeypatch.setattr(Parking, "park", park_later)
    processor.error = RuntimeError("no")
    processor.opened.set()
    with running(processor):
        endpoint.producer().message_last()
        wait_until(lambda: timed_out(processor, 2), SOON)
        let.set()
        wait_until(lambda: processor.counts["duplicates"], SOON)
        wait_for_the_last_copy(processor)

    assert (processor.begun, processor.counts["parked"]) == (1, 1)
    assert is_empty(raw, endpoint)
    wait_until(lambda: raw.count(f"{endpoint.queue}.parked") == 1, SOON)


def test_after_a_timeout_messages_go_to_the_new_consumer(
    endpoint: Endpoint, raw: Raw, eqk: Any
) -> None:
    """RabbitMQ 4.3 keeps the one that it has ended, and a late ack would bring it back."""
    processor = Lasting({"name": "lasting"}, eqk)
    with running(processor):
        producer = endpoint.producer()
        producer.message_last()
        wait_until(lambda: timed_out(processor, 1), SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["duplicates"], SOON)
        assert raw.consumers(endpoint.queue) == 1
        for _ in range(20):
            producer.message_last()
        wait_until(lambda: processor.counts["handled"] == 21, SOON)
        wait_for_the_last_copy(processor)

    assert processor.begun == 21
    assert is_empty(raw, endpoint)


def test_two_processors_of_one_queue_do_not_share_it(
    endpoint: Endpoint, raw: Raw, eqk: Any
) -> None:
    processors = [Lasting({"name": "lasting"}, eqk) for _ in range(2)]
    with running(*processors):
        endpoint.producer().message_last()
        wait_until(lambda: any(timed_out(p, 1) for p in processors), SOON)
        for each in processors:
            each.opened.set()
        wait_until(lambda: sum(p.counts["duplicates"] for p in processors), SOON)
        wait_for_the_last_copy(*processors)

    assert sum(p.begun for p in processors) == 1
    assert is_empty(raw, endpoint)


def test_a_caller_gets_one_answer(endpoint: Endpoint, raw: Raw, eqk: Any) -> None:
    processor = Lasting({"name": "lasting"}, eqk)
    with running(processor):
        calling = gevent.spawn(endpoint.producer().rpc_answer)
        wait_until(lambda: timed_out(processor, 2), SOON)
        processor.opened.set()
        assert calling.get(timeout=SOON).value == "done"
        wait_until(lambda: processor.counts["duplicates"], SOON)
        wait_for_the_last_copy(processor)

    assert processor.begun == 1
    assert is_empty(raw, endpoint)


def test_if_its_processor_stops_nothing_is_lost(endpoint: Endpoint, raw: Raw, eqk: Any) -> None:
    processor = Lasting({"name": "lasting"}, eqk)
    with running(processor):
        endpoint.producer().message_last()
        wait_until(lambda: timed_out(processor, 1), SOON)
        assert processor.begun == 1
    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)


def test_messages_that_wait_are_handled_once(endpoint: Endpoint, raw: Raw, eqk: Any) -> None:
    """They were not begun before the timeout: nothing waits for their copies."""
    processor = type("OneByOne", (Lasting,), {"concurrency": 1, "prefetch": 10})(None, eqk)
    with running(processor):
        producer = endpoint.producer()
        for _ in range(5):
            producer.message_last()
        wait_until(lambda: timed_out(processor, 2), SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["handled"] == 5, SOON)
        wait_for_the_last_copy(processor)

    assert processor.begun == 5
    assert is_empty(raw, endpoint)
