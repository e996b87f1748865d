"""Exchanges, declared by class attributes and used as classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["Exchange", "ExchangeType"]


class ExchangeType(type):
    """Gives exchange classes the live property `parameters`."""

    @property
    def parameters(cls) -> dict[str, Any]:
        """The keyword arguments of ``channel.exchange_declare`` (AMQP 0-9-1, exchange.declare)."""
        exchange: type[Exchange] = cls  # type: ignore[assignment]  # every class of ours is one
        return {
            "exchange": exchange.name,
            "exchange_type": exchange.exchange_type,
            "passive": exchange.passive,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "arguments": dict(exchange.arguments),
        }


class Exchange(metaclass=ExchangeType):
    """An exchange.  Inherit it and set what differs; use the class itself, never an instance."""

    name: ClassVar[str] = "noname"
    exchange_type: ClassVar[str] = "direct"
    passive: ClassVar[bool] = False
    durable: ClassVar[bool] = True
    auto_delete: ClassVar[bool] = False
    arguments: ClassVar[Mapping[str, Any]] = {}
