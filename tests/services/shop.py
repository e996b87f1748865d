"""What the services of several modules have in common: values, an event, an error, and a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from tests.support.endpoints import Endpoint


class Reservation(msgspec.Struct):
    item: str
    count: int


@dataclass
class Ordered:
    """An event."""

    item: str
    count: int = 1


class OutOfStock(Exception):
    """An error that interfaces declare."""


def shouted(content: Any) -> Any:
    """Return *content* as a message filter changes it: the item is in capitals."""
    content["parameters"]["item"] = content["parameters"]["item"].upper()
    return content


def placed(kind: type, endpoint: Endpoint, **attributes: Any) -> Any:
    """Return a class like *kind* whose exchange and queue are those of *endpoint*."""
    known = {"exchange": endpoint.exchange, "queue": endpoint.queue}
    return type(kind.__name__, (kind,), known | attributes)
