"""A meeting place of a test's own on the broker: an exchange, a queue and a key."""

from __future__ import annotations

from typing import Any

from postage import messaging
from postage.addressing import Eks, Eqk


def exchange(name: str, kind: str = "direct", **attributes: Any) -> type[messaging.Exchange]:
    """Return an exchange class."""
    made: type[messaging.Exchange] = messaging.ExchangeType(
        "Meeting", (messaging.Exchange,), {"name": name, "exchange_type": kind, **attributes}
    )
    return made


class Place:
    """The exchange *name* and a queue of the same name, bound by `key`."""

    key = "rk"

    def __init__(self, name: str) -> None:
        self.queue = name
        self.exchange = exchange(name)

    @property
    def eqk(self) -> Eqk:
        """For those who listen here."""
        return self.at((self.queue, self.key))

    @property
    def eks(self) -> Eks:
        """For those who send here."""
        return [(self.exchange, self.key)]

    @property
    def dead(self) -> str:
        """The queue for what is rejected from `strict`."""
        return f"{self.queue}-dead"

    @property
    def strict(self) -> Eqk:
        """For those who listen here and whose rejected messages go to `dead`."""
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}
        return self.at(({"name": self.queue, "flags": {"arguments": arguments}}, self.key))

    def at(self, *pairs: Any) -> Eqk:
        """Return these queues and keys at the exchange, for those who listen."""
        return [(self.exchange, list(pairs))]

    def sub(self, suffix: str) -> str:
        """Return the name of another queue of this test."""
        return f"{self.queue}-{suffix}"

    def producer(
        self,
        kind: type[messaging.GenericProducer] = messaging.GenericProducer,
        **attributes: Any,
    ) -> messaging.GenericProducer:
        """Return a producer that sends here and, unless told otherwise, calls without patience."""
        known = {"eks": self.eks, "rpc_timeout": 10, "max_retry": 0}
        return type("Producer", (kind,), known | attributes)()


def producer_at(
    place: Place,
    fingerprint: Any = None,
    kind: type[messaging.GenericProducer] = messaging.GenericProducer,
    **attributes: Any,
) -> Any:
    """Return a producer of *kind* that sends to *place*."""
    return type("Producer", (kind,), {"eks": place.eks, **attributes})(fingerprint)
