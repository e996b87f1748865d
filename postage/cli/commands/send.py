"""``postage send``: a command to components, without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, message_arguments
from postage.cli.exits import Code, CommandFailed, print_error
from postage.cli.options import examples
from postage.errors import NoRoute

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
@click.option("--mandatory", is_flag=True, help="End with code 4 if no queue is bound to KEY.")
def command(*, remote: Remote, name: str, parameters: Any, mandatory: bool) -> None:
    """Send the command NAME by the routing key KEY of an exchange.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  Each value is read as JSON if it
    is JSON, otherwise as text.  One value is sent as it is, several as a list, KEY=VALUE pairs as
    an object.  Returns when the broker has the message.  If no queue is bound to KEY, the broker
    drops the message, and a warning says so.
    """
    remote.mandatory = True
    try:
        remote.message_command(name, parameters)
    except NoRoute as exc:
        text = f"no queue is bound to exchange {exc.exchange!r} for key {exc.key!r}"
        if mandatory:
            raise CommandFailed(f"{text}: the message is lost", Code.ERROR_RESULT) from None
        print_error(f"Warning: {text}: the broker has dropped the message")
