"""Verdicts: what the broker is told about a message once its handlers are done."""

from __future__ import annotations

import json
import logging
from typing import Any

import gevent
import gevent.event
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Failing(Recorder):
    concurrency = 1

    @Handles("command", "fail")
    def fails(self, content):
        raise ValueError("no good")

    @Handles("command", "fail")
    def runs_all_the_same(self, content):
        self.seen.append("ran")

    @Handles("command", "refuse")
    def refuses(self, content):
        raise messaging.RejectMessage("not for me")

    @Handles("command", "wait")
    def waits(self, content):
        self.seen.append("began")
        self.gate.wait()
        self.seen.append("ended")

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        super().__init__(*args, **kwds)


@pytest.fixture
def failing(endpoint, raw):
    """A processor whose rejected messages can be counted, running, and a producer for it."""
    raw.declare(endpoint.dead)
    processor = at(endpoint, Failing, endpoint.strict)
    with running(processor):
        yield processor, endpoint.producer()


@pytest.mark.behaviour("message-outcomes")
def test_a_failed_message_is_rejected_and_logged(endpoint, raw, failing, caplog):
    processor, producer = failing
    producer.message_fail()

    dead = raw.take(endpoint.dead)
    assert json.loads(dead.body)["name"] == "fail"
    assert dead.properties.headers["x-death"][0]["reason"] == "rejected"
    assert producer.rpc_echo("alive").value == "alive"
    assert (processor.seen, processor.counts["failed"]) == (["ran"], 1)
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "Failing.fails" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


@pytest.mark.behaviour("message-outcomes")
def test_reject_message_rejects_without_a_traceback(endpoint, raw, failing, caplog):
    processor, producer = failing
    with caplog.at_level(logging.INFO, "postage"):
        producer.message_refuse()
        assert json.loads(raw.take(endpoint.dead).body)["name"] == "refuse"
        assert producer.rpc_echo("alive").value == "alive"

    (record,) = [r for r in caplog.records if "not for me" in r.getMessage()]
    assert not record.exc_info
    assert processor.counts["failed"] == 1


@pytest.mark.behaviour("message-outcomes")
def test_an_unhandled_message_is_acknowledged(endpoint, raw, failing):
    processor, producer = failing
    producer.message_nobody_handles_this()
    assert producer.rpc_echo("after it").value == "after it"

    assert processor.counts["unhandled"] == 1
    assert (raw.count(endpoint.queue), raw.count(endpoint.dead)) == (0, 0)


@pytest.mark.behaviour("message-outcomes")
def test_a_malformed_body_is_rejected_counted_and_logged(endpoint, raw, failing, caplog):
    processor, producer = failing
    raw.put(endpoint.queue, b"no message")

    assert raw.take(endpoint.dead).body == b"no message"
    assert producer.rpc_echo("alive").value == "alive"
    assert processor.counts["malformed"] == 1
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "malformed message" in record.getMessage()


@pytest.mark.behaviour("message-outcomes")
def test_a_message_is_acknowledged_after_its_handlers(endpoint, raw):
    """While its handler runs, a message still belongs to the queue: it comes back if we vanish."""
    processor = at(endpoint, Failing)
    processor.shutdown_timeout = 0.05
    endpoint.producer().message_wait()
    with running(processor):
        wait_until(lambda: processor.seen == ["began"], SOON)
        assert raw.count(endpoint.queue) == 0

    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)
    processor.gate.set()
    with running(processor):
        wait_until(lambda: processor.counts["handled"] == 1, SOON)
    assert raw.count(endpoint.queue) == 0
    assert processor.seen == ["began", "began", "ended"]
