"""Connections: how they start, fail to start, and end."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from pika import spec

from postage import errors, messaging
from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
    VhostRefused,
)
from postage.exchange import Exchange
from postage.green.amqp import transport as transport_module
from postage.green.amqp.connection import Connection
from postage.green.amqp.connection_states import ConnectionState
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode, free_ports
from tests.support.attempts import outcomes, spawned
from tests.support.definitions import ALICE, SECRET_OF_ALICE
from tests.support.endpoints import Endpoint
from tests.support.peer import START, TUNE, Peer, listening
from tests.support.recovery import pair_of
from tests.support.standstill import stop_threads
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays
from tests.support.wire import method

SOON = 10.0
AT_ONCE = 5.0
"""Seconds for what follows a loss at once; a waiter that misses the loss waits 30 s."""
SECRET = "the-pass-word-of-this-test"
MB = 1 << 20


def attempt(settings: Settings) -> ConnectionFailed:
    """Try to connect; return the error, after the checks that hold for all such errors."""
    watch = Stopwatch()
    with pytest.raises(ConnectionFailed) as failed:
        Connection(settings, "a test", lambda *_: None)
    error = failed.value
    assert watch.own < settings.connect_timeout + 0.5
    assert (error.host, error.port) == (settings.host, settings.port)
    assert f"{error.host}:{error.port}" in str(error)
    assert error.__cause__ is not None
    return error


def shown(error: BaseException) -> str:
    """Return all that a log could show of *error*: its text, its causes, their data."""
    chain, seen = [], error
    while seen is not None:
        chain.append(f"{seen!r} {vars(seen)!r}")
        seen = seen.__cause__ or seen.__context__
    return "".join(traceback.format_exception(error)) + "".join(chain)


# --- no connection


def test_nobody_listens() -> None:
    watch = Stopwatch()
    error = attempt(Settings(host="127.0.0.1", port=free_ports(1)[0]))
    assert type(error) is BrokerUnreachable
    assert "refused" in str(error)
    assert watch.own < 1


def test_a_host_that_does_not_exist() -> None:
    error = attempt(Settings(host="no-such-host.invalid", connect_timeout=5))
    assert type(error) is BrokerUnreachable
    assert isinstance(error.__cause__, (OSError, errors.OperationTimeout))


def test_a_port_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        watch = Stopwatch()
        where = Settings(host="127.0.0.1", port=silent.getsockname()[1], connect_timeout=0.3)
        error = attempt(where)
    assert type(error) is BrokerUnreachable
    assert isinstance(error.__cause__, OperationTimeout)
    assert watch.own < 0.8
    assert watch.seconds >= 0.3


SPEAKERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"220 mail.example.com ESMTP\r\n",
    "AMQP 1.0": b"AMQP\x00\x01\x00\x00",
    "nothing, and hangs up": b"",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_port_that_speaks_something_else(speaker: str, caplog: pytest.LogCaptureFixture) -> None:
    def serve(peer: Peer) -> None:
        peer.sock.recv(8)
        peer.send(SPEAKERS[speaker])
        if speaker not in ("nothing, and hangs up", "AMQP 1.0"):
            peer.until_gone()

    watch = Stopwatch()
    with listening(serve) as where:
        error = attempt(where)
    assert type(error) is BrokerUnreachable
    assert watch.own < 1, "at once"
    ours = [r for r in caplog.records if r.name.startswith("postage") and r.levelno > logging.INFO]
    assert not ours, "the error says it; nothing is logged as well"


def test_a_wrong_password(broker_env: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings.resolve({**broker_env.hup, "password": SECRET})
    watch = Stopwatch()
    error = attempt(settings)
    assert type(error) is AuthenticationFailed
    assert error.user == "guest"
    assert watch.own < 3
    assert SECRET not in shown(error) + repr(settings) + caplog.text
    assert "guest" in str(error)


def test_no_password_anywhere(connect: Any, rabbitmq: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    where = Settings(
        host=rabbitmq.host, port=rabbitmq.port, user=ALICE, password=SECRET_OF_ALICE, vhost="t00"
    )
    connection = connect(where)
    channel = connection.open_channel()
    queue = channel.queue_declare("", exclusive=True)
    channel.publish("", queue, Properties(), b"body")
    shown = f"{connection!r} {channel!r} {where!r}"
    connection.close()
    assert SECRET_OF_ALICE not in shown + repr(connection) + caplog.text
    assert "t00" in shown


@pytest.mark.parametrize("vhost", ["there-is-none", "t01"])
def test_an_unknown_vhost_or_one_without_permission(vhost: str, rabbitmq: Any) -> None:
    where = Settings(
        host=rabbitmq.host, port=rabbitmq.port, vhost=vhost, user=ALICE, password=SECRET_OF_ALICE
    )
    error = attempt(where)
    assert type(error) is VhostRefused
    assert error.vhost == vhost
    assert vhost in str(error)
    assert SECRET_OF_ALICE not in shown(error)


def test_a_broker_that_ends_the_handshake_at_any_point() -> None:
    # A broker of old ends the connection without a word when it refuses a login.
    expected = [BrokerUnreachable, BrokerUnreachable, AuthenticationFailed, BrokerUnreachable]

    for step, kind in enumerate(expected):

        def serve(peer: Peer, step: int = step) -> None:
            if step > 0:
                peer.next()
            if step > 1:
                peer.send(START)
                peer.expect(spec.Connection.StartOk)
            if step > 2:
                peer.send(TUNE)
                peer.expect(spec.Connection.Open)

        with listening(serve) as where:
            assert type(attempt(where)) is kind


def test_a_timeout_of_the_caller_passes_and_leaves_no_socket() -> None:
    gone = gevent.event.Event()

    def serve(peer: Peer) -> None:
        peer.until_gone()
        gone.set()

    with listening(serve) as where:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            Connection(where, "a test", lambda *_: None)
        assert gone.wait(SOON)


def test_all_waiters_share_the_failure_of_a_connection() -> None:
    attempts: list[Peer] = []

    def serve(peer: Peer) -> None:
        attempts.append(peer)
        gevent.sleep(0.1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(serve) as where:
        pair = Pair(where)
        results = outcomes([spawned(pair.publishing.get) for _ in range(100)], 2.0)
        assert {type(result) for result in results} == {BrokerUnreachable}
        assert len(attempts) == 1


def test_many_greenlets_at_first_use_open_one_pair(settings: Settings) -> None:
    pair = Pair(settings)
    lazies = [pair.publishing, pair.consuming] * 50
    made = outcomes([spawned(lazy.get) for lazy in lazies], SOON)
    try:
        assert len(set(map(id, made))) == 2
        assert pair.connections == made[:2]
        channels = outcomes([spawned(made[0].plain.get) for _ in range(50)], SOON)
        assert len(set(map(id, channels))) == 1
    finally:
        for connection in pair.connections:
            connection.close()


# --- the end


class Waiters:
    """One greenlet for each way to wait for the broker, with a peer that never answers."""

    def __init__(self, connection: Connection) -> None:
        plain, confirming = connection.plain.get(), connection.confirming.get()
        silent = connection.open_channel()
        args = ("e", "k", Properties(), b"x")
        self.runs = [
            *(spawned(confirming.publish_confirmed, *args, limit=60) for _ in range(10)),
            spawned(silent.queue_declare, "q"),
            spawned(silent.exchange_declare, **Exchange.parameters),
            spawned(silent.queue_bind, "q", "e", "k"),
            spawned(silent.consume, "q", print, prefetch=1),
            spawned(silent.close),
            spawned(connection.open_channel),
            spawned(connection.declare, Exchange),
        ]
        gevent.idle()
        plain.publish("e", "k", Properties(), b"x" * 30 * MB)
        self.runs += [
            *(spawned(plain.publish, *args, limit=60) for _ in range(10)),
            *(spawned(confirming.publish_confirmed, *args, limit=60) for _ in range(10)),
        ]
        assert_stays(lambda: not any(run.dead for run in self.runs), 0.05)


def silent_peer(end: gevent.event.Event, *channels: str) -> Any:
    """Return a peer that opens a connection and *channels*, then reads nothing until *end*."""

    def serve(peer: Peer) -> None:
        peer.handshake()
        for channel in channels:
            peer.open_channel(confirming=channel == "confirming")
        end.wait()

    return serve


def test_a_lost_connection_fails_every_waiter_at_once() -> None:
    end = gevent.event.Event()
    with listening(silent_peer(end, "plain", "confirming", "other")) as where:
        connection = Connection(where, "a test", lambda *_: None)
        waiters = Waiters(connection)
        end.set()
        results = [r for r in outcomes(waiters.runs, 1.0) if r is not None]
        assert {type(result) for result in results} == {ConnectionLost}
        assert len(results) == len(waiters.runs) - 1, "only close() has what it wanted"
        assert not connection.alive
        assert connection.transport.unsent == 0 or connection.transport._torn_down
        with pytest.raises(ConnectionLost):
            connection.open_channel()
        with pytest.raises(ConnectionLost):
            connection.plain.get()
        connection.close()


def test_our_close_fails_every_waiter_of_a_silent_broker() -> None:
    end = gevent.event.Event()
    with listening(silent_peer(end, "plain", "confirming", "other")) as where:
        connection = Connection(where, "a test", lambda *_: None)
        waiters = Waiters(connection)
        watch = Stopwatch()
        connection.close(0.2)
        assert watch.own < 1
        results = [r for r in outcomes(waiters.runs, 1.0) if r is not None]
        assert {type(result) for result in results} == {ConnectionClosed}
        connection.close()
        with pytest.raises(ConnectionClosed):
            connection.open_channel()
        end.set()


def test_an_ended_connection_leaves_nothing_in_the_hub() -> None:
    end = gevent.event.Event()
    with listening(silent_peer(end)) as where:
        connection = Connection(where, "a test", lambda *_: None)
        connection.close(0.05)
        assert connection.transport._heartbeat_checker is None
        end.set()


@pytest.fixture(scope="module")
def mortal() -> Iterator[RabbitMQNode]:
    """A node that tests may kill; it is started again when needed."""
    with RabbitMQNode() as node:
        yield node


def published(pair: Pair) -> int:
    """Return how many messages were written to the publishing connection."""
    return sum(channel.published for channel in pair.publishing.statistics().channels)


def test_a_broker_that_dies_and_restarts(
    mortal: RabbitMQNode, rabbitmq: Any, monkeypatch: Any
) -> None:
    for name, setting in {"HOST": mortal.host, "PORT": str(mortal.port), "VHOST": "/"}.items():
        monkeypatch.setenv(f"POSTAGE_{name}", setting)
    endpoint = Endpoint("dying")
    producer = endpoint.producer(rpc_timeout=60)
    consumer = messaging.GenericConsumer(endpoint.eqk)
    silent = messaging.GenericConsumer(endpoint.at(("dying-silent", "silent")))  # binds its queue
    assert silent.qk_list
    got: list[Any] = []
    consuming = spawned(consumer.start_consuming, lambda *message: got.append(message))
    producer.message_hello()
    wait_until(lambda: got, SOON)
    pair = pair_of(consumer)
    calls = [spawned(producer.rpc_hello, _key="silent", _max_retry=0) for _ in range(20)]
    publishing, channel = pair.publishing.get(), pair.consuming.get().open_channel()
    assert channel.queue_declare("", exclusive=True)
    wait_until(lambda: published(pair) >= 1 + len(calls), SOON)
    # What waits at the moment of the death: asked right before it, and never answered.
    stop_threads(mortal.pid)
    waiting = [
        *(spawned(channel.queue_declare, "") for _ in range(5)),
        spawned(publishing.open_channel),
    ]
    sending = [spawned(producer.message_hello) for _ in range(20)]
    runs = [*calls, *waiting, *sending, consuming]
    assert_stays(lambda: not any(run.dead for run in runs), 0.1)
    mortal.kill()
    assert {type(result) for result in outcomes(waiting, AT_ONCE)} == {ConnectionLost}
    assert {reply.value for reply in outcomes(calls, AT_ONCE)} == {"ConnectionLost"}
    delivery = got[0][1]
    delivery.ack()
    delivery.reject(requeue=True)
    assert delivery.channel.stale_acks == 2
    assert not any(run.dead for run in (*sending, consuming))
    mortal.start()
    assert outcomes(sending, SOON) == [None] * 20
    wait_until(lambda: len(got) >= 2, SOON)  # one at a time, without acks
    assert {line.state for line in (pair.publishing, pair.consuming)} == {ConnectionState.OPEN}
    consumer.stop_consuming()
    assert outcomes([consuming], SOON) == [None]


def test_a_broker_that_closes_the_connection(connect: Any) -> None:
    def serve(peer: Peer) -> None:
        peer.handshake()
        number = peer.open_channel()
        peer.expect(spec.Queue.Declare)
        peer.send(method(0, spec.Connection.Close(320, "CONNECTION_FORCED - go home", 0, 0)))
        assert number == 1
        peer.until_gone()

    with listening(serve) as where:
        connection = connect(where)
        channel = connection.open_channel()
        with pytest.raises(ConnectionLost, match="go home") as lost:
            channel.queue_declare("q")
        assert lost.value.__cause__.reply_code == 320
        assert "lost" in repr(connection)


def test_a_publisher_times_out_on_a_silent_broker(connect: Any) -> None:
    end = gevent.event.Event()
    with listening(
        silent_peer(end, "plain", "confirming", "other"), operation_timeout=0.2
    ) as where:
        connection = connect(where)
        connection.plain.get()
        confirming, silent = connection.confirming.get(), connection.open_channel()
        with pytest.raises(OperationTimeout, match=r"basic\.publish within 0\.1 s"):
            confirming.publish_confirmed("e", "k", Properties(), b"", limit=0.1)
        with pytest.raises(OperationTimeout, match=r"queue\.declare within 0\.2 s"):
            silent.queue_declare("q")
        with pytest.raises(OperationTimeout, match=r"channel\.open within 0\.2 s"):
            connection.open_channel()
        assert connection.alive
        end.set()


@pytest.mark.slow
def test_a_broker_whose_heartbeats_stop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "LOOK_INTERVAL", 0.25)
    end = gevent.event.Event()
    with listening(silent_peer(end, "plain", "confirming"), heartbeat=1) as where:
        connection = Connection(where, "a test", lambda *_: None)
        connection.plain.get()
        waiting = spawned(
            connection.confirming.get().publish_confirmed, "", "k", Properties(), b"", limit=60
        )
        assert type(outcomes([waiting], 16)[0]) is ConnectionLost
        assert not connection.alive
        end.set()


# --- a broker that stops reading


def test_unsent_bytes_are_bounded_and_publishers_time_out(connect: Any) -> None:
    end = gevent.event.Event()
    sizes: list[int] = []
    with listening(silent_peer(end, "plain")) as where:
        connection = connect(where)
        channel = connection.plain.get()
        body = b"x" * 10_000

        def flood() -> None:
            while True:
                channel.publish("e", "k", Properties(), body, limit=0.5)
                sizes.append(connection.transport.unsent)

        watch = Stopwatch()
        results = outcomes([spawned(flood) for _ in range(100)], SOON)
        assert {type(result) for result in results} == {OperationTimeout}
        assert watch.seconds >= 0.5
        assert watch.own < 5
        assert MB < max(sizes) < MB + 20_000
        assert connection.transport.unsent < MB + 20_000
        assert not connection.transport.takes_data
        held = sum(map(len, connection.transport._out)) + len(connection.transport._sending)
        assert held == connection.transport.unsent
        end.set()


def test_publishers_go_on_when_the_broker_reads_again(connect: Any) -> None:
    end, total = gevent.event.Event(), 0

    def serve(peer: Peer) -> None:
        nonlocal total
        silent_peer(end, "plain")(peer)
        while data := peer.sock.recv(65536):
            total += len(data)

    with listening(serve) as where:
        connection = connect(where)
        channel = connection.plain.get()
        args = ("e", "k", Properties(), b"x" * 100_000)
        runs = [spawned(channel.publish, *args, limit=SOON) for _ in range(200)]
        wait_until(lambda: not connection.transport.takes_data, SOON)
        assert_stays(lambda: not all(run.dead for run in runs), 0.05)
        end.set()
        assert outcomes(runs, SOON) == [None] * 200
        wait_until(lambda: connection.transport.unsent == 0, SOON)
        wait_until(lambda: total > 200 * 100_000, SOON)
        connection.close(0.1)


def test_the_high_water_mark_is_one_megabyte() -> None:
    assert transport_module.HIGH_WATER == MB
