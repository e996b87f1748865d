"""``postage send``: a command that nobody answers."""

from __future__ import annotations

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, addressed, remote_at
from postage.cli.exchanges import exchange_of
from postage.cli.options import examples
from postage.cli.parameters import parameters_of

__all__ = ["command"]


@click.command(
    context_settings=NEGATIVE_NUMBERS,
    epilog=examples(
        "postage send echo-exchange echo-rk echo hello",
        "postage send shop.orders:OrderExchange orders close order=17",
        "postage send generic-application-exchange monitor join_group group_name=blue",
        "postage send generic-application-exchange 4711@myhost quit",
    ),
)
@addressed
def command(  # noqa: PLR0913 - click gives each argument by its name
    *,
    exchange: str,
    exchange_type: str | None,
    transient: bool,
    key: str,
    name: str,
    words: tuple[str, ...],
) -> None:
    """Send the command NAME by the routing key KEY of an exchange.

    EXCHANGE is the name of an exchange that exists, or MODULE:Class.  A value is JSON where it can
    be, else text.  One value is the parameters as they are, several are a list, KEY=VALUE make an
    object.  It ends when the broker has the message; where no queue is bound to KEY, it is dropped.
    """
    parameters = parameters_of(words)
    remote = remote_at(exchange_of(exchange, exchange_type, durable=not transient), key)
    remote.message_command(name, parameters)
