"""Brokers in threads of their own, and ``embedded://`` URLs in any kind of process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pika
import pytest

from postage import green, messaging
from postage.broker import BrokerThread, embedded
from postage.errors import BrokerUnreachable, ConnectionClosed, SettingsError
from postage.settings import Settings
from postage.testing.rabbitmq import free_ports
from tests.support.endpoints import Endpoint
from tests.support.programs import run_program


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, monkeypatch: Any) -> Any:
    monkeypatch.setenv("POSTAGE_URL", "embedded://for-tests")
    yield Endpoint(request.node.name)
    green.close()


def send(endpoint: Endpoint) -> None:
    messaging.GenericConsumer(endpoint.eqk)
    endpoint.producer().message_hello()
    green.close()


def test_the_first_user_starts_the_broker_with_a_warning(endpoint: Endpoint, caplog: Any) -> None:
    send(endpoint)

    broker = embedded("for-tests")
    assert broker.statistics().queue(endpoint.queue).ready == 1
    assert embedded("for-tests") is broker is not embedded("another")
    (line,) = [r.getMessage() for r in caplog.records if "'for-tests'" in r.getMessage()]
    assert line.startswith("Using the embedded broker")
    assert "nothing in it survives" in line


def test_native_threads_share_it(endpoint: Endpoint) -> None:
    threads = [
        threading.Thread(target=send, args=(Endpoint(endpoint.sub(str(n))),)) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    statistics = embedded("for-tests").statistics()
    assert [statistics.queue(Endpoint(endpoint.sub(str(n))).queue).ready for n in range(4)] == [
        1
    ] * 4


def test_a_virtual_host_is_made_when_it_is_named(endpoint: Endpoint, monkeypatch: Any) -> None:
    monkeypatch.setenv("POSTAGE_URL", "embedded://for-tests/another%2Fone?heartbeat=5")

    settings = Settings.resolve()
    send(endpoint)

    assert (settings.embedded, settings.vhost, settings.heartbeat) == (
        "for-tests",
        "another/one",
        5,
    )
    assert embedded("for-tests").statistics().queue(endpoint.queue, "another/one").ready == 1


def test_an_argument_beats_it(endpoint: Endpoint) -> None:
    port = free_ports(1)[0]

    with pytest.raises(BrokerUnreachable):
        messaging.GenericConsumer(endpoint.eqk, hup={"host": "127.0.0.1", "port": port})


def test_a_broker_that_does_not_answer_is_never_replaced_by_it(monkeypatch: Any) -> None:
    monkeypatch.setenv("POSTAGE_URL", f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}")

    with pytest.raises(BrokerUnreachable):
        messaging.GenericConsumer(Endpoint("nowhere").eqk)


@pytest.mark.parametrize("url", ["embedded://guest:guest@name", "embedded://name:5672"])
def test_a_url_with_unsupported_parts_is_refused(monkeypatch: Any, url: str) -> None:
    monkeypatch.setenv("POSTAGE_URL", url)

    with pytest.raises(SettingsError, match="embedded:// takes a name and a vhost"):
        Settings.resolve()


PROGRAM = """
import sys
if sys.argv[1] == "patched":
    import gevent.monkey
    gevent.monkey.patch_all()
import os
from postage import messaging
from postage.broker import embedded

class Exchange(messaging.Exchange):
    name = "e"

class Producer(messaging.GenericProducer):
    eks = [(Exchange, "key")]

def send():
    Producer().message_hello()

messaging.GenericConsumer([(Exchange, [("queue", "key")])])
send()
"""
# From Python 3.12 on, os.fork() warns in a process with native threads: see docs/design.md.
FORK = """
import warnings
warnings.filterwarnings("ignore", ".* is multi-threaded, use of fork", DeprecationWarning)
child = os.fork()
if child == 0:
    send()
    from postage import green
    green.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
PLAIN = """
import pika
with pika.BlockingConnection(pika.URLParameters(embedded().url)) as connection:
    print(connection.channel().queue_declare("queue", passive=True).method.message_count)
"""
UNCONFIRMED = """
Producer.confirm = False
import atexit
broker = embedded()
atexit.register(lambda: print(broker.statistics().queue("queue").ready))
send()
"""


def run(code: str, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTAGE_")}
    environment["POSTAGE_URL"] = "embedded://"
    finished = run_program("-X", "dev", "-c", code, *arguments, env=environment)
    assert finished.code == 0, finished
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert "Using the embedded broker" in finished.stderr
    return finished.stdout


@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_a_process_reaches_its_broker_by_postage_and_by_pika(patched: str) -> None:
    assert run(PROGRAM + PLAIN, patched) == "1\n"


def test_a_forked_child_uses_the_broker_of_its_parent() -> None:
    assert run(PROGRAM + FORK + PLAIN, "unpatched") == "2\n"


def test_connections_are_flushed_before_the_broker_ends() -> None:
    assert run(PROGRAM + UNCONFIRMED, "unpatched") in ("1\n", "2\n")


@pytest.mark.limit(90)
def test_the_end_of_the_process_is_quiet() -> None:
    """A native thread in its hub could crash the interpreter while that shuts down."""
    environment = {**os.environ, "POSTAGE_URL": "embedded://"}
    for number in range(12):
        arguments = [sys.executable, "-c", PROGRAM, ("patched", "unpatched")[number % 2]]
        subprocess.run(arguments, env=environment, check=True, capture_output=True, timeout=30)


def test_a_broker_thread_can_be_started_and_stopped_again() -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        with BrokerThread() as broker:
            connection = pika.BlockingConnection(pika.URLParameters(broker.url))
            assert len(broker.statistics().connections) == 1
        with pytest.raises(pika.exceptions.AMQPError):
            connection.process_data_events(time_limit=5)
    assert set(threading.enumerate()) <= before


def test_it_may_be_stopped_before_its_thread_goes_on() -> None:
    class Slow(BrokerThread):
        def _main(self, started: Any, ended: Any) -> None:
            run = started.run
            started.run = lambda function: (run(function), time.sleep(0.1))[0]
            super()._main(started, ended)

    broker = Slow()
    broker.start()
    broker.stop()
    assert broker.has_ended


def test_calls_after_its_end_raise() -> None:
    broker = BrokerThread()
    broker.start()
    call = broker.call
    broker.stop()
    with pytest.raises(ConnectionClosed, match="has stopped"):
        call(print)


def test_an_error_in_the_thread_is_raised_in_the_caller() -> None:
    with BrokerThread() as broker:
        with pytest.raises(ZeroDivisionError):
            broker.call(lambda: 1 // 0)
        with pytest.raises(SettingsError, match="in use"):
            BrokerThread(port=broker.port).start()
        broker.stop()
        assert repr(broker) == "<BrokerThread stopped>"
