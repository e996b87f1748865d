"""``postage dlq diff``: in what two messages that failed differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from postage.cli.options import examples, no_color_option
from postage.cli.output import may_colour, print_text
from postage.cli.parked.differences import differences
from postage.cli.parked.pages import parked_arguments

COLOURS = {"---": "bold", "+++": "bold", "@@ ": "cyan", "-": "red", "+": "green"}


@click.command(epilog=examples("postage dlq diff orders 81d0 9c2e", "postage dlq diff orders 1 2"))
@parked_arguments
@click.argument("one")
@click.argument("other")
@no_color_option
def command(*, queue: str, one: str, other: str, anyway: bool, no_color: bool) -> None:
    """Show the differences of two messages of QUEUE: bodies, properties, headers and dossiers.

    ONE and OTHER are ids, beginnings of ids, or numbers of places in the queue.  Bodies in JSON are
    compared by their values, whatever the order of keys.
    """
    from postage.parking import find  # noqa: PLC0415 - `--help` does not wait for gevent

    found = [find(queue, each, anyway=anyway) for each in (one, other)]
    lines: Iterable[str] = differences(*found)
    if may_colour(refused=no_color):
        lines = coloured(lines)
    print_text("\n".join(lines))


def coloured(lines: Iterable[str]) -> Iterator[str]:
    """Yield *lines* of a diff, each in the colour for its first characters: see `COLOURS`."""
    for line in lines:
        colour = next((COLOURS[each] for each in COLOURS if line.startswith(each)), "")
        if colour == "bold":
            yield click.style(line, bold=True)
        else:
            yield click.style(line, fg=colour) if colour else line
