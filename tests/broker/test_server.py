"""The broker on sockets: slow readers, memory, admission, and the end."""

from __future__ import annotations

import gc
import itertools
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest
from pika import spec

from postage.broker import Broker, BrokerThread, Limits
from postage.broker.core.vhost import VHost
from postage.broker.session.client_channel import ClientChannel
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.framing import PROTOCOL
from postage.broker.wire.methods import encode
from postage.errors import SettingsError
from postage.testing.processes import wait_blocking
from postage.testing.rabbitmq import free_ports
from tests.support.frame_client import body, header
from tests.support.stopwatch import Stopwatch
from tests.support.sync_client import SocketWire, SyncClient

MEGABYTE = 1 << 20


class Client(SyncClient):
    """A client over a socket, with channel 1 open."""

    def __init__(self, broker: BrokerThread, patience: float = 10.0) -> None:
        self.wire = SocketWire("127.0.0.1", broker.port, patience)
        super().__init__(self.wire, "/")
        self.ask(spec.Channel.Open(), spec.Channel.OpenOk)

    @property
    def sock(self) -> socket.socket:
        return self.wire.socket

    def ask(self, method: Any, answer: type) -> Any:
        """Send *method* and return the *answer*."""
        self.send(1, method)
        self.wait(1, answer)
        return next(e.method for e in self.take_events() if isinstance(e.method, answer))

    def declare(self, queue: str) -> Any:
        return self.ask(spec.Queue.Declare(queue=queue, durable=True), spec.Queue.DeclareOk)

    def put(self, queue: str, data: bytes) -> None:
        self.publish(1, spec.Basic.Publish(exchange="", routing_key=queue), None, data)

    def round_trip(self) -> float:
        """Return the seconds of a request and its answer."""
        watch = Stopwatch()
        self.declare("round-trip")
        return watch.own

    def at_end(self) -> bool:
        """Tell whether the broker closes the connection: read until then, or until a timeout."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


@pytest.fixture
def run() -> Iterator[Callable[..., BrokerThread]]:
    """A function that starts a broker in a thread of its own, with these options."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(BrokerThread(**options))


