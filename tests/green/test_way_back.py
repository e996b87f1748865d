"""Delayed messages come back to their queues, whatever has become of other queues."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from postage import Retry, RetryLater, green
from postage.green.handling.keeping import SELECTED, Delays
from postage.green.handling.way_back import UNBOUND, Due
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

DELAY = 0.2
MORE_THAN_A_BATCH = 40
"""RabbitMQ hands on 32 messages of a delay queue at a time."""
THREE_MINUTES = 200.0
"""Seconds until RabbitMQ has tried again to hand on what nobody could take."""


class Failing(Recorder):
    """Fails at each first try; notes by which queue its messages have come back."""

    retry = Retry(delays=(DELAY,), jitter=0)

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        view = green.message()
        if view.attempt == 1:
            raise ConnectionError
        self.seen.append((content["parameters"], view.headers["x-death"][0]["queue"]))


class Later(Failing):
    """The same without a policy, which queues that end with their consumers cannot have."""

    retry = None

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        try:
            super().work(content)
        except ConnectionError:
            raise RetryLater(DELAY) from None


DIRECTLY = f"{Delays.name}.{DELAY}s"


@pytest.fixture(autouse=True)
def _nothing_is_left(raw: Raw) -> Iterator[None]:
    """Delete the queue of the side way, in which messages wait for the queues of earlier tests."""
    yield
    raw.channel.queue_delete(UNBOUND)


def handled_again(processor: Any, endpoint: Endpoint, number: int) -> str:
    """Let *processor* fail on a message; return the queue by which the message has come back."""
    endpoint.producer().message_work(number)
    wait_until(lambda: number in dict(processor.seen), SOON)
    way: str = dict(processor.seen)[number]
    return way


def delay(raw: Raw, queue: str, count: int) -> None:
    """Put *count* messages that are for *queue* into the delay queue of `DELAY`."""
    for number in range(count):
        headers = {SELECTED: f"{DELAY}s", "x-number": number}
        raw.send(Delays.name, queue, b"{}", headers=headers, delivery_mode=2)


def deleted(raw: Raw, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose queue was deleted after one of its messages was delayed."""
    gone = Endpoint(endpoint.sub("gone"))
    failing = at(gone, Failing)
    with running(failing):
        assert handled_again(failing, gone, 1) == DIRECTLY
    raw.channel.queue_delete(gone.queue)
    return gone


def test_a_deleted_queue_holds_up_no_other(endpoint: Endpoint, raw: Raw) -> None:
    gone, live = deleted(raw, endpoint), at(endpoint, Failing)
    with running(live):
        assert handled_again(live, endpoint, 1) == DIRECTLY
        delay(raw, gone.queue, MORE_THAN_A_BATCH)
        for number in range(2, 5):  # in the same delay queue, behind those
            assert handled_again(live, endpoint, number) == DIRECTLY


@pytest.mark.soak
@pytest.mark.limit(THREE_MINUTES + 60)
@pytest.mark.needs_rabbitmq("dead letters that wait for a queue")
def test_messages_wait_for_a_queue_that_was_deleted(endpoint: Endpoint, raw: Raw) -> None:
    gone = deleted(raw, endpoint)
    delay(raw, gone.queue, MORE_THAN_A_BATCH)
    live = at(endpoint, Failing)
    with running(live):
        assert handled_again(live, endpoint, 1) == DIRECTLY  # so those are on the side way
    raw.declare(gone.queue)
    wait_until(lambda: raw.count(gone.queue) >= MORE_THAN_A_BATCH, THREE_MINUTES)
    found = [raw.take(gone.queue) for _ in range(raw.count(gone.queue))]
    assert {each.properties.headers["x-number"] for each in found} == {*range(MORE_THAN_A_BATCH)}
    assert {each.properties.headers[SELECTED] for each in found} == {f"{DELAY}s"}


def test_a_queue_without_its_binding_gets_its_messages(endpoint: Endpoint, raw: Raw) -> None:
    failing = at(endpoint, Failing)
    with running(failing):
        assert handled_again(failing, endpoint, 1) == DIRECTLY
        raw.channel.queue_unbind(endpoint.queue, Due.name, endpoint.queue)
        assert handled_again(failing, endpoint, 2) == UNBOUND


def test_a_queue_declared_again_is_bound_again(endpoint: Endpoint, raw: Raw) -> None:
    failing = at(endpoint, Failing)
    with running(failing):
        assert handled_again(failing, endpoint, 1) == DIRECTLY
        raw.channel.queue_delete(endpoint.queue)
        wait_until(lambda: raw.exists(endpoint.queue), SOON)
        wait_until(lambda: failing.consumer.consuming, SOON)
        assert handled_again(failing, endpoint, 2) == DIRECTLY


def test_what_is_behind_delays_is_declared_again(endpoint: Endpoint, raw: Raw) -> None:
    failing = at(endpoint, Failing)
    with running(failing):
        assert handled_again(failing, endpoint, 1) == DIRECTLY
    raw.channel.exchange_delete(Due.name)
    raw.channel.queue_delete(UNBOUND)
    failing = at(endpoint, Failing)
    with running(failing):
        assert handled_again(failing, endpoint, 2) == DIRECTLY
    assert raw.exists(UNBOUND)


def test_an_exclusive_queue_is_bound(endpoint: Endpoint) -> None:
    flags = {"exclusive": True, "durable": False}
    later = at(endpoint, Later, endpoint.at(({"name": endpoint.queue, "flags": flags}, "rk")))
    with running(later):
        assert handled_again(later, endpoint, 1) == DIRECTLY


@pytest.mark.needs_rabbitmq("permissions")
def test_without_the_right_to_bind_messages_come_back(
    endpoint: Endpoint, raw: Raw, broker_env: Any, rabbitmq: Any, caplog: Any
) -> None:
    """A worker, which only consumes, has no right to bind its queue."""
    user = endpoint.queue
    control(rabbitmq, "add_user", user, "pw")
    write = r"^(amq\.default|postage\.delay.*)$"
    control(rabbitmq, "set_permissions", "-p", broker_env.vhost, user, ".*", write, ".*")
    at_broker = {"host": broker_env.host, "port": broker_env.port, "vhost": broker_env.vhost}
    settings = Settings(user=user, password="pw", **at_broker)
    raw.declare(endpoint.queue)
    raw.channel.exchange_declare(**endpoint.exchange.parameters)
    raw.channel.queue_bind(endpoint.queue, endpoint.exchange.name, endpoint.key)
    passive = {"name": endpoint.queue, "flags": {"passive": True}}
    failing = Failing({"name": "worker"}, endpoint.at((passive, None)), settings=settings)
    with running(failing), caplog.at_level(logging.WARNING):
        for number in range(3):
            assert handled_again(failing, endpoint, number) == UNBOUND
    said = [each.getMessage() for each in caplog.records if Due.name in each.getMessage()]
    assert len(said) == 1
    assert "403" in said[0]
    assert "set_permissions" in said[0]
