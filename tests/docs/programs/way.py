"""Prints the files of the package whose code runs for one message: ``way.py NAME``.

NAME is ``call``, ``reply``, ``delivery`` or ``publish`` (in the broker).  One native thread has the
part that is looked at, another one its counterpart, and nothing else happens in the process.  Each
way is taken several times: only what runs each time belongs to it, so timers do not disturb.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import gevent
import greenlet
from pika import spec

import postage
from postage import messaging
from postage.broker import Broker
from postage.testing import wait_until
from tests.support.sync_client import SocketWire, SyncClient

sys.modules.update(dict.fromkeys(("msgspec", "orjson")))  # JSON of the standard library

PACKAGE = Path(postage.__file__).parent
STREAM, TRANSPORT = "green/amqp/stream.py", "green/amqp/transport.py"
ROUNDS = 5


class Shelf(messaging.Exchange):
    name = "shelf"


class Caller(messaging.GenericProducer):
    eks = ((Shelf, "item"),)


class Sender(Caller):
    confirm = False


taken: list[object] = []


class Server(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "count")
    def count(self, content, reply_func):
        reply_func(messaging.MessageResult(1))

    @messaging.MessageHandler("command", "take")
    def take(self, content):
        taken.append(content)


class Trace:
    """The files whose functions are called in this thread, and whether the hub called them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            file = str(path.relative_to(PACKAGE))
            self.calls.append((file, greenlet.getcurrent() is gevent.get_hub()))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trace every greenlet of this thread; a profile function is set for one greenlet only."""
        greenlet.settrace(lambda *_: sys.setprofile(self))
        sys.setprofile(self)
        try:
            yield
        finally:
            greenlet.settrace(None)
            sys.setprofile(None)

    def split(self) -> tuple[list[str], list[str]]:
        """Return what ran before the first read from a socket, and what the hub ran after it."""
        files = [file for file, _ in self.calls]
        at = files.index(STREAM) if STREAM in files else len(files)
        at -= at > 0 and files[at - 1] == TRANSPORT  # the callback that reads
        return files[:at], [file for file, in_hub in self.calls[at:] if in_hub]


def common(ways: list[list[str]]) -> list[str]:
    """Return the files of all *ways*, or all but one, which something else may have cut short."""
    longest = max(ways, key=len)
    most = len(ways) - 1
    return [file for file in dict.fromkeys(longest) if sum(file in way for way in ways) >= most]


def calls() -> list[Trace]:
    """Make calls; the server is in another thread."""
    over = threading.Event()

    def serve() -> None:
        server = Server({"name": "server"}, [(Shelf, [("items", "item")])])
        running = gevent.spawn(server.start_consuming)
        wait_until(over.is_set, 30)
        server.stop()
        running.join()

    thread = threading.Thread(target=serve)
    thread.start()
    caller = Caller({"name": "caller"})
    traces = [Trace() for _ in range(ROUNDS)]
    for _ in range(100):  # the broker still answers to what the first calls have declared
        caller.rpc_count()
    for trace in traces:
        with trace.running():
            caller.rpc_count()
    over.set()
    gevent.get_hub().threadpool.apply(thread.join)
    return traces


def deliveries() -> list[Trace]:
    """Handle messages; each is sent from another thread."""
    server = Server({"name": "server"}, [(Shelf, [("items", "item")])])
    running = gevent.spawn(server.start_consuming)
    wait_until(lambda: server.consumer.consuming)
    traces = [Trace() for _ in range(ROUNDS)]
    for trace in (Trace(), *traces):  # the first message finds out what the others know
        before = len(taken)
        with trace.running():
            threading.Thread(target=lambda: Sender({"name": "sender"}).message_take()).start()
            wait_until(lambda before=before: len(taken) > before)
            gevent.sleep(0.05)  # the ack is written at the end of a turn of the hub
    server.stop()
    running.join()
    return traces


def publishes() -> list[Trace]:
    """Take messages as the broker; a client in another thread publishes and waits for confirms.

    The client writes each message in one piece, as Postage does; pieces would take a longer way.
    """
    orders: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()

    def publish(port: int) -> None:
        client = SyncClient(SocketWire("127.0.0.1", port, timeout=30), "/")
        declare = spec.Queue.Declare(queue="items", durable=True)
        client.send(1, spec.Channel.Open(), spec.Confirm.Select(), declare)
        client.wait(1, spec.Queue.DeclareOk)
        while (done := orders.get()) is not None:
            client.take_events()
            client.publish(1, spec.Basic.Publish(routing_key="items"), None, b"{}")
            client.wait(1, spec.Basic.Ack)
            done.set()
        client.close()

    with Broker() as broker:
        thread = threading.Thread(target=publish, args=(broker.port,))
        thread.start()
        traces = [Trace() for _ in range(ROUNDS)]
        for trace in (Trace(), *traces):
            done = threading.Event()
            with trace.running():
                orders.put(done)
                wait_until(done.is_set)
        orders.put(None)
        gevent.get_hub().threadpool.apply(thread.join)
    return traces


def main(name: str) -> None:
    """Print the files of one way, in their order."""
    if name in {"call", "reply"}:
        halves = [trace.split() for trace in calls()]
        ways = [half[name == "reply"] for half in halves]
    else:
        traces = deliveries() if name == "delivery" else publishes()
        ways = [[file for file, _ in trace.calls] for trace in traces]
    files = [file for file in common(ways) if not file.startswith("testing/")]
    sys.stdout.write("\n".join(files))


if __name__ == "__main__":
    main(sys.argv[1])
