"""``postage explain``: what an error or a line of the log means, and what to do."""

from __future__ import annotations

import click

from postage.cli.checking.explaining.sections import find, sections
from postage.cli.exits import CommandFailed
from postage.cli.options import examples
from postage.cli.output import print_text

MOST = 2
"""How many sections are printed in full: the error and the record of one line of a log."""


@click.command(
    epilog=examples(
        "postage explain TopologyMismatch",
        "postage explain 'Queue orders is not available; trying again'",
        "postage explain                           lists what can be explained",
    )
)
@click.argument("text", nargs=-1)
def command(text: tuple[str, ...]) -> None:
    """Explain an error, a line of the log or a symptom, and say what to do.

    TEXT is the name of an error, a line as it was logged, or some words of either.  If more than
    two sections are found, their titles are listed.
    """
    found = find(" ".join(text)) if text else sections()
    if not found:
        raise CommandFailed("nothing explains that; `postage explain` lists all titles")
    if text and len(found) <= MOST:
        print_text("\n\n".join(each.plain for each in found))
    else:
        print_text("\n".join(each.title for each in found))
