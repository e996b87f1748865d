"""Refused connections: the broker's own words, and which refusals a program waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pika import spec

from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConnectionFailed,
    TemporarilyRefused,
    VhostRefused,
)
from postage.green.amqp.connection import Connection
from postage.green.amqp.pair import Pair
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode, free_ports
from tests.support.attempts import outcomes, spawned
from tests.support.peer import START, TUNE, Peer, listening
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays
from tests.support.wire import method

SOON = 10.0

# What brokers say at connection.open, and the errors for it.
WORDS: dict[str, tuple[int, str, type[ConnectionFailed]]] = {
    "no vhost": (530, "NOT_ALLOWED - vhost shop not found", VhostRefused),
    "no vhost, of old": (402, "INVALID_PATH - unknown virtual host", VhostRefused),
    "no permission": (
        530,
        "NOT_ALLOWED - access to vhost 'shop' refused for user 'guest'",
        VhostRefused,
    ),
    "a vhost with a misleading name": (
        530,
        "NOT_ALLOWED - vhost limit (1) is reached not found",
        VhostRefused,
    ),
    "limit of the vhost": (
        530,
        "NOT_ALLOWED - access to vhost 's' refused for user 'me': connection limit (1) is reached",
        TemporarilyRefused,
    ),
    "limit of the user": (
        530,
        "NOT_ALLOWED - connection refused for user 'guest': user connection limit (2) is reached",
        TemporarilyRefused,
    ),
    "limit of the node": (
        530,
        "NOT_ALLOWED - connection refused: node connection limit (100) is reached",
        TemporarilyRefused,
    ),
    "vhost down": (
        541,
        "INTERNAL_ERROR - access to vhost 'shop' refused for user 'guest': vhost 'shop' is down",
        TemporarilyRefused,
    ),
    "shutdown": (
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
        TemporarilyRefused,
    ),
}


def refusing(code: int, text: str) -> Callable[[Peer], None]:
    """Return a broker that answers connection.open by this connection.close."""

    def serve(peer: Peer) -> None:
        peer.send(START)
        peer.expect(spec.Connection.StartOk)
        peer.send(TUNE)
        peer.expect(spec.Connection.Open)
        peer.send(method(0, spec.Connection.Close(code, text, 10, 40)))
        peer.until_gone()

    return serve


@pytest.mark.parametrize("case", WORDS)
def test_the_error_quotes_the_broker(case: str) -> None:
    code, text, kind = WORDS[case]
    with listening(refusing(code, text)) as where, pytest.raises(ConnectionFailed) as refused:
        Connection(where, "a test", lambda *_: None)
    assert type(refused.value) is kind
    assert text in str(refused.value)
    assert (refused.value.host, refused.value.port) == (where.host, where.port)
    if isinstance(refused.value, TemporarilyRefused):
        assert refused.value.code == code


# --- limits, on RabbitMQ


@contextmanager
def limited(rabbitmq: RabbitMQNode, vhost: str, connections: int) -> Iterator[None]:
    """Let RabbitMQ allow so many connections to *vhost*."""
    rabbitmq.ctl("set_vhost_limits", "-p", vhost, f'{{"max-connections": {connections}}}')
    try:
        yield
    finally:
        rabbitmq.ctl("clear_vhost_limits", "-p", vhost)


@pytest.fixture
def pair(broker_env: Any) -> Iterator[Pair]:
    """The connections of a program to the vhost of the test."""
    made = Pair(Settings.resolve())
    yield made
    made.close(1.0)


def test_the_second_connection_of_a_pair_is_refused_at_once(
    rabbitmq: RabbitMQNode, broker_env: Any, pair: Pair
) -> None:
    with limited(rabbitmq, broker_env.vhost, 1):
        pair.publishing.get()
        watch = Stopwatch()
        with pytest.raises(TemporarilyRefused, match=r"connection limit \(1\) is reached"):
            pair.consuming.get()
        assert watch.own < 2


def test_a_program_that_waits_connects_when_the_limit_passes(
    rabbitmq: RabbitMQNode, broker_env: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(replace(Settings.resolve(), wait_for_broker=True))
    with limited(rabbitmq, broker_env.vhost, 0):
        waiting = spawned(pair.consuming.get)
        wait_until(lambda: "limit (0) is reached" in caplog.text, SOON)
        assert_stays(lambda: not waiting.ready(), 1.0)
    assert outcomes([waiting], SOON)[0].alive
    assert caplog.text.count("No connection for") == 1, "one line each 30 s"
    pair.close(1.0)


def test_a_missing_vhost_is_not_waited_for(rabbitmq: RabbitMQNode, broker_env: Any) -> None:
    pair = Pair(replace(Settings.resolve(), vhost="nowhere", wait_for_broker=True))
    with pytest.raises(VhostRefused, match="vhost nowhere not found"):
        pair.consuming.get(SOON)


# --- where a wrong address comes from


def unreachable(**arguments: Any) -> str:
    """Return the error of connecting with settings as a component resolves them."""
    settings = Settings.resolve(**arguments)
    with pytest.raises((BrokerUnreachable, AuthenticationFailed, VhostRefused)) as failed:
        Connection(settings, "a test", lambda *_: None)
    return str(failed.value)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port without a listener; nothing in the environment names a broker."""
    for name in ("URL", "HOST", "PORT", "USER", "PASSWORD", "VHOST"):
        monkeypatch.delenv(f"POSTAGE_{name}", raising=False)
    return free_ports(1)[0]


def test_the_error_names_the_variable_of_the_address(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTAGE_PORT", str(port))
    assert "correct POSTAGE_PORT;" in unreachable()
    monkeypatch.setenv("POSTAGE_HOST", "127.0.0.1")
    assert "correct POSTAGE_HOST and POSTAGE_PORT;" in unreachable()
    monkeypatch.setenv("POSTAGE_URL", f"amqp://127.0.0.1:{port}")
    assert "correct POSTAGE_URL;" in unreachable()


def test_the_error_names_the_argument(port: int) -> None:
    hup = {"host": "127.0.0.1", "port": port, "user": "guest", "password": "guest"}
    assert "correct the hup or settings argument;" in unreachable(hup=hup)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_at_this_machine_the_error_names_two_brokers(
    host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTAGE_URL", f"amqp://{host}:{port}")
    text = unreachable()
    assert "`postage broker`" in text
    assert "embedded://" in text


def test_the_error_names_what_set_login_and_vhost(
    broker_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unreachable(vhost="nowhere").endswith("check the vhost argument")
    for name in ("POSTAGE_URL", "POSTAGE_VHOST", "POSTAGE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTAGE_HOST", broker_env.hup["host"])
    monkeypatch.setenv("POSTAGE_PORT", str(broker_env.port))
    monkeypatch.setenv("POSTAGE_PASSWORD", "wrong")
    monkeypatch.delenv("POSTAGE_USER", raising=False)
    assert unreachable().endswith("check POSTAGE_PASSWORD")
