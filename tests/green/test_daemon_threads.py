"""A program that ends while threads, logging or finalizers still send prints nothing wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.programs import run_program

HEAD = """
import logging, threading, time, weakref
from postage import messaging

class End(messaging.Exchange):
    name = "daemon-end"

class Producer(messaging.GenericProducer):
    eks = [(End, "key")]

class Unconfirmed(Producer):
    confirm = False

sent = threading.Event()

def send_for_ever(producer):
    while True:
        producer.message_hello()
        sent.set()
        time.sleep(0.001)

class Sending(logging.Handler):
    def emit(self, record):
        pass

    def close(self):
        Producer().message_closing()
        super().close()
"""


@pytest.mark.parametrize("producer", ["Producer", "Unconfirmed"])
def test_a_daemon_thread_may_send_until_the_end(broker_env: Any, producer: str):
    thread = f"threading.Thread(target=send_for_ever, args=[{producer}()], daemon=True).start()"

    assert run_program("-c", f"{HEAD}\n{thread}\nsent.wait(10)").stderr == ""


@pytest.mark.parametrize(
    "last",
    [
        "logging.getLogger('x').addHandler(Sending())",
        "ended = weakref.finalize(Producer, Unconfirmed().message_finalized)",
    ],
)
def test_what_runs_last_may_send(broker_env: Any, last: str):
    ended = run_program("-c", f"{HEAD}\n{last}")

    assert (ended.code, ended.stderr) == (0, "")
