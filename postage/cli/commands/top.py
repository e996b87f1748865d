"""``postage top``: the processors, services and applications that answer, live."""

from __future__ import annotations

import importlib.util

import click

from postage.cli.exits import ExtraMissing
from postage.cli.fleet.descriptions import COLUMNS
from postage.cli.fleet.ordering import BUSIEST, Order
from postage.cli.fleet.terminal import need_terminal
from postage.cli.options import examples, no_color_option, seconds_option, url_option
from postage.cli.output import may_colour
from postage.fingerprint import Fingerprint


@click.command(
    epilog=examples(
        "postage top                    all on this machine",
        "postage top monitor            all with this name, anywhere",
        "postage top 'monitor#blue' --interval 0.5",
        "postage top '*' --sort failed",
    )
)
@click.argument("name", required=False)
@url_option
@seconds_option("--interval", 2.0, "The time between refreshes.")
@click.option(
    "--sort",
    type=click.Choice([each.lower() for each in COLUMNS], case_sensitive=False),
    metavar="COLUMN",
    default=BUSIEST.lower(),
    show_default=True,
    help="The column to sort by: the highest number first, or texts from A to Z.",
)
@no_color_option
def command(name: str | None, *, interval: float, sort: str, no_color: bool) -> None:
    """Show the processors, services and applications that answer, live, the busiest first.

    The table is that of `postage ps`; MSG/S is the number of messages per second that each handled
    since the last refresh.  NAME says which: a name, @host, name@host, pid@host, name#group, or '*'
    for everything.  Continues when the broker is restarted.  The key ? shows all
    keys; q or Ctrl-C ends it.
    """
    if importlib.util.find_spec("rich") is None:
        raise ExtraMissing("`postage top`", "rich", "top")
    need_terminal("`postage top`", "`postage ps` prints the same table once")
    from postage.cli.fleet.screen import show  # noqa: PLC0415 - `--help` needs no gevent and rich

    coloured = may_colour(refused=no_color)
    show(name or f"@{Fingerprint().host}", interval, Order(sort.upper()), coloured=coloured)
