"""``postage tail``: the messages that pass an exchange."""

from __future__ import annotations

import click

from postage.cli.arguments import exchange_arguments
from postage.cli.options import examples, json_option, no_color_option
from postage.cli.output import is_terminal, may_colour
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
@json_option
@no_color_option
def command(
    *,
    exchange: type[Exchange],
    key: str | None,
    count: int | None,
    as_json: bool,
    no_color: bool,
) -> None:
    """Print the messages that pass an exchange by KEY, each on a line.

    On a terminal the line has the time, exchange and key, type and name, sender and content, and is
    cut to the width.  Otherwise, and with --json, it is JSON and has all.

    EXCHANGE is the name of an existing exchange, or MODULE:Class.  The messages come through a
    private queue, so no other consumer misses any; if printing is slower than the messages, the
    queue keeps the last 10,000.  Ends at Ctrl-C, or when nobody reads its output any longer.
    """
    from postage.cli.tailing.listening import (  # noqa: PLC0415 - `--help` does not wait for gevent
        listen,
        print_as_json,
        printer_for_readers,
    )

    is_for_readers = is_terminal() and not as_json
    coloured = may_colour(refused=no_color)
    show = printer_for_readers(coloured=coloured) if is_for_readers else print_as_json
    listen(exchange, key, count, show)
