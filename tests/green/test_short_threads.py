"""A native thread that has sent or called gives back all that it used, when it ends."""

from __future__ import annotations

import concurrent.futures
import gc
import http.client
import http.server
import os
import threading
from collections.abc import Callable
from typing import Any

import gevent
import gevent.hub
import pytest

from postage import green, messaging
from postage.testing.processors import RunProcessor
from tests.support.endpoints import Endpoint
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")

THREADS = 6
"""Threads of each test; each would leave two descriptors behind."""
SLACK = 5
"""Descriptors that come and go for other reasons, such as those of connections being closed."""

Use = Callable[[messaging.GenericProducer], None]


class Answering(messaging.MessageProcessor):
    """Answers calls, in the hub of the test."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])

    @messaging.MessageHandler("command", "hit")
    def hit(self, content: Any) -> None:
        """Take it."""


def in_thread(target: Callable[[], None]) -> None:
    """Run *target* in a native thread; the hub of the test turns meanwhile."""
    done = threading.Event()

    def run() -> None:
        try:
            target()
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        gevent.sleep(0.001)
    thread.join(SOON)
    assert not thread.is_alive()


def in_timer(target: Callable[[], None]) -> None:
    """Run *target* in a ``threading.Timer``."""
    timer = threading.Timer(0.0, target)
    timer.start()
    while timer.is_alive():
        gevent.sleep(0.001)


def in_executor(target: Callable[[], None]) -> None:
    """Run *target* in an executor that is shut down afterwards."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        future = executor.submit(target)
        while not future.done():
            gevent.sleep(0.001)
        future.result()


def in_thread_with_gevent(target: Callable[[], None]) -> None:
    """Run *target* in a thread that has used its hub before, and uses it afterwards."""

    def run() -> None:
        gevent.sleep(0.001)
        target()
        gevent.spawn(gevent.sleep, 0.001).join()

    in_thread(run)


def in_http_server(target: Callable[[], None]) -> None:
    """Run *target* in the thread in which a web server handles one request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()

        def get() -> None:
            client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SOON)
            client.request("GET", "/")
            assert client.getresponse().status == 204
            client.close()

        in_thread(get)
        server.shutdown()
        serving.join(SOON)


def send(producer: messaging.GenericProducer) -> None:
    producer.message_hit()


def send_unconfirmed(producer: messaging.GenericProducer) -> None:
    producer.confirm = False
    producer.message_hit()


def call(producer: messaging.GenericProducer) -> None:
    assert producer.rpc_echo("hello").unwrap() == "hello"


def send_and_close(producer: messaging.GenericProducer) -> None:
    producer.message_hit()
    green.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number counts


def hubs() -> int:
    gc.collect()
    return sum(isinstance(each, gevent.hub.Hub) for each in gc.get_objects())


@pytest.mark.parametrize("use", [send, send_unconfirmed, call, send_and_close])
@pytest.mark.parametrize(
    "run_in", [in_thread, in_timer, in_executor, in_thread_with_gevent, in_http_server]
)
def test_a_thread_that_ends_leaves_nothing_behind(
    run_in: Callable[[Callable[[], None]], None],
    use: Use,
    run_processor: RunProcessor,
    endpoint: Endpoint,
) -> None:
    run_processor(Answering(None, endpoint.eqk))
    producer = endpoint.producer()
    run_in(lambda: use(producer))
    before, hubs_before = descriptors(), hubs()
    for _ in range(THREADS):
        run_in(lambda: use(producer))
    assert descriptors() < before + SLACK
    assert hubs() <= hubs_before + 1


def test_a_hub_that_its_thread_destroyed_is_no_error(endpoint: Endpoint) -> None:
    producer = endpoint.producer()

    def work() -> None:
        producer.message_hit()
        green.close()
        gevent.get_hub().destroy(destroy_loop=True)

    in_thread(work)
