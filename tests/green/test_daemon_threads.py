"""A program that ends while threads, logging or finalizers still send prints nothing wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.programs import run_program

HEAD = """
import logging, os, sys, threading, time, types, weakref
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
THREAD = """
thread = threading.Thread(target=send_for_ever, args=[{producer}()], daemon=True)
thread.start()
sent.wait(10)
"""
#: An object that looks for the thread while the interpreter ends.  It is in a module of its own,
#: because the thread keeps the variables of the program alive.
LAST = """
class Last:
    def __del__(self, sleep=time.sleep, exists=os.path.exists, write=os.write):
        sleep(0.1)
        is_held = exists(self.task)
        write(1, b"held" if is_held else b"ended")

sys.modules["ending"] = types.ModuleType("ending")
sys.modules["ending"].last = Last()
sys.modules["ending"].last.task = f"/proc/self/task/{thread.native_id}"
"""


@pytest.mark.parametrize("producer", ["Producer", "Unconfirmed"])
def test_a_daemon_thread_may_send_until_the_end(broker_env: Any, producer: str):
    ended = run_program("-c", HEAD + THREAD.format(producer=producer))

    assert (ended.code, ended.stderr) == (0, "")


def test_the_hub_of_a_daemon_thread_is_held_at_the_end(broker_env: Any):
    """If the interpreter ended the thread, this might crash the process, but not each time."""
    ended = run_program("-c", HEAD + THREAD.format(producer="Producer") + LAST)

    assert (ended.code, ended.stdout, ended.stderr) == (0, "held", "")


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
