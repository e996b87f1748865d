"""``postage tail``: what passes at an exchange."""

from __future__ import annotations

from typing import Any

import click

from postage.cli.arguments import exchange_options
from postage.cli.exchanges import exchange_of
from postage.cli.options import examples

__all__ = ["command"]


@click.command(
    epilog=examples(
        "postage tail events                    all that passes at a fanout or topic exchange",
        "postage tail events 'orders.#'",
        "postage tail echo-exchange echo-rk     a direct exchange needs the key",
        "postage tail events --count 1 | jq .body",
    )
)
@exchange_options
@click.argument("key", required=False)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
def command(
    *,
    exchange: str,
    exchange_type: str | None,
    transient: bool,
    key: str | None,
    count: int | None,
) -> None:
    """Print the messages that pass at an exchange by KEY, each as a line of JSON.

    EXCHANGE is the name of an exchange that exists, or MODULE:Class.  A private queue is bound to
    it, so nobody else gets less; it holds the last 10,000 messages where printing does not keep up.
    It ends at Ctrl-C, or when nobody reads its output any more.
    """
    options: dict[str, Any] = {"durable": not transient}
    where = exchange_of(exchange, exchange_type, **options)
    from postage.cli.listening import listen  # noqa: PLC0415 - `--help` does not wait for gevent

    listen(where, key, count)
