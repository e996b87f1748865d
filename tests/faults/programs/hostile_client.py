"""Floods the queues of a load: ``hostile_client.py ENDPOINT hostile|harmless [KIND...]``.

It logs in to HOSTILE_URL as an ordinary user, and publishes as fast as the consumers take the
messages: it waits while a queue has `BACKLOG` messages, because more of them would only delay the
calls behind them.  With ``harmless`` each message is replaced by an ordinary one of the same size.
With KINDs it sends only those.

It prints a line when it begins, and at SIGTERM as JSON how many messages it sent of each kind.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pika
from pika.exceptions import AMQPError

ENDPOINT, MODE, KINDS = sys.argv[1], sys.argv[2], sys.argv[3:]
QUEUES = f"{ENDPOINT}-notes", f"{ENDPOINT}-calls"
BACKLOG = 20
BETWEEN_LOOKS = 10
"""Messages between two looks at the queues."""
TRAMPOLINE = f"{ENDPOINT}-trampoline"
"""A queue of our own, from which the broker moves messages on, and adds a header to each."""
FRAME = 131_072
LARGEST = 16 << 20
"""The default of `max_body`."""

chance = random.Random(1)


class Hostile(NamedTuple):
    """A message to *key* of the exchange of the load, or to the queue *key*."""

    body: bytes
    properties: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    key: str | None = None
    is_queue: bool = False


def envelope(**parts: Any) -> dict[str, Any]:
    return {
        "type": "command",
        "name": "idle",
        "category": "message",
        "version": "2",
        "fingerprint": {"name": "peer", "user": "faulty"},
        "content": {"parameters": [1, 2]},
        "_reserved": {},
        **parts,
    }


def sent(**parts: Any) -> Hostile:
    return Hostile(json.dumps(envelope(**parts)).encode())


def note(parameters: Any) -> Hostile:
    return sent(name="note", content={"parameters": parameters})


def with_properties(**properties: Any) -> Hostile:
    return Hostile(json.dumps(envelope(name="unknown")).encode(), properties)


def headed(headers: dict[str, Any]) -> Hostile:
    return with_properties(headers=headers)


def request(**properties: Any) -> Hostile:
    echo = envelope(name="echo", category="rpc", content={"parameters": "forged"})
    return Hostile(json.dumps(echo).encode(), properties, key="calls")


def text(size: int) -> str:
    return chance.choice("abc\u202e\x1b\n") * size


def random_json(depth: int = 4) -> Any:
    """Return any value that JSON has."""
    kind = chance.randrange(8 if depth else 6)
    if kind == 6:
        return [random_json(depth - 1) for _ in range(chance.randrange(4))]
    if kind == 7:
        return {text(chance.randrange(9)): random_json(depth - 1) for _ in range(3)}
    return (None, True, -(2**63), 1e308, text(20), "")[kind]


def replies() -> Hostile:
    """A reply that answers no call of ours."""
    result = {"type": "success", "value": "forged", "message": None}
    body = json.dumps(envelope(type="result", name="success", category="result", content=result))
    to = chance.choice(["amq.gen-guessed", "amq.rabbitmq.reply-to.g1h2AAAA", *QUEUES])
    number = chance.choice([None, "", "1", f"{chance.getrandbits(128):032x}"])
    return Hostile(body.encode(), {"correlation_id": number}, to, is_queue=True)


XDEATHS: list[Any] = [
    [{"count": "abc", "queue": QUEUES[0], "reason": "rejected"}],
    [{"count": -(2**63)}, {"count": 2**63 - 1}],
    [None, 7, "x", []],
    "rejected",
    {"count": 1},
    [{"queue": QUEUES[0], "reason": "expired", "exchange": "", "count": 1, "routing-keys": 7}],
]

# The values are functions, each of which makes one message.
ATTACKS: dict[str, Callable[[], Hostile]] = {
    "no json": lambda: Hostile(chance.choice([b"", b"{", b"\xff\xfe\0", b"NaN", b"\0" * 5000])),
    "deep json": lambda: Hostile(chance.choice([b"[", b'{"a":', b"[[]"]) * 50_000),
    "digits": lambda: Hostile(b'{"type": ' + b"9" * 200_000 + b"}"),
    "any json": lambda: Hostile(json.dumps(random_json()).encode()),
    "odd parts": lambda: sent(**{chance.choice(list(envelope())): random_json()}),
    "unknown": lambda: sent(name=f"unknown-{chance.getrandbits(64)}", type=text(9)),
    "huge name": lambda: sent(name=text(100_000) + str(chance.getrandbits(64))),
    "huge fingerprint": lambda: sent(fingerprint={"name": text(50_000)}),
    "wrong arguments": lambda: note(chance.choice([None, 5, "x", {}])),
    "a failing handler": lambda: note([[], text(2000)]),
    "commands": lambda: sent(name=chance.choice(["quit", "restart", "join_group"])),
    "forged user": lambda: Hostile(json.dumps(envelope(name="quit")).encode(), {"user_id": "root"}),
    "forged replies": replies,
    "requests": lambda: sent(category="rpc", name=chance.choice(["x", "note", "echo"])),
    "reply to others": lambda: request(
        reply_to=chance.choice([*QUEUES, "none", text(60)]), correlation_id=text(60)
    ),
    "headers": lambda: headed({text(60): random_json()}),
    "large headers": lambda: headed({"x": "h" * (FRAME - chance.randrange(200, 400))}),
    "faked x-death": lambda: headed({"x-death": chance.choice(XDEATHS)}),
    "other faked headers": lambda: headed(
        {"x-delivery-count": chance.choice([2**62, -1, "x", None]), "x-first-death-queue": 7}
    ),
    "odd properties": lambda: with_properties(
        content_type=text(60), type=text(85), app_id=text(85), timestamp=2**63, priority=255
    ),
    "encodings": lambda: with_properties(content_encoding="gzip", content_type="image/png"),
    "trampoline": lambda: Hostile(
        b"{", {"headers": {"x": "h" * (FRAME - 150)}}, TRAMPOLINE, is_queue=True
    ),
}
RARE: dict[str, Callable[[], Hostile]] = {
    "many objects": lambda: Hostile(b"[" + b"{}," * 700_000 + b"{}]"),
    "a huge body": lambda: Hostile(b'"' + b"x" * (LARGEST - 100) + b'"'),
    "too large": lambda: Hostile(b"x" * (LARGEST + 1)),
}
RARITY = 2000
"""One of so many messages is a huge one, the first of them early."""
FIRST_RARE = 200


def attacks() -> Iterator[tuple[str, Hostile]]:
    known = ATTACKS | RARE
    chosen = KINDS or list(ATTACKS)
    for number in itertools.count(1):
        is_rare = not KINDS and number % RARITY == FIRST_RARE
        name = chance.choice(list(RARE) if is_rare else chosen)
        yield name, known[name]()


class Client:
    """One connection, renewed whenever the broker ends it or its channel."""

    def __init__(self) -> None:
        self._parameters = pika.URLParameters(os.environ["HOSTILE_URL"])
        self._connection: Any = None
        self._channel: Any = None

    def open(self) -> None:
        if self._connection is None or not self._connection.is_open:
            self._connection = pika.BlockingConnection(self._parameters)
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            on = {"x-dead-letter-exchange": ENDPOINT, "x-dead-letter-routing-key": "calls"}
            self._channel.queue_declare(
                TRAMPOLINE, exclusive=True, arguments={"x-message-ttl": 1, **on}
            )

    def send(self, attack: Hostile) -> None:
        key = attack.key or chance.choice(["notes", "calls"])
        exchange = "" if attack.is_queue else ENDPOINT
        properties = pika.BasicProperties(**attack.properties)
        self._channel.basic_publish(exchange, key, attack.body, properties)

    def is_ahead(self) -> bool:
        looks = (self._channel.queue_declare(queue, passive=True) for queue in QUEUES)
        return any(look.method.message_count > BACKLOG for look in looks)


ORDINARY = json.dumps(envelope(content={"parameters": "@"})).encode().split(b"@")


def harmless(attack: Hostile) -> Hostile:
    """Return an ordinary message of the size of *attack*."""
    headers = sum(len(str(each)) for each in attack.properties.values())
    before, after = ORDINARY
    padding = b"x" * max(0, min(len(attack.body) + headers, LARGEST) - len(before) - len(after))
    key = attack.key if attack.key == "calls" and not attack.is_queue else None
    return Hostile(before + padding + after, key=key)


def main() -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    os.nice(19)  # an attacker would use a processor of its own
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    client, counts = Client(), Counter[str]()
    for number, (name, attack) in enumerate(attacks()):
        try:
            client.open()
            while not stopping and number % BETWEEN_LOOKS == 0 and client.is_ahead():
                time.sleep(0.005)
            client.send(attack if MODE == "hostile" else harmless(attack))
        except (AMQPError, OSError, ValueError, TypeError, OverflowError) as exc:
            # The broker has refused the message, or pika cannot write it.
            counts[f"{type(exc).__name__}: {name}"] += 1
        counts[name] += 1
        counts["messages"] += 1
        if stopping:
            break
    sys.stdout.write(json.dumps(dict(counts)) + "\n")


main()
