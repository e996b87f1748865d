"""``postage send``: a command to components, without an answer."""

from __future__ import annotations

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, exchange_of, message_arguments, parameters_of
from postage.cli.options import examples


@click.command(
    context_settings=NEGATIVE_NUMBERS,
    epilog=examples(
        "postage send echo-exchange echo-rk echo hello",
        "postage send shop.orders:OrderExchange orders close order=17",
        "postage send generic-application-exchange monitor join_group group_name=blue",
        "postage send generic-application-exchange 4711@myhost quit",
    ),
)
@message_arguments
def command(  # noqa: PLR0913 - click passes each argument by its name
    *,
    exchange: str,
    exchange_type: str | None,
    transient: bool,
    key: str,
    name: str,
    words: tuple[str, ...],
) -> None:
    """Send the command NAME by the routing key KEY of an exchange.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  Each value is read as JSON if it
    is JSON, otherwise as text.  One value is sent as it is, several as a list, KEY=VALUE pairs as
    an object.  Returns when the broker has the message.  If no queue is bound to KEY, the broker
    drops the message.
    """
    parameters = parameters_of(words)
    where = exchange_of(exchange, exchange_type, durable=not transient)
    from postage.cli.remote import remote_at  # noqa: PLC0415 - `--help` does not wait for gevent

    remote_at(where, key).message_command(name, parameters)
