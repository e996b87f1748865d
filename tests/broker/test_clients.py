"""Other AMQP clients on the embedded broker and on RabbitMQ see no difference."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from postage.broker import BrokerThread
from postage.testing.processes import wait_blocking
from tests.support.clients import CLIENTS, Address, Client, Got

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def _embedded_port() -> Iterator[int]:
    with BrokerThread() as broker:
        yield broker.port


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def address(request: pytest.FixtureRequest) -> Address:
    """The broker of this round, with a virtual host for this module only."""
    if request.param == "embedded":
        return Address(request.getfixturevalue("_embedded_port"), "/")
    node = request.getfixturevalue("rabbitmq")
    return Address(node.port, request.getfixturevalue("vhost"))


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest, address: Address) -> Iterator[Callable[[], Client]]:
    """A function that opens one more connection with the client of this round."""
    with ExitStack() as stack:

        def one_more() -> Client:
            client = CLIENTS[request.param](address)
            stack.callback(client.close)
            return client

        yield one_more


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    return connect()


@pytest.fixture
def queue(client: Client) -> str:
    """A queue for this test only."""
    name = new_name()
    client.declare(name)
    return name


def new_name() -> str:
    return f"clients-{os.getpid()}-{next(_numbers)}"


def take(client: Client, queue: str) -> Got:
    """Return a message from *queue* when it has arrived."""
    found: list[Got] = []

    def look() -> bool:
        found.extend(filter(None, [client.get(queue)]))
        return bool(found)

    assert wait_blocking(look, 5), f"nothing comes into {queue}"
    return found[0]


def test_publish_and_consume(client: Client, queue: str) -> None:
    bodies = [b"", b"one", b"\x00\xff", b"x" * 300_000]  # more than a frame
    for body in bodies:
        client.publish("", queue, body)
    got = client.consume(queue, 4)
    assert [each.body for each in got] == bodies
    assert not any(each.redelivered for each in got)
    for each in got:
        client.ack(each)
    assert client.get(queue) is None


@pytest.mark.parametrize(
    ("kind", "key", "reached"),
    [("direct", "a.b", True), ("direct", "a", False), ("fanout", "", True), ("topic", "a.x", True)],
)
def test_exchanges(client: Client, queue: str, kind: str, key: str, reached: bool) -> None:
    exchange = new_name()
    client.declare_exchange(exchange, kind)
    client.bind(queue, exchange, "a.*" if kind == "topic" else "a.b")
    client.publish(exchange, key, b"m")
    client.publish("", queue, b"last")
    expected = [b"m", b"last"] if reached else [b"last"]
    assert [got.body for got in client.consume(queue, len(expected))] == expected


def test_a_question_and_its_answer(connect: Callable[[], Client], queue: str) -> None:
    caller, server, answers = connect(), connect(), new_name()
    caller.declare(answers)
    for number in range(3):
        id_ = f"call-{number}"
        caller.publish("", queue, b"%d" % number, reply_to=answers, correlation_id=id_)
    for question in server.consume(queue, 3):
        answer = b"answer to " + question.body
        server.publish("", question.reply_to or "", answer, correlation_id=question.correlation_id)
        server.ack(question)
    got = [(each.correlation_id, each.body) for each in caller.consume(answers, 3)]
    assert got == [(f"call-{number}", b"answer to %d" % number) for number in range(3)]


def test_confirms(client: Client) -> None:
    name = new_name()
    client.declare(name, {"x-max-length": 2, "x-overflow": "reject-publish"})
    publish = client.confirms()
    assert [publish(name, b"m") for _ in range(3)] == [True, True, False]


def test_a_requeued_message_keeps_its_place(client: Client, queue: str) -> None:
    for body in (b"1", b"2", b"3"):
        client.publish("", queue, body)
    first, second = take(client, queue), take(client, queue)
    client.reject(second, requeue=True)
    client.reject(first, requeue=True)
    got = [take(client, queue) for _ in range(3)]
    assert [(each.body, each.redelivered) for each in got] == [
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]


def test_messages_of_a_closed_connection_come_again(
    address: Address, client: Client, queue: str, request: pytest.FixtureRequest
) -> None:
    client.publish("", queue, b"m")
    other = CLIENTS[request.node.callspec.params["connect"]](address)
    assert take(other, queue).body == b"m"
    assert client.get(queue) is None
    other.close()
    again = take(client, queue)
    assert (again.body, again.redelivered) == (b"m", True)


def test_time_to_live(client: Client, queue: str) -> None:
    client.publish("", queue, b"short", expiration="20")
    client.publish("", queue, b"long", expiration="60000")

    def next_is_long() -> bool:
        got = client.get(queue)
        assert got is not None, "the long-lived one stays"
        client.reject(got, requeue=True)
        return got.body == b"long"

    assert wait_blocking(next_is_long, 5)


def test_dead_letters(client: Client) -> None:
    name, dead = new_name(), new_name()
    client.declare(dead)
    target = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    client.declare(name, {**target, "x-message-ttl": 300})
    client.publish("", name, b"rejected")
    client.reject(take(client, name), requeue=False)
    client.publish("", name, b"expired")
    for reason in ("rejected", "expired"):
        got = take(client, dead)
        death = got.headers["x-death"][0]
        assert (got.body, plain(death["reason"])) == (reason.encode(), reason)
        assert (plain(death["queue"]), death["count"]) == (name, 1)
        assert plain(got.headers["x-first-death-reason"]) == reason


def plain(value: Any) -> Any:
    """Return *value* as text: some clients return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def test_priorities(client: Client) -> None:
    name = new_name()
    client.declare(name, {"x-max-priority": 5})
    for priority in (1, 5, 0, 3, 5):
        client.publish("", name, b"%d" % priority, priority=priority)
    assert [got.body for got in client.consume(name, 5)] == [b"5", b"5", b"3", b"1", b"0"]


def test_transactions(connect: Callable[[], Client], queue: str) -> None:
    writer, reader = connect(), connect()
    writer.begin()
    writer.publish("", queue, b"undone")
    writer.rollback()
    writer.publish("", queue, b"done")
    assert reader.get(queue) is None
    writer.commit()
    got = take(reader, queue)
    assert got.body == b"done"
    reader.ack(got)
    assert reader.get(queue) is None
