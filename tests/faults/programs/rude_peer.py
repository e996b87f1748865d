"""Speaks AMQP badly: ``rude_peer.py ENDPOINT hostile|harmless RATE [KIND...]``.

It opens connections to HOSTILE_URL, one after the other, as fast as it can (RATE a second; 0: no
limit), and does something rude with each, with KINDs only that.  With ``harmless`` it logs in and
out in order.

It prints a line when it begins.  At SIGTERM it prints as JSON how often it did what.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from postage.broker.wire.framing import PROTOCOL
from postage.broker.wire.methods import encode

ENDPOINT, MODE, RATE, KINDS = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]
URL = urlsplit(os.environ["HOSTILE_URL"])
USER, PASSWORD = unquote(URL.username or ""), unquote(URL.password or "")
SILENT = 20
"""How many sockets stay open and send nothing."""
REQUESTS = 50
"""Calls of a peer that does not read the replies."""

chance = random.Random(2)
silent: deque[socket.socket] = deque(maxlen=SILENT)


def connected() -> socket.socket:
    peer = socket.create_connection((URL.hostname or "", URL.port or 0), 5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def start_ok(password: str = PASSWORD, **properties: Any) -> bytes:
    response = f"\0{USER}\0{password}".encode()
    return encode(
        0,
        "connection.start_ok",
        client_properties=properties,
        mechanism="PLAIN",
        response=response,
        locale="en_US",
    )


def log_in(peer: socket.socket) -> None:
    """Log in and open channel 1; read what the broker answers."""
    peer.sendall(PROTOCOL)
    peer.recv(65536)
    peer.sendall(start_ok())
    peer.recv(65536)
    tuned = encode(0, "connection.tune_ok", channel_max=100, frame_max=131_072, heartbeat=0)
    opened = encode(0, "connection.open", virtual_host=unquote(URL.path[1:]) or "/")
    peer.sendall(tuned + opened + encode(1, "channel.open"))
    peer.recv(65536)


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return (
        bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + end
    )


def content(channel: int, size: int, body: bytes) -> bytes:
    return frame(2, channel, b"\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0") + frame(
        3, channel, body
    )


def publish(key: str) -> bytes:
    return encode(1, "basic.publish", exchange=ENDPOINT, routing_key=key)


def stay_silent() -> None:
    peer = connected()
    peer.sendall(PROTOCOL[: chance.randrange(8)])
    if len(silent) == SILENT:
        silent[0].close()
    silent.append(peer)


def noise(size: int) -> Callable[[], bytes]:
    """Return a function that makes other random bytes each time."""
    return lambda: chance.randbytes(size)


def say(*data: bytes | Callable[[], bytes], logged_in: bool = False) -> Callable[[], None]:
    """Return a function that sends *data* on a new connection, and drops it."""

    def run() -> None:
        with connected() as peer:
            if logged_in:
                log_in(peer)
            for each in data:
                peer.sendall(each if isinstance(each, bytes) else each())
            peer.settimeout(0.05)
            with contextlib.suppress(OSError):
                peer.recv(65536)

    return run


def log_in_and_out() -> None:
    with connected() as peer:
        log_in(peer)
        peer.sendall(
            encode(0, "connection.close", reply_code=200, reply_text="", class_id=0, method_id=0)
        )
        peer.recv(65536)


def never_read() -> None:
    """Call with large arguments, and do not read the replies."""
    echo = {"type": "command", "name": "echo", "category": "rpc", "version": "2", "_reserved": {}}
    echo |= {"fingerprint": {}, "content": {"parameters": "x" * 50_000}}
    body = json.dumps(echo).encode()
    to = b"\x02\0" + bytes([len("amq.rabbitmq.reply-to")]) + b"amq.rabbitmq.reply-to"
    head = frame(2, 1, b"\0\x3c\0\0" + len(body).to_bytes(8, "big") + to)
    with connected() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        log_in(peer)
        peer.sendall(encode(1, "basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True))
        peer.recv(65536)
        for _ in range(REQUESTS):
            peer.sendall(publish("calls") + head + frame(3, 1, body))
        time.sleep(0.2)


def publish_to(key: str, *, mandatory: bool = False) -> bytes:
    """Return a message of 1,000 bytes to a queue."""
    method = encode(1, "basic.publish", exchange="", routing_key=key, mandatory=mandatory)
    return method + content(1, 1000, b"x" * 1000)


def declare(number: int) -> bytes:
    """Return a queue of our own, with arguments, bound to the exchange of the load."""
    name, key = f"rude-{os.getpid()}-{number}", f"rude.{number}.#.a.#"
    loop = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name, "x-message-ttl": 1}
    queue = encode(1, "queue.declare", queue=name, exclusive=True, arguments=loop)
    binding = encode(1, "queue.bind", queue=name, exchange=ENDPOINT, routing_key=key)
    return queue + binding + publish_to(name)


many_channels = b"".join(encode(number, "channel.open") for number in range(2, 101))
RUDE: dict[str, Callable[[], None]] = {
    "connects": say(),
    "silent": stay_silent,
    "http": say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "noise": say(noise(5000)),
    "other protocol": say(b"AMQP\x01\x01\x00\x0a"),
    "half a handshake": say(PROTOCOL, start_ok()[:20]),
    "failed login": say(PROTOCOL, start_ok("wrong")),
    "failed login with a large table": say(PROTOCOL, start_ok("wrong", x="y" * 100_000)),
    "methods before login": say(PROTOCOL, encode(1, "channel.open")),
    "garbage frames": say(lambda: frame(9, 1, chance.randbytes(100)), logged_in=True),
    "garbage methods": say(lambda: frame(1, 1, chance.randbytes(40)), logged_in=True),
    "no end of frame": say(frame(1, 1, b"\0\x3c\0\x28", b"x"), logged_in=True),
    "huge frame": say(b"\x03\0\x01\xff\xff\xff\xff", b"x" * 100_000, logged_in=True),
    "content without a method": say(content(1, 5, b"hello"), logged_in=True),
    "half a message": say(publish("notes") + content(1, 1 << 30, b"hello"), logged_in=True),
    "too much body": say(publish("notes") + content(1, 2, b"hello"), logged_in=True),
    "many channels": say(many_channels, logged_in=True),
    "unknown channel": say(encode(77, "basic.ack", delivery_tag=5), logged_in=True),
    "unknown tag": say(encode(1, "basic.ack", delivery_tag=5), logged_in=True),
    "reads no replies": never_read,
    "reads no returns": say(publish_to("rude-nowhere", mandatory=True) * 200, logged_in=True),
    "unfinished transaction": say(
        encode(1, "tx.select"), publish_to("rude-nowhere") * 200, logged_in=True
    ),
    "queues and loops": say(*map(declare, range(50)), logged_in=True),
    "logs in": log_in_and_out,
}


def main() -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    os.nice(19)  # an attacker would use a processor of its own
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    counts, began, number = Counter[str](), time.monotonic(), 0
    while not stopping:
        name = chance.choice(KINDS or list(RUDE)) if MODE == "hostile" else "logs in"
        try:
            RUDE[name]()
        except OSError:
            counts[f"refused: {name}"] += 1
        counts[name] += 1
        number += 1
        counts["messages"] += 1
        if RATE:
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
    sys.stdout.write(json.dumps(dict(counts)) + "\n")


main()
