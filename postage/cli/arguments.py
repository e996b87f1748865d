"""The arguments by which ``call`` and ``send`` say where to, and what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from postage.cli.exchanges import TYPES, existing
from postage.cli.options import url_option
from postage.cli.parameters import value_of
from postage.exchange import Exchange

if TYPE_CHECKING:
    from postage.cli.remote import Remote

__all__ = ["NEGATIVE_NUMBERS", "addressed", "exchange_options", "remote_at"]

F = TypeVar("F", bound=Callable[..., Any])

NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""The context settings of commands that are `addressed`: click takes ``-1`` for an option."""


def exchange_options(func: F) -> F:
    """Add the argument EXCHANGE, and how to declare it."""
    for decorate in (
        click.option("--transient", is_flag=True, help="Declare it as one that is not durable."),
        click.option(
            "--exchange-type",
            type=click.Choice(TYPES),
            help="Declare the exchange, of this type, instead of using it as it is.",
        ),
        click.argument("exchange"),
        url_option,
    ):
        func = decorate(func)
    return func


def addressed(func: F) -> F:
    """Add EXCHANGE KEY NAME and the parameters."""
    for decorate in (
        click.argument(
            "words", nargs=-1, metavar="[JSON | KEY=VALUE]...", callback=_without_options
        ),
        click.argument("name"),
        click.argument("key"),
    ):
        func = decorate(func)
    return exchange_options(func)


def remote_at(exchange: type[Exchange], key: str) -> Remote:
    """Return a producer for one exchange and key; says what to do where the exchange is missing."""
    from postage.cli.remote import Remote  # noqa: PLC0415 - `--help` does not wait for gevent

    with existing(exchange):
        return Remote(exchange, key)


def _without_options(
    ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse options that nobody knows: see `NEGATIVE_NUMBERS`."""
    for word in words:
        if word.startswith("-") and isinstance(value_of(word), str):
            raise click.NoSuchOption(word, ctx=ctx)
    return words
