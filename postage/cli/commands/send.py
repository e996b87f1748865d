"""``postage send``: a command to components, without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, message_arguments
from postage.cli.options import examples

if TYPE_CHECKING:
    from postage.cli.remote import Remote


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
def command(*, remote: Remote, name: str, parameters: Any) -> None:
    """Send the command NAME by the routing key KEY of an exchange.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  Each value is read as JSON if it
    is JSON, otherwise as text.  One value is sent as it is, several as a list, KEY=VALUE pairs as
    an object.  Returns when the broker has the message.  If no queue is bound to KEY, the broker
    drops the message.
    """
    remote.message_command(name, parameters)