@pytest.fixture
def join() -> Iterator[Callable[..., Client]]:
    """A function that returns a new client."""
    clients: list[Client] = []

    def connect(broker: BrokerThread, **options: Any) -> Client:
        clients.append(Client(broker, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.wire.close()


def node_of(broker: BrokerThread) -> Node:
    return broker.broker.node


def ready(broker: BrokerThread, queue: str) -> int:
    """Return how many messages wait in *queue*."""
    return int(broker.statistics().queue(queue).ready)


def connected(broker: BrokerThread) -> int:
    """Return how many connections there are."""
    return len(broker.statistics().connections)


# --- clients that do not read


def test_a_slow_reader_loses_nothing_and_stalls_no_other(run: Any, join: Any) -> None:
    broker, count, size = run(), 600, 50_000
    lazy, busy = join(broker), join(broker)
    lazy.declare("q")
    lazy.ask(spec.Basic.Consume(queue="q", no_ack=True), spec.Basic.ConsumeOk)
    for number in range(count):
        busy.put("q", number.to_bytes(4, "big") * (size // 4))
    assert max(busy.round_trip() for _ in range(20)) < 1.0
    waiting = ready(broker, "q")
    assert waiting > count // 2, "what its socket does not take stays in the queue"
    assert node_of(broker).memory >= waiting * size
    lazy.wait(1, spec.Basic.Deliver, count=count)
    bodies = [event.body or b"" for event in lazy.take_events()]
    assert [int.from_bytes(each[:4], "big") for each in bodies] == list(range(count))
    assert {len(each) for each in bodies} == {size}
    assert wait_blocking(lambda: node_of(broker).memory == 0, 5)


def test_a_client_that_floods_without_reading_is_throttled(run: Any, join: Any) -> None:
    broker = run(limits=Limits(unsent=MEGABYTE))
    flooding, other = join(broker), join(broker)
    name = "q" * 250
    asks = encode(1, "queue.declare", queue=name, durable=True) * 100
    sent = _flood(flooding.sock, asks, 40 * MEGABYTE)
    assert sent < 40 * MEGABYTE, "its own socket fills"
    assert other.round_trip() < 1.0
    # All answers arrive when the client reads.
    owed, read = sent // len(asks) * 100 * len(encode(1, "queue.declare_ok", queue=name)), 0
    while read < owed:
        read += len(flooding.sock.recv(MEGABYTE))


def _flood(sock: socket.socket, data: bytes, most: int) -> int:
    """Send *data* again and again until the socket takes no more; return the bytes sent."""
    sock.settimeout(0.5)
    sent = 0
    try:
        while sent < most:
            sent += sock.send(data)
    except TimeoutError:
        pass
    finally:
        sock.settimeout(10)
    return sent


def is_reset(sock: socket.socket) -> bool:
    """Tell whether the other end has closed *sock*, without reading from it."""
    try:
        sock.send(encode(0, "connection.close_ok"))
    except OSError:
        return True
    return False


def test_a_closed_client_that_does_not_read_is_cut_off(run: Any, join: Any) -> None:
    broker = run(limits=Limits(handshake=0.3))
    client, other = join(broker), join(broker)
    client.declare("q")
    client.ask(spec.Basic.Consume(queue="q", no_ack=True), spec.Basic.ConsumeOk)
    for _ in range(300):
        other.put("q", b"x" * 50_000)
    assert wait_blocking(lambda: connected(broker) == 2, 5)
    client.sock.sendall(
        encode(7, "basic.qos")
    )  # an error, whose answer does not fit into the socket buffer
    assert wait_blocking(lambda: is_reset(client.sock), 5)
    assert other.round_trip() < 1.0


# --- memory


def test_publishers_wait_at_the_memory_limit_and_go_on(run: Any, join: Any) -> None:
    broker, size, count = run(limits=Limits(memory=2 * MEGABYTE)), 10_000, 2000
    publisher, other = join(broker), join(broker)
    publisher.declare("q")
    call = encode(1, "basic.publish", routing_key="q")
    message = call + header(1, size) + body(1, b"x" * size)
    publishing = threading.Thread(target=publisher.sock.sendall, args=(message * count,))
    publishing.start()
    blocked = lambda: node_of(broker).alarm is not None  # noqa: E731
    purged = 0
    while publishing.is_alive():
        assert wait_blocking(lambda: blocked() or not publishing.is_alive(), 5)
        time.sleep(0.02)  # a publisher that is not blocked would publish now
        assert ready(broker, "q") * size < 3 * MEGABYTE
        assert other.round_trip() < 1.0
        purged += other.ask(spec.Queue.Purge(queue="q"), spec.Queue.PurgeOk).message_count
    publishing.join()
    while purged < count:
        purged += other.ask(spec.Queue.Purge(queue="q"), spec.Queue.PurgeOk).message_count
    assert purged == count
    assert not blocked()


def test_a_broker_without_room_reads_on_when_there_is_some(run: Any, join: Any) -> None:
    """The rest of what was read must not be forgotten when the publisher may go on."""
    broker = run(limits=Limits(memory=1 << 20))
    publisher, other = join(broker), join(broker)
    publisher.declare("q")
    for _ in range(4):
        publisher.put("q", b"x" * 400_000)
    publisher.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    total = 0
    assert wait_blocking(lambda: node_of(broker).alarm is not None, 5)

    def all_arrived() -> bool:
        nonlocal total
        total += other.ask(spec.Queue.Purge(queue="q"), spec.Queue.PurgeOk).message_count
        return total == 4

    assert wait_blocking(all_arrived, 5)
    assert publisher.round_trip() < 5


def test_consumers_go_on_while_publishers_wait(run: Any, join: Any) -> None:
    broker = run(limits=Limits(memory=MEGABYTE))
    publisher, consumer = join(broker), join(broker)
    consumer.declare("q")
    sending = threading.Thread(
        target=lambda: [publisher.put("q", b"x" * 50_000) for _ in range(99)]
    )
    sending.start()
    assert wait_blocking(lambda: node_of(broker).alarm is not None, 5)
    consumer.ask(spec.Basic.Consume(queue="q", no_ack=True), spec.Basic.ConsumeOk)
    consumer.wait(1, spec.Basic.Deliver, count=98)
    sending.join()
    assert wait_blocking(lambda: node_of(broker).alarm is None, 5)


def test_a_blocked_connection_that_is_gone_is_noticed(run: Any, join: Any) -> None:
    broker = run()
    publisher = join(broker)
    publisher.put("nowhere", b"m")
    assert wait_blocking(lambda: broker.statistics().published == 1, 5)
    broker.faults.block()
    publisher.wire.close()
    broker.faults.unblock()
    assert wait_blocking(lambda: connected(broker) == 0, 5)


# --- admission


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
@pytest.mark.parametrize("users", [None, {"guest": "secret"}, {"alice": "a", "guest": "guest"}])
def test_guest_and_the_network_do_not_go_together(host: str, users: dict[str, str] | None) -> None:
    with pytest.raises(SettingsError, match="other than guest"):
        Broker(host, users=users)


def test_others_may_come_from_the_network() -> None:
    with Broker("0.0.0.0", users={"alice": "secret"}) as broker:
        assert broker.url == f"amqp://alice:secret@0.0.0.0:{broker.port}"


def test_a_handshake_that_does_not_come_on(run: Any) -> None:
    broker = run(limits=Limits(handshake=0.1))
    for said in (b"", b"AMQP", PROTOCOL):
        with socket.create_connection(("127.0.0.1", broker.port), 5) as sock:
            sock.sendall(said)
            while sock.recv(1 << 16):
                pass
    assert wait_blocking(lambda: not node_of(broker).connections, 5)


def test_silent_connections_make_room_for_those_that_log_in(run: Any, join: Any) -> None:
    broker = run(limits=Limits(connections=3))
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), 5))
            for _ in range(20)
        ]
        client = join(broker)
        client.declare("q")
        ended = [sock for sock in crowd[:5] if sock.recv(1) == b""]
        assert len(ended) == 5, "the oldest are ended"
        crowd[-1].sendall(PROTOCOL)
        assert crowd[-1].recv(1), "the last ones may still log in"


