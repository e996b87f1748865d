"""What the log says of code that holds the hub, and when it says nothing."""

from __future__ import annotations

import os

import pytest

from tests.support.endpoints import Endpoint
from tests.support.programs import run_program

pytestmark = pytest.mark.usefixtures("broker_env")

COMPUTES, WAITS, PATCHED = "shorter turns", "call green.patch_all()", "although green.patch_all()"

PROGRAM = """
import os, sys
from postage import green
if "patched" in sys.argv:
    green.patch_all()
import gevent, gevent.monkey, select, threading, time
from postage import messaging

HELD = 0.8
block = gevent.monkey.get_original("time", "sleep")

class X(messaging.Exchange):
    name = {name!r}

class P(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        reply("hello")
    @messaging.RpcHandler("command", "sleep")
    def sleep_(self, content, reply):
        time.sleep(HELD)
    @messaging.RpcHandler("command", "driver")
    def driver(self, content, reply):
        block(HELD)
    @messaging.RpcHandler("command", "select")
    def select_(self, content, reply):
        select.select([], [], [], HELD)
    @messaging.RpcHandler("command", "compute")
    def compute(self, content, reply):
        end = time.monotonic() + HELD
        while time.monotonic() < end:
            pass

class C(messaging.GenericProducer):
    eks = [(X, "rk")]

EQK = [(X, [({name!r}, "rk")])]

def serve():
    processor = P(eqk=EQK)
    gevent.spawn(green.run, processor)
    while not processor.consumer.consuming:
        gevent.sleep(0.001)

def call(name):
    serve()
    C().call(name, _timeout=5)

def held_by_main():
    serve()
    block(HELD)

def prefork_master():
    P(eqk=EQK)
    C().message_x()
    child = os.fork()
    if not child:
        block(HELD)
        os._exit(0)
    os.waitpid(child, 0)

def idle_caller():
    processor = P(eqk=EQK)
    serving = gevent.spawn(green.run, processor)
    assert C().rpc_echo()
    processor.stop_consuming()
    serving.join()
    block(HELD)

def idle_after_unconfirmed():
    producer = C()
    producer.confirm = False
    producer.message_x()
    select.select([], [], [], HELD)

def prompt():
    C().message_x()
    read, write = os.pipe()
    threading.Timer(HELD, lambda: os.write(write, b"answer")).start()
    os.read(read, 100)

def thread_of_a_pool():
    def run():
        C().message_x()
        block(HELD)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

{call}
block(0.1)  # for the log
"""


def log_of(endpoint: Endpoint, call: str, *arguments: str) -> str:
    """Return what the program logs that makes *call*."""
    program = PROGRAM.replace("{name!r}", repr(endpoint.exchange.name)).replace("{call}", call)
    done = run_program(
        "-W", "ignore", "-c", program, *arguments, env={**os.environ, "POSTAGE_LATE_AFTER": "0.3"}
    )
    assert done.code == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("call('sleep')", WAITS),
        ("call('driver')", WAITS),
        ("call('select')", WAITS),
        ("held_by_main()", WAITS),
        ("call('compute')", COMPUTES),
    ],
)
def test_the_advice_suits_the_code(endpoint: Endpoint, call: str, advice: str) -> None:
    assert advice in log_of(endpoint, call)


def test_a_patched_program_is_not_told_to_patch(endpoint: Endpoint) -> None:
    log = log_of(endpoint, "call('driver')", "patched")
    assert PATCHED in log
    assert not log_of(endpoint, "call('sleep')", "patched")


@pytest.mark.parametrize(
    "call",
    [
        "prefork_master()",
        "idle_caller()",
        "idle_after_unconfirmed()",
        "prompt()",
        "thread_of_a_pool()",
    ],
)
def test_a_process_that_only_waits_is_not_reported(endpoint: Endpoint, call: str) -> None:
    assert "greenlet" not in log_of(endpoint, call)
