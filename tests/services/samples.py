"""What signatures are made of: classes for hints, a method, and a service of methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from postage import Service
from postage.services.signatures import Signature

T = TypeVar("T")


@dataclass
class Line:
    item: str
    count: int = 1


class Box(msgspec.Struct, Generic[T]):
    inside: T


class Tree(msgspec.Struct):
    value: int
    below: list[Tree] = []


class Row(msgspec.Struct, array_like=True):
    item: str
    count: int


def new_method() -> Any:
    """Return a new function, as decorators mark the function itself."""

    def reserve(self, item: str, count: int = 1) -> int:
        return count

    return reserve


def made(**attributes: Any) -> type[Service]:
    """Return a service with *attributes*."""
    return type("Stock", (Service,), attributes)


def signature(function: Any) -> Signature:
    """Return the signature of *function* as a method of a service."""
    return Signature.of(Service, function.__name__, function)
