"""Logging handlers that send messages: no record runs them in the hub, or where we connect."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.hub
import pytest

from postage import messaging
from postage.errors import AuthenticationFailed
from postage.green.amqp.hub_logging import HubLogger, silence_pika
from postage.green.runtime import open_connections
from postage.testing.polling import wait_until
from tests.support.endpoints import exchange
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

SOON = 5.0


class Sending(logging.Handler):
    """Sends each record by a producer, and notes what happened."""

    def __init__(self, producer: Any) -> None:
        super().__init__()
        self.producer = producer
        self.sent: list[str] = []
        self.failed: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.producer.message_log(record.getMessage())
            self.sent.append(f"{record.name}: {record.getMessage()}")
        except BaseException as exc:
            self.failed.append(exc)


@pytest.fixture(params=["INFO", "DEBUG"])
def handler(broker_env: Any, request: pytest.FixtureRequest) -> Iterator[Sending]:
    """A handler of the root logger that sends its records."""
    kind = type("Producer", (messaging.GenericProducer,), {"eks": [(exchange("logs"), "k")]})
    made, root = Sending(kind()), logging.getLogger()
    level = root.level
    root.addHandler(made)
    root.setLevel(request.param)
    yield made
    root.removeHandler(made)
    root.setLevel(level)


def lose_connections() -> None:
    """Lose all connections, and wait until that is known."""
    lost = open_connections()
    for connection in lost:
        connection.transport.cut()
    wait_until(lambda: not any(connection.alive for connection in lost), SOON)


def test_a_handler_sends_while_it_reconnects(handler: Sending) -> None:
    logging.getLogger("app").warning("one")
    lose_connections()
    watch = Stopwatch()
    handler.producer.message_log("two")
    assert watch.own < 2
    wait_until(lambda: any("is lost" in each for each in handler.sent), SOON)
    wait_until(lambda: any("is re-established" in each for each in handler.sent), SOON)
    assert handler.failed == []


def test_a_record_of_the_hub_is_sent(handler: Sending) -> None:
    ours = HubLogger("postage.test")
    gevent.hub.get_hub().loop.run_callback(ours.warning, "from %s", "the hub")
    wait_until(lambda: "postage.test: from the hub" in handler.sent, SOON)
    assert handler.failed == []


def test_an_exception_in_the_hub_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        try:
            {}["lost"]
        except KeyError:
            HubLogger("postage.test").exception("It failed.")

    gevent.hub.get_hub().loop.run_callback(fail)
    wait_until(lambda: "It failed." in caplog.text, SOON)
    assert "KeyError: 'lost'" in caplog.text


def test_a_failed_reconnect_is_sent_later(handler: Sending, monkeypatch: Any) -> None:
    from postage.green.amqp import opening as opening_module

    real, refused = opening_module.connect_socket, []

    def refuse_twice(*arguments: Any) -> Any:
        if len(refused) < 2:
            refused.append(arguments)
            raise ConnectionRefusedError("not yet")
        return real(*arguments)

    logging.getLogger("app").warning("one")
    monkeypatch.setattr(opening_module, "connect_socket", refuse_twice)
    lose_connections()
    handler.producer.message_log("two")
    wait_until(lambda: any("No connection" in each for each in handler.sent), SOON)
    assert handler.failed == []


def test_a_record_is_not_the_cause_of_the_next(handler: Sending) -> None:
    logging.getLogger("app").warning("one")
    assert_stays(lambda: len(handler.sent) < 10, 0.1)


# --- pika's own records


@pytest.fixture
def pika_logger() -> Iterator[logging.Logger]:
    """pika's logger, as if nothing had been set."""
    logger = logging.getLogger("pika")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(level)


def test_a_refused_login_is_no_error_of_pika(
    broker_env: Any, pika_logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AuthenticationFailed):
        messaging.GenericConsumer([], hup={**broker_env.hup, "password": "wrong"}).queue_bind(
            exchange("x"), "q", "k"
        )
    assert not [each for each in caplog.records if each.name.startswith("pika")]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_program_can_see_the_records_of_pika(
    when: str, pika_logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    if when == "after":
        silence_pika()
    pika_logger.setLevel(logging.INFO)
    silence_pika()
    logging.getLogger("pika.connection").info("visible")
    assert "visible" in caplog.text


def test_a_record_names_the_code_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    HubLogger("postage.shelf").warning("it is empty")

    (record,) = caplog.records
    assert (record.module, record.funcName) == (
        __name__.rpartition(".")[2],
        "test_a_record_names_the_code_that_logs",
    )
