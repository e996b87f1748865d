"""The exchange that a command line names: by its name, or as a class of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from postage.cli.exits import Code, CommandFailed
from postage.cli.running.targets import Target
from postage.errors import TopologyMismatch
from postage.exchange import Exchange, ExchangeType

__all__ = ["TYPES", "exchange_of", "existing", "named"]

TYPES = ("direct", "fanout", "topic", "headers")


def exchange_of(text: str, kind: str | None = None, *, durable: bool = True) -> type[Exchange]:
    """Return the exchange that *text* names; raises `CommandFailed`.

    ``MODULE:Class`` is declared as the class says, a name with a *kind* as that.  A name alone is
    used as it is on the broker: what is misspelt shall not come into being.
    """
    if kind is not None:
        return named(text, exchange_type=kind, durable=durable)
    if ":" not in text:
        return named(text, passive=True)
    thing = Target.parse(text).load()
    if not isinstance(thing, ExchangeType):
        raise CommandFailed(
            f"{text} is no exchange class; a name with a colon needs --exchange-type"
        )
    exchange: type[Exchange] = thing  # type: ignore[assignment]  # every class of ours is one
    return exchange


def named(name: str, **attributes: object) -> type[Exchange]:
    """Return an exchange class of that name."""
    made: type[Exchange] = ExchangeType(  # type: ignore[assignment]  # as above
        "Named", (Exchange,), {"name": name, **attributes}
    )
    return made


@contextmanager
def existing(exchange: type[Exchange]) -> Iterator[None]:
    """Have the block, which declares *exchange*, say in a command's words that it is missing."""
    try:
        yield
    except TopologyMismatch as exc:
        if exc.flag != "passive":
            raise
        text = f"there is no exchange {exchange.name!r}; --exchange-type TYPE declares it"
        raise CommandFailed(text, Code.TOPOLOGY) from None
