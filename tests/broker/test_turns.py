"""A client whose methods take long lets others have their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.core.queue import BrokerQueue
from postage.broker.core.vhost import VHost
from postage.broker.session.client_connection import LONGEST_TURN
from postage.broker.session.node import Node
from tests.support.frame_client import FrameClient, names_of


def slow(timers: ManualTimers, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return *method* as it is where it takes a long time."""

    def taking_long(*arguments: Any) -> Any:
        timers._now += 2 * LONGEST_TURN
        return method(*arguments)

    return taking_long


@pytest.mark.parametrize(
    ("owner", "name", "method"),
    [
        (VHost, "route", "publish"),
        (VHost, "declare_queue", "queue.declare"),
        (BrokerQueue, "purge", "queue.purge"),
    ],
)
def test_slow_methods_in_a_row_let_others_have_their_turn(
    client: FrameClient,
    timers: ManualTimers,
    owner: type,
    name: str,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.call("queue.declare", 1, queue="q")
    client.call("confirm.select", 1)
    calls: list[str] = []
    original = getattr(owner, name)

    def counted(*arguments: Any) -> Any:
        calls.append(name)
        return original(*arguments)

    monkeypatch.setattr(owner, name, slow(timers, counted))
    frames: list[bytes] = []
    monkeypatch.setattr(client, "send", lambda *data: frames.extend(data))
    for _ in range(3):
        if method == "publish":
            client.publish("q")
        else:
            client.send_method(method, 1, queue="q")
    monkeypatch.undo()
    monkeypatch.setattr(owner, name, slow(timers, counted))
    client.send(*frames)
    for done in (1, 2):
        assert len(calls) == done
        assert client.connection.has_more
        assert client.connection.reading_paused
        client.connection.feed(b"")
    assert len(calls) == 3


def test_a_publisher_is_blocked_between_two_publishes(timers: ManualTimers) -> None:
    node = Node(timers, Limits(memory=100_000))
    client, other = FrameClient(node).open(1), FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q")
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "send", lambda *data: sent.extend(data))
        for _ in range(10):
            client.publish("q", b"x" * 40_000)
    client.send(*sent)
    queue = node.vhosts["/"].queues["q"]
    assert 2 <= len(queue) <= 3, "not all ten: the memory would have no limit"
    assert client.connection.reading_paused
    total = 0
    for _ in range(10):
        total += other.call("queue.purge", 1, queue="q").message_count
        client.connection.feed(b"")
    assert total == 10
    assert names_of(client.receive())[:1] == ["connection.blocked"]
