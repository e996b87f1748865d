"""An endpoint for one test: an exchange, a queue and a key."""

from __future__ import annotations

from typing import Any

from postage import messaging
from postage.addressing import Eks, Eqk


def exchange(name: str, kind: str = "direct", **attributes: Any) -> type[messaging.Exchange]:
    """Return an exchange class of this *kind*."""
    made: type[messaging.Exchange] = messaging.ExchangeType(
        "Exchange", (messaging.Exchange,), {"name": name, "exchange_type": kind, **attributes}
    )
    return made


class Endpoint:
    """The exchange *name* and a queue of the same name, bound by `key`."""

    key = "rk"

    def __init__(self, name: str) -> None:
        self.queue = name
        self.exchange = exchange(name)

    @property
    def eqk(self) -> Eqk:
        """The queue, for consumers and processors."""
        return self.at((self.queue, self.key))

    @property
    def eks(self) -> Eks:
        """The exchange and the key, for producers."""
        return [(self.exchange, self.key)]

    @property
    def dead(self) -> str:
        """The queue for the messages that are rejected from `strict`."""
        return f"{self.queue}-dead"

    @property
    def strict(self) -> Eqk:
        """The queue, with `dead` for its rejected messages."""
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}
        return self.at(({"name": self.queue, "flags": {"arguments": arguments}}, self.key))

    def at(self, *pairs: Any) -> Eqk:
        """Return these pairs of queue and key at the exchange, for consumers and processors."""
        return [(self.exchange, list(pairs))]

    def sub(self, suffix: str) -> str:
        """Return the name of another queue of this test."""
        return f"{self.queue}-{suffix}"

    def producer(
        self,
        kind: type[messaging.GenericProducer] = messaging.GenericProducer,
        **attributes: Any,
    ) -> messaging.GenericProducer:
        """Return a producer that sends here; by default its calls are not sent again."""
        known = {"eks": self.eks, "rpc_timeout": 10, "max_retry": 0}
        return type("Producer", (kind,), known | attributes)()


def producer_at(
    endpoint: Endpoint,
    fingerprint: Any = None,
    kind: type[messaging.GenericProducer] = messaging.GenericProducer,
    **attributes: Any,
) -> Any:
    """Return a producer of *kind* that sends to *endpoint*."""
    return type("Producer", (kind,), {"eks": endpoint.eks, **attributes})(fingerprint)
