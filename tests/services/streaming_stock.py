"""A service whose handlers stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gevent
import gevent.event

from postage import MessageResult, Service, green, rpc
from postage.settings import Settings
from tests.services.shop import OutOfStock
from tests.support.running import SOON


@dataclass
class Line:
    number: int
    text: str


class Stock(Service):
    """The interface, and the service."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.sent: list[int] = []
        self.ends: list[str] = []
        self.gate = gevent.event.Event()
        super().__init__(*args, **kwds)

    @rpc
    def lines(self, count: int) -> Iterator[Line]:
        try:
            for number in range(count):
                self.sent.append(number)
                yield Line(number, f"line {number}")
        finally:
            self.ends.append("lines")

    @rpc(name="all", raises=(OutOfStock,))
    def failing(self, after: int, how: str) -> Generator[int, None, None]:
        yield from range(after)
        if how == "declared":
            raise OutOfStock("bolt", after)
        if how == "odd":
            yield "text"  # type: ignore[misc]
        if how == "result":
            yield MessageResult(5)  # type: ignore[misc]
        raise LookupError(how)

    @rpc
    def feed(self, count: int) -> Iterator[int]:
        try:
            yield from range(count)
            self.gate.wait()
        except Exception:
            self.ends.append("caught")
        finally:
            self.ends.append("feed")

    @rpc
    def plain_iterator(self, count: int) -> Iterator[int]:
        return iter(range(count))

    @rpc
    def none_at_all(self) -> Iterator[int]:
        return None  # type: ignore[return-value]

    @rpc
    def tenants(self) -> Iterator[str]:
        for _ in range(2):
            yield green.message().headers["x-tenant"]

    @rpc
    @green.time_limit(0.2)
    def limited(self) -> Iterator[int]:
        try:
            yield 1
            gevent.sleep(SOON)
        finally:
            self.ends.append("limited")

    @rpc
    def one(self) -> int:
        return 1


def apart() -> Settings:
    """Return settings for a client with connections of its own."""
    return replace(Settings.resolve(None, None, None), heartbeat=61)
