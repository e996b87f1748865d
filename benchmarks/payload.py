"""The message of all benchmarks, and its JSON: the same for every peer."""

from __future__ import annotations

import json
from typing import Any

_RECORD = {
    "customer": "4f6d1f0a-90f4-4c5e-9c0d-5a0b7d1f2c33",
    "created": "2024-05-17T09:41:12.345678+02:00",
    "status": "in preparation",
    "total": 1284.5,
    "paid": False,
    "lines": [{"article": "A-1007", "pieces": 3}, {"article": "B-0042", "pieces": 12}],
    "remarks": "at the back door ring once",
}
FIRST = 100_000
"""The number of the first message.  All numbers have six digits, so all messages have one size."""


def payload(number: int) -> dict[str, Any]:
    """Return a dictionary of 302 bytes of JSON, different for each *number* below 900,000."""
    return {"number": FIRST + number, **_RECORD}


def number_of(message: dict[str, Any]) -> int:
    """Return the number of *message*."""
    number: int = message["number"]
    return number - FIRST


def encoded(message: dict[str, Any]) -> bytes:
    """Return *message* as JSON: the standard library's, which Postage uses as well."""
    return json.dumps(message).encode()


def decoded(body: bytes) -> dict[str, Any]:
    """Return the dictionary in *body*."""
    message: dict[str, Any] = json.loads(body)
    return message
