"""Names, arguments, properties and bodies that hostile clients draw."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from postage.broker.wire.content import encode_properties
from postage.broker.wire.fields import Timestamp

Number = random.Random
"""What a step is drawn from."""

QUEUES = ("a", "b", "c", "d")
EXCHANGES = ("e", "f", "g", "amq.fanout", "amq.topic", "amq.headers")
LONG = ("z" * 255, "\u00e9" * 127, "a." * 120, "\U0001f600" * 63)
COUNTS = (1, 0, -1, "abc", None, 2**63 - 1, -(2**63), 1.5, True, [1], {"a": 1}, Timestamp(1))


def name(draw: Number) -> str:
    return draw.choice(QUEUES) if draw.random() < 0.9 else draw.choice((*LONG, "", "amq.x", "new"))


def exchange(draw: Number) -> str:
    return draw.choice(EXCHANGES) if draw.random() < 0.98 else draw.choice((*LONG, "missing"))


def key(draw: Number) -> str:
    return draw.choice((*QUEUES * 4, "", "a.b", "#", "*.b", "a.#.b.#", "#.#.#", *LONG))


def data(draw: Number, largest: int) -> bytes:
    size = draw.choice((0, 1, 3, 50, 50, 200, 1000, 4088, 4089, 9000, 9000, largest))
    too_much = draw.random() < 0.01
    return bytes((draw.randrange(256),)) * (min(size, largest) + too_much)


def value(draw: Number, depth: int = 3) -> Any:
    kind = draw.randrange(12)
    if kind < 2 and depth:
        return [value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind < 4 and depth:
        return table(draw, depth - 1)
    return draw.choice(
        (
            *COUNTS,
            "x",
            "y" * draw.choice((10, 1000)),
            b"\xff\xfe",
            Decimal("1.5"),
            "\u00e9" * 50,
            key(draw),
        )
    )


def table(draw: Number, depth: int = 2) -> dict[str, Any]:
    names = ("k", "h", "x-match", "x-death", "CC", "BCC", "\u00e9", "n" * 200)
    return {draw.choice(names): value(draw, depth) for _ in range(draw.randrange(4))}


def deaths(draw: Number) -> Any:
    fields: dict[str, Callable[[], Any]] = {
        "count": lambda: draw.choice(COUNTS),
        "reason": lambda: draw.choice((*("rejected", "expired", "maxlen") * 3, None, 5)),
        "queue": lambda: draw.choice((*QUEUES * 3, None, [], {})),
        "exchange": lambda: draw.choice((exchange(draw), None)),
        "time": lambda: draw.choice((Timestamp(5), "now", None)),
        "routing-keys": lambda: draw.choice((["a"], [None], "a", {})),
    }
    entries: list[Any] = [
        {field: make() for field, make in fields.items() if draw.random() < 0.9}
        for _ in range(draw.randrange(6))
    ]
    return draw.choice((entries, entries, [*entries, value(draw)], value(draw)))


def properties(draw: Number) -> bytes:
    values: dict[str, Any] = {}
    if draw.random() < 0.4:
        headers = table(draw)
        if draw.random() < 0.5:
            headers["x-death"] = deaths(draw)
        if draw.random() < 0.4:
            keys = [key(draw) for _ in range(draw.randrange(5))]
            headers[draw.choice(("CC", "BCC"))] = keys
        values["headers"] = headers
    if draw.random() < 0.2:
        values["expiration"] = draw.choice(("0", "1", "1000", "99999") * 5 + ("-1", "x", ""))
    if draw.random() < 0.2:
        values["priority"] = draw.choice((0, 1, 5, 255))
    if draw.random() < 0.2:
        values["correlation_id"] = draw.choice(("1", *LONG))
    if draw.random() < 0.1:
        values["delivery_mode"] = draw.choice((1, 2, 1, 2, 3))
    if draw.random() < 0.05:
        values["user_id"] = draw.choice(("guest", "guest", "other"))
    if draw.random() < 0.05:
        values["reply_to"] = draw.choice(("amq.rabbitmq.reply-to", "a"))
    return encode_properties(values)


def queue_arguments(draw: Number) -> dict[str, Any]:
    choices: dict[str, tuple[Any, ...]] = {
        "x-message-ttl": (0, 1, 1000, 1000),
        "x-expires": (1, 5000, 5000),
        "x-max-length": (0, 1, 3),
        "x-max-length-bytes": (0, 100, 5000),
        "x-overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
        "x-dead-letter-exchange": ("", "", "e", "f", "amq.fanout", "missing"),
        "x-dead-letter-routing-key": QUEUES,
        "x-max-priority": (1, 5, 255),
        "x-single-active-consumer": (True, False),
        "x-odd": (value(draw),),
    }
    found = {each: draw.choice(some) for each, some in choices.items() if draw.random() < 0.2}
    if draw.random() < 0.2:
        found["x-dead-letter-exchange"] = ""
        found["x-dead-letter-routing-key"] = draw.choice(QUEUES)
    if draw.random() < 0.2:
        found.pop("x-max-priority", None)
        found["x-queue-type"] = "quorum"
        found["x-delivery-limit"] = draw.choice((0, 1, 3))
        if draw.random() < 0.3:
            found["x-delayed-retry-type"] = draw.choice(("all", "failed", "returned"))
            found["x-delayed-retry-min"] = draw.choice((1, 500, 5000))
        if draw.random() < 0.3:
            found["x-consumer-timeout"] = draw.choice((0, 1, 1000))
    if draw.random() < 0.1:
        wrong = ("x", -1, 5.5, 2**62, "z" * 300, "\u00e9" * 200, None, [], {})
        found[draw.choice([*choices])] = draw.choice(wrong)
    if "x-dead-letter-routing-key" in found:
        found.setdefault("x-dead-letter-exchange", "")
    return found
