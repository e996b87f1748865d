"""The arguments that name an exchange, a key, a message and its parameters.

``call`` and ``send`` take all of them (`message_arguments`), ``tail`` the exchange alone
(`exchange_arguments`).  `exchange_of` and `parameters_of` turn the words of the command line into
an exchange class and into the parameters of a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import url_option
from postage.cli.running.targets import Target
from postage.encoding import JsonEncoder
from postage.errors import DecodingError, EncodingError, SettingsError, TopologyMismatch
from postage.exchange import Exchange, ExchangeType

F = TypeVar("F", bound=Callable[..., Any])

NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""Context settings for commands with `message_arguments`: click takes ``-1`` for an option."""
TYPES = ("direct", "fanout", "topic", "headers")


def exchange_arguments(func: F) -> F:
    """Add the argument EXCHANGE and the options that declare it."""
    for decorate in (
        click.option("--transient", is_flag=True, help="Declare the exchange as not durable."),
        click.option(
            "--exchange-type",
            type=click.Choice(TYPES),
            help="Declare the exchange with this type.  Without it, the exchange must exist.",
        ),
        click.argument("exchange"),
        url_option,
    ):
        func = decorate(func)
    return func


def message_arguments(func: F) -> F:
    """Add EXCHANGE KEY NAME and the parameters of a message."""
    for decorate in (
        click.argument(
            "words", nargs=-1, metavar="[JSON | KEY=VALUE]...", callback=_refuse_options
        ),
        click.argument("name"),
        click.argument("key"),
    ):
        func = decorate(func)
    return exchange_arguments(func)


def _refuse_options(
    ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse unknown options, which `NEGATIVE_NUMBERS` has let through."""
    for word in words:
        if word.startswith("-") and isinstance(_value_of(word), str):
            raise click.NoSuchOption(word, ctx=ctx)
    return words


# --- the exchange


def exchange_of(
    text: str, exchange_type: str | None = None, *, durable: bool = True
) -> type[Exchange]:
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
    """Return a new exchange class for the exchange *name*."""
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


_NAMED = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_NOT_JSON = ("NaN", "Infinity", "-Infinity")


def parameters_of(words: Iterable[str]) -> Any:
    """Return the parameters in *words*, each a value or ``key=value``, as a producer builds them.

    * No word: ``{}``.  One value: that value.  Several values: a list.
    * Only ``key=value``: a dictionary.
    * Both: ``{"args": ..., "kwds": ...}``.

    Raises `SettingsError`.
    """
    args, kwds = _split(words)
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


def _split(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
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
    return args, kwds


def _value_of(word: str) -> Any:
    """Return *word* decoded as JSON, or as text if it is not JSON.

    Raises `SettingsError` if it begins like an object, a list or a string of JSON, but is none.
    """
    try:
        return JsonEncoder.decode(word)
    except DecodingError as exc:
        if word.lstrip().startswith(("{", "[", '"')):
            raise SettingsError(f"{word!r} is {exc}") from None
    if word in _NOT_JSON:
        raise SettingsError(f"{word} is no number that JSON has; the text is written '\"{word}\"'")
    return word
