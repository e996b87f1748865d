"""A message that kills each process which handles it is dead-lettered in the end."""

from __future__ import annotations

import json
import logging
import signal
from typing import Any

import gevent
import gevent.event
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

SCRIPT = "tests/green/programs/poisoned.py"


def victim(endpoint: Endpoint, kind: str, cap: int) -> Program:
    return Program("-B", SCRIPT, endpoint.queue, kind, endpoint.dead, str(cap))


@pytest.mark.slow
def test_on_a_quorum_queue_it_kills_as_many_processes_as_it_may(
    endpoint: Endpoint, raw: Raw
) -> None:
    raw.declare(endpoint.dead)
    producer = endpoint.producer()
    deaths: list[int] = []
    log = ""
    while "alive" not in log:
        with victim(endpoint, "quorum", 3) as program:
            program.wait_for_line("ready")
            if not deaths:
                producer.message_die()
            wait_until(lambda p=program: not p.running or "alive" in p.stdout, SOON)
            log = program.stdout + program.stderr
            deaths += [] if program.running else [program.wait().code]
        if len(deaths) == 1:
            producer.message_live()

    assert deaths == [-signal.SIGKILL] * 3
    assert json.loads(raw.take(endpoint.dead).body)["name"] == "die"
    assert f"gives up a message of queue {endpoint.queue!r}" in log


class Stuck(messaging.MessageProcessor):
    """Its handlers never end; so what it was given is never settled."""

    max_deliveries = 3
    shutdown_timeout = 0.1

    def __init__(self, *args: Any) -> None:
        self.begun = 0
        super().__init__(*args)

    @messaging.MessageHandler("command", "wait")
    def waits(self, content: Any) -> None:
        self.begun += 1
        gevent.sleep(3600)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Patient(Stuck):
    max_deliveries = None


def restored(processor: Stuck, times: int) -> bool:
    return processor.counts["restored"] == times and processor.consumer.consuming


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_in_one_process_its_redeliveries_are_counted(
    endpoint: Endpoint, raw: Raw, broker_env: Any, caplog: Any, kind: str
) -> None:
    raw.declare(endpoint.dead)
    arguments = {
        "x-queue-type": kind,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": endpoint.dead,
    }
    queue = {"name": endpoint.queue, "flags": {"arguments": arguments}}
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        processor = Stuck({"name": "stuck"}, endpoint.at((queue, "rk")), hup)
        with running(processor):
            endpoint.producer().message_wait()
            for times in range(1, 4):
                wait_until(lambda t=times: processor.begun == t, SOON)
                proxy.cut()
                wait_until(lambda t=times: restored(processor, t), SOON)
            dead = raw.take(endpoint.dead)
            assert endpoint.producer().rpc_echo("alive").value == "alive"
            assert processor.begun == 3

    assert processor.counts["poisonous"] == 1
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert repr(endpoint.queue) in record.getMessage()
    assert repr(dead.properties.message_id) in record.getMessage()
    assert "4 times" in record.getMessage()


def test_without_a_cap_it_is_handled_for_ever(
    endpoint: Endpoint, raw: Raw, broker_env: Any
) -> None:
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        processor = Patient({"name": "patient"}, endpoint.eqk, hup)
        with running(processor):
            endpoint.producer().message_wait()
            for times in range(1, 6):
                wait_until(lambda t=times: processor.begun == t, SOON)
                proxy.cut()
                wait_until(lambda t=times: restored(processor, t), SOON)
            wait_until(lambda: processor.begun == 6, SOON)

    assert processor.counts["poisonous"] == 0


def test_what_a_publisher_wrote_into_the_header_condemns_nothing(
    endpoint: Endpoint, raw: Raw
) -> None:
    processor = Stuck({"name": "stuck"}, endpoint.eqk)
    body = {
        **messaging.MessageCommand("wait").body,
        "fingerprint": messaging.Fingerprint().as_dict(),
    }
    with running(processor):
        raw.put(endpoint.queue, json.dumps(body).encode(), headers={"x-delivery-count": 1000})
        wait_until(lambda: processor.begun == 1, SOON)
    assert processor.counts["poisonous"] == 0


class Gated(Stuck):
    """Its handlers wait until `opened`; then each notes its message."""

    concurrency = 10
    prefetch = 40

    def __init__(self, *args: Any) -> None:
        self.opened = gevent.event.Event()
        self.done: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.begun += 1
        if self.opened.wait(3600):
            self.done.append(content["parameters"])


@pytest.mark.parametrize(
    ("numbered", "message_id"), [(True, "order-7"), (True, None), (False, "order-7"), (False, None)]
)
def test_messages_that_look_the_same_are_counted_apart(
    endpoint: Endpoint, raw: Raw, broker_env: Any, numbered: bool, message_id: str | None
) -> None:
    properties = {} if message_id is None else {"message_id": message_id}
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        processor = Gated({"name": "gated"}, endpoint.eqk, hup)
        with running(processor):
            for number in range(60):
                body = messaging.MessageCommand("note", number if numbered else 0).body
                raw.put(endpoint.queue, json.dumps(body).encode(), **properties)
            wait_until(lambda: processor.begun == 10, SOON)
            for times in (1, 2):  # so that each is delivered three times, as often as it may
                proxy.cut()
                wait_until(lambda t=times: restored(processor, t), SOON)
            # The handlers of lost deliveries still take the places of the pool.
            processor.opened.set()
            counts = processor.counts
            wait_until(lambda: counts["handled"] - counts["stale_acks"] == 60, SOON)

    assert processor.counts["poisonous"] == 0
    assert len(processor.done) >= 60
    assert set(processor.done) == (set(range(60)) if numbered else {0})


def test_a_handler_that_breaks_its_channel_is_counted(
    endpoint: Endpoint, raw: Raw, broker_env: Any
) -> None:
    raw.declare(endpoint.dead)
    with Proxy(broker_env.port) as proxy:

        class Breaks(Stuck):
            @messaging.MessageHandler("command", "break")
            def breaks(self, content: Any) -> None:
                self.begun += 1
                lost = self.counts["lost"]
                proxy.cut()
                wait_until(lambda: self.counts["lost"] > lost, SOON)

        hup = {**broker_env.hup, "port": proxy.port}
        processor = Breaks({"name": "breaks"}, endpoint.strict, hup)
        with running(processor):
            endpoint.producer().message_break()
            assert json.loads(raw.take(endpoint.dead).body)["name"] == "break"
            assert processor.begun == processor.max_deliveries == 3