def test_a_crowd_does_not_use_up_the_files_of_the_process() -> None:
    (port,) = free_ports(1)
    command = f"ulimit -n 64; exec {sys.executable} -m postage broker --port {port} --json"
    with (
        subprocess.Popen(
            ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.terminate)
        assert process.stdout is not None
        assert process.stdout.readline(), "the broker is ready"
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        wire = SocketWire("127.0.0.1", port, 5.0)
        stack.callback(wire.close)
        assert not SyncClient(wire, "/").ended, "a new client gets in"
        process.terminate()
        assert "Too many open files" not in process.communicate(timeout=10)[1]


# --- bugs


def raising(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a bug")


BUGS: dict[str, tuple[type, str]] = {
    "in a method": (VHost, "declare_exchange"),
    "when output was sent": (ClientConnection, "resume"),
    "when it was met before": (ClientConnection, "_fail"),
    "when channels end": (ClientChannel, "close"),
    "when consumers end": (VHost, "remove_consumers"),
    "when exclusive queues end": (VHost, "remove_owned"),
}


@pytest.mark.parametrize("where", BUGS)
def test_a_bug_ends_one_connection_only(
    run: Any,
    join: Any,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    broker = run()
    victim, other = join(broker), join(broker)
    other.declare("q")
    victim.ask(spec.Queue.Declare(queue="mine", exclusive=True), spec.Queue.DeclareOk)
    victim.ask(spec.Basic.Consume(queue="mine", consumer_tag="c"), spec.Basic.ConsumeOk)
    with monkeypatch.context() as patched:
        patched.setattr(*BUGS[where], raising)
        if where == "when it was met before":
            patched.setattr(VHost, "declare_exchange", raising)
        victim.sock.sendall(encode(1, "exchange.declare", exchange="e", type="direct"))
        if where.endswith("end"):
            victim.sock.close()
        stages = lambda: [each.stage for each in node_of(broker).connections]  # noqa: E731
        assert wait_blocking(lambda: stages().count(Stage.OPEN) == 1, 5)
    assert "bug" in caplog.text
    other.put("q", b"m")
    assert other.ask(spec.Basic.Get(queue="q", no_ack=True), spec.Basic.GetOk)
    if where != "when exclusive queues end":
        assert wait_blocking(lambda: "mine" not in node_of(broker).vhosts["/"].queues, 5)


# --- the end


def test_a_broken_connection_returns_its_messages(run: Any, join: Any) -> None:
    broker = run()
    client, other = join(broker), join(broker)
    client.declare("q")
    client.ask(spec.Queue.Declare(queue="mine", exclusive=True), spec.Queue.DeclareOk)
    client.put("q", b"m")
    client.ask(spec.Basic.Get(queue="q"), spec.Basic.GetOk)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.wire.close()  # with a reset
    assert wait_blocking(lambda: connected(broker) == 1, 5)
    assert other.declare("q").message_count == 1
    assert [queue.name for queue in broker.statistics().queues] == ["q"]


def test_stop_closes_everything(run: Any, join: Any) -> None:
    broker = run()
    clients = [join(broker) for _ in range(5)]
    half = socket.create_connection(("127.0.0.1", broker.port), 5)
    assert wait_blocking(lambda: connected(broker) == 6, 5)
    port, watch = broker.port, Stopwatch()
    broker.stop()
    assert watch.own < 1.0
    for client in clients:
        client.wait(0, spec.Connection.CloseOk)  # which never comes
        closes = [e.method for e in client.events if isinstance(e.method, spec.Connection.Close)]
        assert [close.reply_code for close in closes] == [320]
        assert client.at_end()
    assert half.recv(100) == b""
    half.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_no_greenlet_is_left() -> None:
    before = _greenlets()
    with Broker() as broker:
        socks = [gevent.socket.create_connection(("127.0.0.1", broker.port)) for _ in range(5)]
        for sock in socks[:3]:
            sock.sendall(PROTOCOL)
            assert sock.recv(4096)
        socks.pop().close()
        assert len(_greenlets() - before) >= 4
    for sock in socks:
        sock.close()
    assert _greenlets() == before


def _greenlets() -> set[int]:
    gevent.sleep(0)
    gc.collect()
    things = (thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet))
    return {id(thing) for thing in things if thing and not thing.dead}


def test_a_mistake_of_the_broker_ends_one_connection(
    run: Any, join: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker = run()
    client, other = join(broker), join(broker)
    connections = sorted(node_of(broker).connections, key=lambda connection: connection.id)
    connections[0].channels[1].send = None  # type: ignore[method-assign, assignment]
    client.send(1, spec.Basic.Qos())
    client.wait(0, spec.Connection.Close)
    assert [e.method.reply_code for e in client.events] == [541]
    assert other.round_trip() < 1.0
    assert "met a bug in the broker" in caplog.text


# --- many


def test_idle_connections_are_cheap(run: Any) -> None:
    broker, many = run(), 200
    said = PROTOCOL + encode(
        0, "connection.start_ok", mechanism="PLAIN", response=b"\0guest\0guest", locale="en_US"
    )
    said += encode(0, "connection.tune_ok", heartbeat=60)
    said += encode(0, "connection.open", virtual_host="/") + encode(1, "channel.open")
    tracemalloc.start()
    watch = Stopwatch()
    with ExitStack() as stack:
        for _ in range(many):
            address = ("127.0.0.1", broker.port)
            sock = stack.enter_context(socket.create_connection(address, 5))
            sock.sendall(said)
        assert wait_blocking(lambda: broker.statistics().channels == many, 5)
        assert watch.own < 5
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < many * 40_000
        tracemalloc.stop()
        used = broker.call(time.thread_time)
        time.sleep(0.3)
        assert broker.call(time.thread_time) - used < 0.05, "they keep nobody busy"
    assert wait_blocking(lambda: connected(broker) == 0, 5)


def test_all_get_their_turn(run: Any, join: Any) -> None:
    """Two consumers without limits on one connection both get messages from endless queues."""
    broker = run()
    publisher, consumer = join(broker), join(broker)
    for queue in ("a", "b"):
        publisher.declare(queue)
        for _ in range(400):
            publisher.put(queue, b"x" * 20_000)
    publisher.round_trip()
    calls = (spec.Basic.Consume(queue=q, consumer_tag=q, no_ack=True) for q in ("a", "b"))
    consumer.send(1, *calls)
    tags: list[str] = []
    while len(tags) < 800:
        consumer.pump()
        events = (e.method for e in consumer.take_events())
        tags += [m.consumer_tag for m in events if isinstance(m, spec.Basic.Deliver)]
    runs = [len(list(group)) for _, group in itertools.groupby(tags)]
    assert max(runs) < 60, runs
