"""Reconnecting: which greenlets get a connection, when, and which errors the others get."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gevent
import gevent.event
import pytest

from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
)
from postage.green.amqp import reconnecting as reconnecting_module
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.connection import Connection
from postage.green.amqp.connection_states import ConnectionState
from postage.green.amqp.reconnecting import Reconnecting
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.support.attempts import outcomes, spawned
from tests.support.peer import Peer, listening
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

SOON = 10.0


def connecting(settings: Settings, *, was_connected: bool = False) -> Reconnecting:
    """Return a `Reconnecting` as a pair makes it."""

    def make(address: tuple[str, int]) -> Connection:
        return Connection(settings, "a test", lambda *_: None, address)

    made = Reconnecting(settings, "a test", make, lambda: was_connected or made.was_open)
    return made


@contextmanager
def ours(settings: Settings, backoff: Backoff | None = None, **kwds: Any) -> Iterator[Reconnecting]:
    """Yield a `Reconnecting` with this *backoff*; it is closed after the block."""
    with pytest.MonkeyPatch.context() as patch:
        if backoff is not None:
            patch.setattr(reconnecting_module, "Backoff", lambda: backoff)
        made = connecting(settings, **kwds)
    try:
        yield made
    finally:
        made.close(0.05)  # no peer answers connection.close


class Fickle:
    """A broker that treats its connections, one after the other, as *moods* says.

    ``stay`` serves it until the client goes, ``drop`` ends it after the handshake, ``refuse`` ends
    it before; the last mood goes on for ever.  `cut` ends those that stay.
    """

    def __init__(self, *moods: str) -> None:
        self._moods = itertools.chain(moods, itertools.repeat(moods[-1]))
        self._cut = gevent.event.Event()
        self.moods: list[str] = []

    def __call__(self, peer: Peer) -> None:
        mood = next(self._moods)
        self.moods.append(mood)
        if mood == "refuse":
            return
        peer.handshake()
        if mood == "stay":
            reader = gevent.spawn(peer.until_gone)
            gevent.wait([reader, self._cut], count=1)
            reader.kill()

    def cut(self) -> None:
        """End all open connections."""
        self._cut.set()
        self._cut = gevent.event.Event()


def nowhere(**settings: Any) -> Settings:
    """Return settings for a port without a listener."""
    return Settings(host="127.0.0.1", port=free_ports(1)[0], **settings)


# --- the first connection


def test_the_first_use_makes_a_connection_for_all() -> None:
    broker = Fickle("stay")
    with listening(broker) as where, ours(where) as line:
        assert (line.state, line.current, broker.moods) == (ConnectionState.IDLE, None, [])
        made = outcomes([spawned(line.get) for _ in range(100)], SOON)
        assert len(set(map(id, made))) == 1
        assert line.current is line.get() is made[0]
        assert (line.state, line.losses, broker.moods) == (ConnectionState.OPEN, 0, ["stay"])


@pytest.mark.parametrize("limit", [None, 0.5])
def test_a_refused_first_connection_fails_at_once(limit: float | None) -> None:
    with ours(nowhere()) as line:
        watch = Stopwatch()
        results = outcomes([spawned(line.get, limit) for _ in range(100)], SOON)
        assert {type(result) for result in results} == {BrokerUnreachable}
        assert watch.own < 0.4
        assert line.state is ConnectionState.LOST
        with pytest.raises(BrokerUnreachable):  # the next one tries again
            line.get()


def test_with_wait_for_broker_the_first_connection_waits() -> None:
    broker = Fickle("refuse", "refuse", "stay")
    with listening(broker, wait_for_broker=True) as where, ours(where) as line:
        assert line.get().alive
        assert broker.moods == ["refuse", "refuse", "stay"]


def test_wait_for_broker_does_not_wait_for_a_better_password(settings: Settings) -> None:
    from dataclasses import replace

    wrong = replace(settings, user="nobody-of-that-name", wait_for_broker=True)
    with ours(wrong) as line, pytest.raises(AuthenticationFailed):
        line.get(SOON)


def test_wait_for_broker_respects_the_callers_limit() -> None:
    with ours(nowhere(wait_for_broker=True)) as line:
        watch = Stopwatch()
        with pytest.raises(BrokerUnreachable):
            line.get(0.3)
        assert watch.own < 0.8
        assert watch.seconds >= 0.3


# --- lost, and made anew


def test_a_lost_connection_is_made_again_when_wanted(caplog: Any) -> None:
    broker = Fickle("stay", "refuse", "refuse", "stay")
    with listening(broker) as where, ours(where) as line:
        first = line.get()
        with caplog.at_level(logging.INFO, "postage"):
            broker.cut()
            wait_until(lambda: line.current is None, SOON)
            assert (line.state, line.losses) == (ConnectionState.LOST, 1)
            made = outcomes([spawned(line.get) for _ in range(100)], SOON)
        assert len(set(map(id, made))) == 1
        assert made[0] is not first
        assert broker.moods == ["stay", "refuse", "refuse", "stay"]
    ours_ = [each for each in caplog.records if each.name.startswith("postage")]
    lost, failed = [each.getMessage() for each in ours_ if each.levelno >= logging.WARNING]
    assert "is lost; reconnecting" in lost
    assert "No connection" in failed


def test_a_pause_may_be_zero() -> None:
    broker = Fickle("refuse", "refuse", "stay")
    at_once = Backoff(lambda: 0.0)
    with listening(broker) as where, ours(where, at_once, was_connected=True) as line:
        assert line.get(SOON).alive


def test_each_caller_waits_for_its_limit_and_gets_the_reason() -> None:
    with ours(nowhere(), was_connected=True) as line:
        watch = Stopwatch()
        runs = [spawned(line.get, limit) for limit in (0.1, 0.3, 0.5) for _ in range(50)]
        ends: list[tuple[float, float]] = []
        for run in runs:
            run.rawlink(lambda _: ends.append((watch.seconds, watch.own)))
        results = outcomes(runs, SOON)
        assert {type(result) for result in results} == {BrokerUnreachable}
        assert "127.0.0.1" in str(results[0])
        wait_until(lambda: len(ends) == 150, SOON)
        for n, (end, own) in enumerate(sorted(ends)):
            limit = (0.1, 0.3, 0.5)[n // 50]
            assert limit <= end
            assert own < limit + 0.4


def test_a_silent_peer_takes_no_longer_than_the_limit() -> None:
    def silent(peer: Peer) -> None:
        peer.until_gone()

    with (
        listening(silent) as where,
        ours(where, was_connected=True) as line,
        pytest.raises(OperationTimeout),
    ):
        line.get(0.3)


def test_nothing_connects_while_no_greenlet_waits() -> None:
    broker = Fickle("refuse")
    with listening(broker) as where, ours(where, was_connected=True) as line:
        with pytest.raises(ConnectionFailed):
            line.get(0.3)
        wait_until(lambda: line.state is ConnectionState.LOST, SOON)
        before = len(broker.moods)
        assert_stays(lambda: len(broker.moods) == before, 0.3)


def test_long_after_an_outage_a_caller_need_not_pause() -> None:
    broker = Fickle("refuse", "refuse", "stay")
    backoff = Backoff(lambda: 0.5)  # 0.05 s, then 0.06
    with listening(broker) as where, ours(where, backoff, was_connected=True) as line:
        with pytest.raises(ConnectionFailed):
            line.get(0.08)
        gevent.sleep(0.1)
        watch = Stopwatch()
        line.get(SOON)
        assert watch.own < 0.05


def test_a_caller_killed_before_the_first_try() -> None:
    with ours(nowhere()) as line:
        run = spawned(line.get)
        gevent.get_hub().loop.run_callback(run.kill, gevent.GreenletExit, False)
        run.join(SOON)
        with pytest.raises(BrokerUnreachable):
            line.get()


def test_killing_one_caller_does_not_affect_the_others() -> None:
    broker = Fickle("refuse", "refuse", "stay")
    with listening(broker) as where, ours(where, was_connected=True) as line:
        runs = [spawned(line.get) for _ in range(3)]
        gevent.idle()
        runs[0].kill()
        made = outcomes(runs[1:], SOON)
        assert made[0] is made[1] is line.current


def test_a_broker_that_drops_every_client_is_retried_with_pauses() -> None:
    broker = Fickle("drop")
    with listening(broker) as where, ours(where) as line:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            with pytest.raises((ConnectionLost, OperationTimeout)):
                line.get(end - time.monotonic()).open_channel()
        assert len(broker.moods) < 60


def test_pauses_are_short_again_after_a_lasting_connection(monkeypatch: Any) -> None:
    monkeypatch.setattr(reconnecting_module, "LASTED", 0.05)
    broker = Fickle("refuse", "refuse", "refuse", "stay")
    backoff = Backoff()
    with listening(broker) as where, ours(where, backoff, was_connected=True) as line:
        line.get(SOON)
        grown = backoff.bound
        gevent.sleep(0.06)
        broker.cut()
        wait_until(lambda: line.losses == 1, SOON)
        assert backoff.bound < grown


# --- several hosts


def either(first: Settings, second: Settings) -> Settings:
    """Return settings that lead to two hosts."""
    return replace(first, other_hosts=second.addresses)


def test_the_next_host_is_tried_at_once() -> None:
    broker = Fickle("stay")
    with listening(broker) as where:
        dead = nowhere()
        several = either(dead, where)
        with ours(several) as line:
            assert line.get().port == where.port


def test_after_a_loss_the_other_host_is_tried_first() -> None:
    one, other = Fickle("stay"), Fickle("stay")
    with listening(one) as first, listening(other) as second:
        several = either(first, second)
        with ours(several) as line:
            assert line.get().port == first.port
            one.cut()
            wait_until(lambda: line.current is None, SOON)
            assert line.get().port == second.port
            other.cut()
            wait_until(lambda: line.current is None, SOON)
            assert line.get().port == first.port


def test_the_first_connection_fails_if_every_host_refuses() -> None:
    dead, dying = nowhere(), nowhere()
    several = either(dead, dying)
    with ours(several) as line, pytest.raises(BrokerUnreachable) as failed:
        line.get()
    assert failed.value.port == dying.port


# --- the end


@pytest.mark.parametrize("mood", ["stay", "refuse"])
def test_close_is_final_for_all_waiters(mood: str) -> None:
    with listening(Fickle(mood)) as where:
        line = connecting(where, was_connected=True)
        runs = [spawned(line.get) for _ in range(5)]
        if mood == "stay":
            wait_until(lambda: all(run.ready() for run in runs), SOON)
        else:
            wait_until(lambda: line.statistics().waiting == 5, SOON)
        watch = Stopwatch()
        line.close(0.2)
        line.close(0.2)
        results = outcomes(runs, 1.0)
        assert watch.own < 1
        kinds = {type(result) for result in results}
        assert kinds == {Connection} if mood == "stay" else {ConnectionClosed}
        with pytest.raises(ConnectionClosed):
            line.get()
        assert line.state is ConnectionState.CLOSED


def test_close_ends_a_try_that_is_about_to_continue() -> None:
    backoff = Backoff(lambda: 0.9)  # 0.09 s
    with ours(nowhere(), backoff, was_connected=True) as line:
        run = spawned(line.get)
        wait_until(lambda: line.state is ConnectionState.WAITING and line._not_before, SOON)
        gevent.spawn(time.sleep, 0.3)  # both are due when it is over, we first
        gevent.sleep(0.001)
        line.close()
        assert outcomes([run], SOON)[0].__class__ is ConnectionClosed
        assert line.state is ConnectionState.CLOSED


def test_close_ends_a_try_and_its_socket() -> None:
    here, gone = gevent.event.Event(), gevent.event.Event()

    def silent(peer: Peer) -> None:
        here.set()
        peer.until_gone()
        gone.set()

    with listening(silent) as where:
        line = connecting(where)
        run = spawned(line.get)
        assert here.wait(SOON)
        line.close(0.2)
        assert type(outcomes([run], 1.0)[0]) is ConnectionClosed
        assert gone.wait(SOON)


def test_a_connection_that_we_closed_is_no_loss() -> None:
    with listening(Fickle("stay")) as where, ours(where) as line:
        first = line.get()
        first.close(0.05)
        assert line.get() is not first
        assert line.losses == 0


def test_an_unexpected_error_reaches_all_waiters() -> None:
    def make(_address: object) -> Connection:
        raise KeyError("a defect")

    line = Reconnecting(nowhere(), "a test", make, lambda: True)
    results = outcomes([spawned(line.get) for _ in range(5)], SOON)
    assert {type(result) for result in results} == {KeyError}
    assert line.state is ConnectionState.LOST


def test_its_repr_shows_its_state() -> None:
    line: Callable[[], str] = connecting(nowhere()).__repr__
    assert line() == "<Reconnecting for a test, idle, 0 losses>"
