"""``postage dlq`` (dead letter queue): messages that failed."""

from __future__ import annotations

import click

from postage.cli.app import CommandGroup
from postage.cli.options import examples
from postage.cli.parked import PARKED_COMMANDS, RENAMED


class Bench(CommandGroup):
    """The group of the commands for dead letters."""

    members = PARKED_COMMANDS
    package = "postage.cli.parked"
    renamed = RENAMED


@click.command(
    cls=Bench,
    epilog=examples(
        "postage dlq ls orders                     the groups in orders.parked",
        "postage dlq ls orders --group 3f2a1c      the messages of one group",
        "postage dlq show orders 81d0              one message, its traceback, its body",
        "postage dlq run orders 81d0 shop.orders --pdb     run its handler here, in a debugger",
        "postage dlq export orders 81d0 shop.orders        a test that fails as the message did",
        "postage dlq replay orders --group 3f2a1c  back to the queue in which they failed",
    ),
)
def command() -> None:
    """Look at messages that failed, and do them again.

    QUEUE is any queue of dead letters, or a queue whose messages fail: then its parking queue
    QUEUE.parked is taken, if that exists.
    """
