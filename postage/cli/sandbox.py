"""A sandbox in which components can be made without a broker: all of them find one inside.

It changes classes of ours for the rest of the process, which is that of ``postage check``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from postage.addressing import Binding, QueueSpec, queue_name_and_flags
from postage.exchange import Exchange, ExchangeType
from postage.green import GenericConsumer
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
        GenericConsumer.queue_bind = self._noting(GenericConsumer.queue_bind)  # type: ignore[method-assign]

    def bound_by(self, consumer: GenericConsumer) -> list[Binding]:
        """Return what *consumer* has bound."""
        return self.bindings.get(id(consumer), [])

    def _noting(self, queue_bind: Any) -> Any:
        @functools.wraps(queue_bind)
        def noting(
            consumer: GenericConsumer,
            exchange: type[Exchange],
            queue: QueueSpec,
            key: str,
            **flags: Any,
        ) -> None:
            known = self.bindings.setdefault(id(consumer), [])
            known.append(Binding(exchange, queue, key))
            queue_bind(consumer, exchange, _made_here(queue), key, **flags)

        return noting


def _inside(_hup: Any = None, vhost: str | None = None) -> Settings:
    return Settings(host=BROKER, vhost=live.vhost if vhost is None else vhost)


def _active(exchange: type[Exchange]) -> Mapping[str, Any]:
    """Return the parameters; what others make, in earnest, is made here."""
    names = ("exchange_type", "durable", "auto_delete", "arguments")
    return {"exchange": exchange.name, "passive": False} | {n: getattr(exchange, n) for n in names}


def _made_here(queue: QueueSpec) -> QueueSpec:
    name, flags = queue_name_and_flags(queue)
    return {"name": name, "flags": {flag: flags[flag] for flag in flags.keys() - {"passive"}}}
