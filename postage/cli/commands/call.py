"""``postage call``: an RPC from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, message_arguments
from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, seconds_option
from postage.cli.output import error_text, print_json

if TYPE_CHECKING:
    from postage.cli.remote import Remote


@click.command(
    context_settings=NEGATIVE_NUMBERS,
    epilog=examples(
        "postage call echo-exchange echo-rk echo hello",
        "postage call shop.orders:OrderExchange orders total customer=7 since=null",
        "postage call calc calc-rk sum 1 2 3",
        "postage call calc calc-rk sum '[1, 2, 3]'",
        "postage call generic-application-exchange monitor/rr ping",
    ),
)
@message_arguments
@seconds_option("--timeout", 10.0, "How long each try waits.")
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often to send the request again after a timeout.",
)
def command(*, remote: Remote, name: str, parameters: Any, timeout: float, retries: int) -> None:
    """Call NAME by the routing key KEY of an exchange, and print the answer as JSON.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  Each value is read as JSON if it
    is JSON, otherwise as text.  One value is sent as it is, several as a list, KEY=VALUE pairs as
    an object.  Exit code 4: the answer is an error or an exception, or no answer came in time.
    """
    result = remote.rpc_command(name, parameters, _timeout=timeout, _max_retry=retries)
    if not result:
        raise CommandFailed(error_text(result), Code.ERROR_RESULT)
    print_json(result.value)
