"""However a program ends, what it sent has been sent, and the broker has nothing to complain of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gevent
import pika
import pytest

from postage.testing.polling import wait_until
from postage.testing.processes import orphan_proof
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.programs import ROOT, Program, run_program
from tests.support.raw import Raw, raw_to
from tests.support.standstill import standstill

COMPLAINTS = ("closed TCP connection", "connection_closed_abruptly", "[error]", "handshake_timeout")
QUEUE = "endings"

HEAD = f"""
import os, sys, time
from postage import green, messaging

class SharedExchange(messaging.Exchange):
    name = "{QUEUE}"
    exchange_type = "direct"
    durable = True

class Producer(messaging.GenericProducer):
    eks = [(SharedExchange, "rk")]
    confirm = os.environ["CONFIRM"] == "1"

producer = Producer()
"""
WITH_CONSUMER = """
import gevent
import pika
consumer = messaging.GenericConsumer([(SharedExchange, [("endings-other", "other")])])
gevent.spawn(consumer.start_consuming, print)
gevent.sleep(0.2)
producer.message_one()
"""
NATIVE_THREAD = """
import threading
def run():
    Producer().message_one()
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
NATIVE_THREADS = """
import threading
threads = [threading.Thread(target=producer.message_one) for _ in range(5)]
[thread.start() for thread in threads]
producer.message_one()
[thread.join() for thread in threads]
"""
CHILD_SENDS = """
producer.message_parent()
child = os.fork()
if child == 0:
    producer.message_child()
    sys.exit(0)
producer.message_parent()
assert os.waitpid(child, 0)[1] == 0, "the child failed"
producer.message_parent()
"""
CHILD_DOES_NOTHING = """
producer.message_parent()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
producer.message_parent()
"""
SPAWNED = "import gevent; gevent.spawn(producer.message_one); gevent.sleep(0.3)"

#: What the program does after making a producer, its exit code, how many messages it sends.
ENDINGS = {
    "it simply ends": ("producer.message_one()", 0, 1),
    "sys.exit": ("producer.message_one(); sys.exit(5)", 5, 1),
    "an unhandled exception": ("producer.message_one(); raise KeyError('on purpose')", 1, 1),
    "it never sent anything": ("", 0, 0),
    "green.close": ("producer.message_one(); green.close(); green.close()", 0, 1),
    "closed, then used": ("producer.message_one(); green.close(); producer.message_two()", 0, 2),
    "in a greenlet that nobody waits for": (SPAWNED, 0, 1),
    "a large message last": ("producer.message_one('x' * 5_000_000)", 0, 1),
    "with a consumer running": (WITH_CONSUMER, 0, 1),
    "monkey-patched": ("green.patch_all(); producer.message_one()", 0, 1),
    "in a native thread with a hub of its own": (NATIVE_THREAD, 0, 1),
    "in many native threads at once": (NATIVE_THREADS, 0, 6),
    "in a forked child, while the parent goes on": (CHILD_SENDS, 0, 4),
    "beside a child that does nothing": (CHILD_DOES_NOTHING, 0, 2),
}


@pytest.fixture
def queue(raw: Raw) -> str:
    """The queue where the messages arrive; empty."""
    raw.channel.exchange_declare(QUEUE, "direct", durable=True)
    raw.declare(QUEUE)
    raw.channel.queue_bind(QUEUE, QUEUE, "rk")
    raw.channel.queue_purge(QUEUE)
    return QUEUE


@pytest.fixture(scope="module")
def started(rabbitmq: RabbitMQNode) -> None:
    """The log may omit connections that were made before the node had started.

    It may omit ends, too: RabbitMQ drops lines when there are very many.
    """
    rabbitmq.ctl("await_startup")


@pytest.fixture
def complaints(rabbitmq: RabbitMQNode, started: None) -> Iterator[None]:
    """After the test the broker's log must have no complaint about a connection of its time."""
    before = len(log_so_far(rabbitmq))
    yield
    assert not complaints_in(log_so_far(rabbitmq)[before:]), "the broker complains"


def log_so_far(rabbitmq: RabbitMQNode) -> str:
    """Return the log, once it tells the end of a connection that came after all others."""
    name = f"marker {uuid.uuid4().hex}"
    where = pika.ConnectionParameters(
        rabbitmq.host, rabbitmq.port, client_properties={"connection_name": name}
    )
    pika.BlockingConnection(where).close()

    def told() -> bool:
        return any("closing" in line and name in line for line in rabbitmq.log_text().splitlines())

    wait_until(told, 10, "the log of the last connection")
    return rabbitmq.log_text()


def complaints_in(log: str) -> list[str]:
    """Return the lines of *log* that complain.

    Not those by which RabbitMQ tells that its own supervisor of channels came first or last: it
    does so now and then where a connection was closed as it should be (rabbitmq-server, #3899).
    """
    lines = log.splitlines()
    supervisors = _of(lines, "errorContext: shutdown_error") & (
        _of(lines, "reason: shutdown") | _of(lines, "reason: noproc")
    )
    heard = [line for line in lines if any(words in line for words in COMPLAINTS)]
    return [line for line in heard if _report(line) not in supervisors]


def _of(lines: list[str], end: str) -> set[str]:
    """Return the reports that have a line with this *end*."""
    return {_report(line) for line in lines if line.endswith(end)}


def _report(line: str) -> str:
    """Return what all lines of a report begin with: its time, level and process."""
    return line.partition("> ")[0]


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "unconfirmed"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_lost(
    ending: str, confirm: bool, queue: str, raw: Raw, broker_env: Any, complaints: None
) -> None:
    code, status, expected = ENDINGS[ending]
    env = broker_env.environment() | {"CONFIRM": str(int(confirm))}
    finished = run_program("-c", HEAD + code, env=env)
    assert finished.code == status, finished.stderr
    wait_until(lambda: raw.count(queue) >= expected, 5, f"{expected} messages")
    assert raw.count(queue) == expected
    if status == 0:
        assert not finished.stderr


