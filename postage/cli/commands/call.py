"""``postage call``: an RPC from the command line."""

from __future__ import annotations

from typing import Any

import click

from postage.cli.arguments import NEGATIVE_NUMBERS, addressed, remote_at
from postage.cli.exchanges import exchange_of
from postage.cli.exits import Code, CommandFailed
from postage.cli.options import Seconds, examples
from postage.cli.output import say_json, shown
from postage.cli.parameters import parameters_of

__all__ = ["command"]


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
@addressed
@click.option("--timeout", type=Seconds(), default=10.0, show_default=True, help="At each try.")
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often to send it again when it timed out.",
)
def command(  # noqa: PLR0913 - click gives each argument by its name
    *,
    exchange: str,
    exchange_type: str | None,
    transient: bool,
    key: str,
    name: str,
    words: tuple[str, ...],
    timeout: float,
    retries: int,
) -> None:
    """Call NAME by the routing key KEY of an exchange, and print the answer as JSON.

    EXCHANGE is the name of an exchange that exists, or MODULE:Class.  A value is JSON where it can
    be, else text.  One value is the parameters as they are, several are a list, KEY=VALUE make an
    object.  Exit code 4: the answer is an error or an exception, or none came in time.
    """
    parameters = parameters_of(words)
    remote = remote_at(exchange_of(exchange, exchange_type, durable=not transient), key)
    result = remote.rpc_command(name, parameters, _timeout=timeout, _max_retry=retries)
    content = result.body["content"]
    if not result:
        raise CommandFailed(failure(content), Code.ERROR_RESULT)
    say_json(content["value"])


def failure(content: dict[str, Any]) -> str:
    """Return what the *content* of an error or exception result says."""
    parts = [content["value"], content["message"]] if content["value"] else [content["message"]]
    return ": ".join(map(shown, parts))
