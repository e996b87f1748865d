"""``postage dlq show``: one message that failed."""

from __future__ import annotations

import click

from postage.cli.options import examples, json_option
from postage.cli.output import print_json, print_text
from postage.cli.parked.pages import page, parked_arguments


@click.command(
    epilog=examples(
        "postage dlq show orders 81d0", "postage dlq show orders 1 --json | jq .dossier"
    )
)
@parked_arguments
@click.argument("id")
@json_option
def command(*, queue: str, id: str, anyway: bool, as_json: bool) -> None:  # noqa: A002 - what it is
    """Show one message of QUEUE: why it failed, its properties, its body.

    ID is the id of a message, the beginning of one, or the number of its place in the queue.
    """
    from postage.parking import find  # noqa: PLC0415 - `--help` does not wait for gevent

    found = find(queue, id, anyway=anyway)
    if as_json:
        print_json(found.as_dict())
    else:
        print_text("\n".join(page(found)))
