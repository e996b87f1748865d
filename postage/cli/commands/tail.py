"""``postage tail``: the messages that pass an exchange."""

from __future__ import annotations

import click

from postage.cli.arguments import exchange_arguments
from postage.cli.options import examples
from postage.exchange import Exchange


@click.command(
    epilog=examples(
        "postage tail events                    all messages of a fanout or topic exchange",
        "postage tail events 'orders.#'",
        "postage tail echo-exchange echo-rk     a direct exchange needs the key",
        "postage tail events --count 1 | jq .body",
    )
)
@exchange_arguments
@click.argument("key", required=False)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
def command(*, exchange: type[Exchange], key: str | None, count: int | None) -> None:
    """Print the messages that pass an exchange by KEY, each as a line of JSON.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  The messages come through a
    private queue, so no other consumer misses any; if printing is slower than the messages, the
    queue keeps the last 10,000.  Ends at Ctrl-C, or when nobody reads its output any longer.
    """
    from postage.cli.listening import listen  # noqa: PLC0415 - `--help` does not wait for gevent

    listen(exchange, key, count)
