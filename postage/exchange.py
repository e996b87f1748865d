"""Exchanges, declared by class attributes and used as classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from postage.values import Rule, arguments, check_values, flag, short_text

__all__ = ["Exchange", "ExchangeType"]


_RULES: Mapping[str, Rule] = {
    "name": short_text(),
    "exchange_type": short_text(1),
    **dict.fromkeys(("passive", "durable", "auto_delete"), flag),
    "arguments": arguments,
}


class ExchangeType(type):
    """Metaclass of exchanges."""

    @property
    def parameters(cls) -> dict[str, Any]:
        """The attributes as keyword arguments of pika's ``channel.exchange_declare``.

        Raises `SettingsError` if an attribute has a value that cannot be used.
        """
        exchange: type[Exchange] = cls  # type: ignore[assignment]  # every class of ours is one
        check_values(exchange, _RULES)
        return {
            "exchange": exchange.name,
            "exchange_type": exchange.exchange_type,
            "passive": exchange.passive,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "arguments": dict(exchange.arguments or {}),
        }


class Exchange(metaclass=ExchangeType):
    """An exchange: inherit it and set the attributes.  Use the class itself, not an instance."""

    # An attribute of a metaclass cannot be seen on instances, where 1.2.1 had it, too.
    parameters = property(lambda self: type(self).parameters)

    name: ClassVar[str] = "noname"
    exchange_type: ClassVar[str] = "direct"
    passive: ClassVar[bool] = False
    durable: ClassVar[bool] = True
    auto_delete: ClassVar[bool] = False
    arguments: ClassVar[Mapping[str, Any]] = {}