def test_the_log_is_looked_at(rabbitmq: RabbitMQNode, raw: Raw, broker_env: Any) -> None:
    """A client that does end rudely is found by the words that the other tests look for."""
    code = HEAD + "producer.message_one(); os._exit(0)"
    before = len(rabbitmq.log_text())
    run_program("-c", code, env=broker_env.environment() | {"CONFIRM": "1"})
    wait_until(lambda: complaints_in(rabbitmq.log_text()[before:]), 5, "a complaint")


REPORT = """\
2026-01-01 03:15:52.477878+00:00 [error] <0.13.1>     supervisor: {<0.13.1>,rabbit_channel_sup_sup}
2026-01-01 03:15:52.477878+00:00 [error] <0.13.1>     errorContext: shutdown_error
2026-01-01 03:15:52.477878+00:00 [error] <0.13.1>     reason: REASON
2026-01-01 03:15:52.477878+00:00 [error] <0.13.1>                {child_type,supervisor}]
2026-01-01 03:15:52.477900+00:00 [info] <0.14.1> closing AMQP connection <0.14.1> (127.0.0.1:1)
"""
RUDE = (
    "2026-01-01 03:15:52.477878+00:00 [warning] <0.9.1> client unexpectedly closed TCP connection"
)


@pytest.mark.parametrize(
    ("log", "count"),
    [
        (REPORT.replace("REASON", "shutdown"), 0),
        (REPORT.replace("REASON", "noproc"), 0),
        (REPORT.replace("REASON", "killed"), 4),
        (REPORT.replace("shutdown_error", "child_terminated").replace("REASON", "shutdown"), 4),
        (REPORT.replace("REASON", "shutdown") + RUDE, 1),
    ],
    ids=["shutdown", "noproc", "killed", "no shutdown", "a rude client"],
)
def test_supervisor_reports_of_the_broker_are_no_complaint(log: str, count: int) -> None:
    assert len(complaints_in(log)) == count


STOPPED = """
consumer = messaging.GenericConsumer([(SharedExchange, [("endings-stopped", "other")])])
producer.message_one()
print("ready", flush=True)
os.kill(os.getpid(), 19)  # SIGSTOP, until the test has stopped the broker
producer.message_one("x" * 3_000_000)
print("ending", time.time(), flush=True)
"""


@pytest.fixture(scope="module")
def other_node(rabbitmq: RabbitMQNode) -> Iterator[RabbitMQNode]:
    """A node that tests may stop."""
    with RabbitMQNode() as node:
        yield node


@pytest.mark.parametrize("ending", ["pass", "green.close(0.3)", "sys.exit(0)"])
def test_a_stopped_broker_does_not_hold_up_the_end(
    ending: str, other_node: RabbitMQNode, broker_env: Any
) -> None:
    env = broker_env.environment() | {
        "CONFIRM": "0",
        "POSTAGE_PORT": str(other_node.port),
        "POSTAGE_VHOST": "/",
    }
    with Program("-c", HEAD + STOPPED + ending, env=env) as program:
        program.wait_for_line("ready")
        with standstill(other_node.pid):
            os.kill(program.pid, signal.SIGCONT)
            began = float(program.wait_for_line("ending").split()[1])
            assert program.wait().code == 0, program.stderr
            assert time.time() - began < 1.5, "half a second, and the end of the interpreter"


# --- many senders in a row

DEMO = "demos/basic_echo/echo_send.py"
UNCONFIRMED = f"""
import runpy, sys
from postage import green
green.patch_all()
from postage import messaging
messaging.GenericProducer.confirm = False
sys.path.insert(0, {DEMO.rpartition("/")[0]!r})
runpy.run_path({DEMO!r}, run_name="__main__")
"""


def send_many(count: int, args: list[str], env: dict[str, str]) -> list[str]:
    """Run a program *count* times, two at a time; return what went wrong."""

    def once(_: int) -> str:
        done = subprocess.run(
            orphan_proof([sys.executable, *args]),
            cwd=ROOT,
            env=env | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return "" if done.returncode == 0 else f"{done.returncode}: {done.stderr}"

    with ThreadPoolExecutor(2) as runners:
        results = gevent.get_hub().threadpool.apply(lambda: list(runners.map(once, range(count))))
    return [result for result in results if result]


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "unconfirmed"])
@pytest.mark.parametrize(
    "runs",
    [
        8,
        pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.limit(1500)]),
    ],
)
def test_every_one_of_many_senders_is_heard(
    runs: int, confirm: bool, broker_env: Any, complaints: None
) -> None:
    where = broker_env.hup, broker_env.vhost
    with raw_to(*where) as raw:
        raw.channel.exchange_declare("echo-exchange", "direct", durable=True)
        raw.declare("echo-queue")
        raw.channel.queue_bind("echo-queue", "echo-exchange", "echo-rk")
        raw.channel.queue_purge("echo-queue")
    args = [DEMO] if confirm else ["-c", UNCONFIRMED]
    wrong = send_many(runs, args, broker_env.environment())
    assert not wrong, f"{len(wrong)} of {runs} failed, the first: {wrong[0]}"
    with raw_to(*where) as raw:  # another one: nobody sent the heartbeats of the first
        wait_until(lambda: raw.count("echo-queue") >= runs, 10, f"{runs} messages")
        assert raw.count("echo-queue") == runs
