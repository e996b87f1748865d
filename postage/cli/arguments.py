"""The arguments that name an exchange, a key, a message and its parameters.

``call`` and ``send`` take all of them (`message_arguments`), ``tail`` the exchange alone
(`exchange_arguments`).  The decorators turn the words of the command line into what the command
works with: an exchange class, or a producer and the parameters of a message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import url_option
from postage.cli.running.targets import Target
from postage.encoding import JsonEncoder
from postage.errors import DecodingError, EncodingError, SettingsError, TopologyMismatch
from postage.exchange import Exchange, ExchangeType
from postage.values import short_text

NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""Context settings for commands with `message_arguments`: click takes ``-1`` for an option."""


def exchange_arguments(func: Callable[..., Any]) -> Callable[..., Any]:
    """Add EXCHANGE and the options that declare it; pass the class *exchange* to *func*."""

    @url_option
    @click.argument("exchange")
    @click.option(
        "--exchange-type",
        type=click.Choice(("direct", "fanout", "topic", "headers")),
        help="Declare the exchange with this type.  Without it, the exchange must exist.",
    )
    @click.option("--transient", is_flag=True, help="Declare the exchange as not durable.")
    @functools.wraps(func)
    def command(
        *, exchange: str, exchange_type: str | None, transient: bool, **others: Any
    ) -> object:
        return func(exchange=exchange_of(exchange, exchange_type, durable=not transient), **others)

    return command


def message_arguments(func: Callable[..., Any]) -> Callable[..., Any]:
    """Add EXCHANGE KEY NAME and the parameters of a message.

    Passes *remote* to *func*, a connected producer for the exchange and the key, and *name* and
    *parameters*.
    """

    @exchange_arguments
    @click.argument("key")
    @click.argument("name")
    @click.argument(
        "parameters", nargs=-1, metavar="[JSON | KEY=VALUE]...", callback=_parameters_of_message
    )
    @functools.wraps(func)
    def command(*, exchange: type[Exchange], key: str, **others: Any) -> object:
        from postage.cli.remote import Remote  # noqa: PLC0415 - `--help` does not wait for gevent

        with explain_missing(exchange):
            remote = Remote(exchange, key)
        return func(remote=remote, **others)

    return command


def _parameters_of_message(
    ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]
) -> Any:
    """Return the parameters in *words*; refuse the options that `NEGATIVE_NUMBERS` lets through."""
    for word in words:
        if word.startswith("-") and isinstance(_value_of(word), str):
            raise click.NoSuchOption(word, ctx=ctx)
    return parameters_of(words)


# --- the exchange


def exchange_of(text: str, exchange_type: str | None, *, durable: bool) -> type[Exchange]:
    """Return the exchange that *text* names; raises `CommandFailed`.

    * ``MODULE:Class`` is a class of the user's, declared as the class says.
    * A name with an *exchange_type* is declared with that type.
    * A name alone must exist on the broker: a misspelt name must not create an exchange.
    """
    if exchange_type is not None:
        return exchange_named(text, exchange_type=exchange_type, durable=durable)
    if ":" not in text:
        return exchange_named(text, passive=True)
    loaded = Target.parse(text).load()
    if not isinstance(loaded, ExchangeType):
        raise CommandFailed(
            f"{text} is no exchange class; a name with a colon needs --exchange-type"
        )
    exchange: type[Exchange] = loaded  # type: ignore[assignment]  # all its classes are Exchanges
    return exchange


def exchange_named(name: str, **attributes: object) -> type[Exchange]:
    """Return a new exchange class for the exchange *name*; raises `SettingsError`."""
    short_text()("EXCHANGE", name)
    exchange: type[Exchange] = ExchangeType(  # type: ignore[assignment]  # as above
        "Named", (Exchange,), {"name": name, **attributes}
    )
    return exchange


@contextmanager
def explain_missing(exchange: type[Exchange]) -> Iterator[None]:
    """Raise `CommandFailed` when the block finds that *exchange* does not exist."""
    try:
        yield
    except TopologyMismatch as exc:
        if exc.flag != "passive":
            raise
        text = f"there is no exchange {exchange.name!r}; --exchange-type TYPE declares it"
        raise CommandFailed(text, Code.TOPOLOGY) from None


# --- the parameters

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NAMED = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)


def parameters_of(words: Iterable[str]) -> Any:
    """Return the parameters in *words*, each a value or ``key=value``, as a producer builds them.

    * No word: ``{}``.  One value: that value.  Several values: a list.
    * Only ``key=value``: a dictionary.
    * Both: ``{"args": ..., "kwds": ...}``.

    Raises `SettingsError`.
    """
    args: list[Any] = []
    kwds: dict[str, Any] = {}
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None:
            args.append(_value_of(word))
        elif named[1] in kwds:
            raise SettingsError(f"{named[1]} is given twice")
        else:
            kwds[named[1]] = _value_of(named[2])
    parameters: Any
    if args and kwds:
        parameters = {"args": args, "kwds": kwds}
    elif args:
        parameters = args[0] if len(args) == 1 else args
    else:
        parameters = kwds["parameters"] if kwds.keys() == {"parameters"} else kwds
    try:
        JsonEncoder.encode(parameters)  # refuses 1e999: valid JSON, but an infinite float
    except EncodingError as exc:
        raise SettingsError(str(exc)) from None
    return parameters


def _value_of(word: str) -> Any:
    """Return *word* decoded as JSON, or as text if it is not JSON.

    Raises `SettingsError` if it begins like an object, a list or a string of JSON, but is none.
    """
    try:
        return JsonEncoder.decode(word)
    except DecodingError as exc:
        if word.lstrip().startswith(("{", "[", '"')):
            raise SettingsError(f"{word!r} is {exc}") from None
        if _NUMBER.fullmatch(word):  # 1e999, or a number of 5,000 digits
            why = str(exc).partition(": ")[2]
            raise SettingsError(f"cannot send this as JSON: {why}") from None
    if word in ("NaN", "Infinity", "-Infinity"):
        raise SettingsError(f"{word} is no number that JSON has; the text is written '\"{word}\"'")
    return word
