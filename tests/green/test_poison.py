"""A message that kills who handles it, and goes to the dead letters in the end."""

from __future__ import annotations

import json
import logging
import signal
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.places import Place
from tests.support.programs import Program
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

SCRIPT = "tests/green/programs/poisoned.py"


def victim(place: Place, kind: str, cap: int) -> Program:
    return Program("-B", SCRIPT, place.queue, kind, place.dead, str(cap))


@pytest.mark.slow
def test_on_a_quorum_queue_it_kills_as_many_processes_as_it_may(place: Place, raw: Raw) -> None:
    raw.declare(place.dead)
    producer = place.producer()
    deaths: list[int] = []
    log = ""
    while "alive" not in log:
        with victim(place, "quorum", 3) as program:
            program.wait_for_line("ready")
            if not deaths:
                producer.message_die()
            wait_until(lambda p=program: not p.running or "alive" in p.stdout, SOON)
            log = program.stdout + program.stderr
            deaths += [] if program.running else [program.wait().code]
        if len(deaths) == 1:
            producer.message_live()

    assert deaths == [-signal.SIGKILL] * 3
    assert json.loads(raw.take(place.dead).body)["name"] == "die"
    assert f"rejected a message of queue {place.queue!r}" in log


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
    place: Place, raw: Raw, broker_env: Any, caplog: Any, kind: str
) -> None:
    raw.declare(place.dead)
    arguments = {
        "x-queue-type": kind,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": place.dead,
    }
    queue = {"name": place.queue, "flags": {"arguments": arguments}}
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        processor = Stuck({"name": "stuck"}, place.at((queue, "rk")), hup)
        with running(processor):
            place.producer().message_wait()
            for times in range(1, 4):
                wait_until(lambda t=times: processor.begun == t, SOON)
                proxy.cut()
                wait_until(lambda t=times: restored(processor, t), SOON)
            dead = raw.take(place.dead)
            assert place.producer().rpc_echo("alive").value == "alive"
            assert processor.begun == 3

    assert processor.counts["poisonous"] == 1
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert repr(place.queue) in record.getMessage()
    assert repr(dead.properties.message_id) in record.getMessage()
    assert "4 times" in record.getMessage()


def test_without_a_cap_it_is_handled_for_ever(place: Place, raw: Raw, broker_env: Any) -> None:
    with Proxy(broker_env.port) as proxy:
        hup = {**broker_env.hup, "port": proxy.port}
        processor = Patient({"name": "patient"}, place.eqk, hup)
        with running(processor):
            place.producer().message_wait()
            for times in range(1, 6):
                wait_until(lambda t=times: processor.begun == t, SOON)
                proxy.cut()
                wait_until(lambda t=times: restored(processor, t), SOON)
            wait_until(lambda: processor.begun == 6, SOON)

    assert processor.counts["poisonous"] == 0


def test_what_a_publisher_wrote_into_the_header_condemns_nothing(place: Place, raw: Raw) -> None:
    processor = Stuck({"name": "stuck"}, place.eqk)
    body = {
        **messaging.MessageCommand("wait").body,
        "fingerprint": messaging.Fingerprint().as_dict(),
    }
    with running(processor):
        raw.put(place.queue, json.dumps(body).encode(), headers={"x-delivery-count": 1000})
        wait_until(lambda: processor.begun == 1, SOON)
    assert processor.counts["poisonous"] == 0
