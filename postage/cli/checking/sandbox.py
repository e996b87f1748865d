"""A sandbox in which components can be made without a broker: all of them find one inside.

It changes classes of ours for the rest of the process, which is that of ``postage check``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from postage.addressing import Binding
from postage.exchange import Exchange, ExchangeType
from postage.green import GenericConsumer
from postage.green.topology import QueueDeclaration
from postage.settings import Settings, live

__all__ = ["Sandbox"]

BROKER = "embedded://check"


class Sandbox:
    """Leads every component to a broker of this process, and notes what they bind."""

    def __init__(self) -> None:
        self.bindings: dict[int, list[Binding]] = {}
        """What was bound, by the id of the consumer."""

    def enter(self) -> None:
        """From now on, components connect here, whatever broker they name."""
        logging.getLogger("postage.broker").setLevel(logging.ERROR)  # nothing is to survive here
        Settings.resolve = staticmethod(_inside)  # type: ignore[method-assign, assignment]
        ExchangeType.parameters = property(_active)  # type: ignore[method-assign, assignment]
        GenericConsumer._declare = self._noting(GenericConsumer._declare)  # type: ignore[method-assign]  # noqa: SLF001 - every queue goes that way

    def bindings_of(self, consumer: GenericConsumer) -> list[Binding]:
        """Return what *consumer* has bound."""
        return self.bindings.get(id(consumer), [])

    def _noting(self, declare: Any) -> Any:
        @functools.wraps(declare)
        def noting(consumer: GenericConsumer, queue: QueueDeclaration) -> None:
            known = self.bindings.setdefault(id(consumer), [])
            known += [Binding(exchange, queue.asked, key) for exchange, key in queue.bindings]
            queue.flags.pop("passive", None)  # what others make, in earnest, is made here
            declare(consumer, queue)

        return noting


def _inside(_hup: Any = None, vhost: str | None = None) -> Settings:
    return Settings(host=BROKER, vhost=live.vhost if vhost is None else vhost)


def _active(exchange: type[Exchange]) -> Mapping[str, Any]:
    """Return the parameters; what others make, in earnest, is made here."""
    names = ("exchange_type", "durable", "auto_delete", "arguments")
    return {"exchange": exchange.name, "passive": False} | {n: getattr(exchange, n) for n in names}
