"""``postage dlq ls``: the messages in queues of dead letters, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from postage.cli.exits import CommandFailed
from postage.cli.options import examples, json_option, url_option
from postage.cli.output import print_json, print_text
from postage.cli.parked.pages import anyway_option, existing, group_rows, message_rows
from postage.cli.running.targets import Target
from postage.foreign_text import one_line

if TYPE_CHECKING:
    from postage.parking import Look


@click.command(
    epilog=examples(
        "postage dlq ls orders",
        "postage dlq ls orders --messages --limit 20",
        "postage dlq ls orders --group 3f2a1c",
        "postage dlq ls --of shop.orders        the parking queues of a module's processors",
        "postage dlq ls orders --json | jq '.[0].groups'",
    )
)
@url_option
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--of",
    "targets",
    multiple=True,
    metavar="MODULE[:NAME]",
    help="The parking queues of these processors, which are imported, and not run.",
)
@click.option("--messages", "-m", is_flag=True, help="List the messages, not the groups.")
@click.option("--group", metavar="GROUP", help="List the messages of this group.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many messages of each queue to read.",
)
@anyway_option
@json_option
def command(  # noqa: PLR0913 - its options
    *,
    queues: tuple[str, ...],
    targets: tuple[str, ...],
    messages: bool,
    group: str | None,
    limit: int,
    anyway: bool,
    as_json: bool,
) -> None:
    """List the messages in queues of dead letters, in groups.

    QUEUE is any queue of dead letters, or a queue whose messages fail: it stands for its parking
    queue QUEUE.parked, if that exists.  The messages of a group have the same exception, place and
    handler; if a broker has dead-lettered them, the same reason and queue.  AMQP cannot list
    queues, so name the queues, or the modules of their processors.  Nothing is changed.
    """
    names = [existing(each) for each in queues]
    if targets:
        from postage.cli.parked.queues_of import parking_queues_of  # noqa: PLC0415 - imports the user's code

        names += parking_queues_of([Target.parse(each) for each in targets])
    if not (queues or targets):
        raise CommandFailed("name a queue, or --of MODULE: AMQP cannot list the queues of a broker")
    from postage.parking import look  # noqa: PLC0415 - `--help` does not wait for gevent

    found = {name: look(name, limit=limit, anyway=anyway) for name in dict.fromkeys(names)}
    if as_json:
        print_json([as_dict(name, each, group) for name, each in found.items()])
        return
    listed = messages or group is not None
    for name, each in found.items():
        print_text("\n".join(lines(name, each, group, listed=listed)))


def as_dict(name: str, found: Look, group: str | None) -> dict[str, Any]:
    """Return what was found in the queue *name* as plain data, without the bodies."""
    from dataclasses import asdict  # noqa: PLC0415 - rarely used

    from postage.parking import groups  # noqa: PLC0415 - as above

    chosen = [each for each in found if group is None or each.group == group]
    return {
        "queue": name,
        "messages": [each.as_dict(with_body=False) for each in chosen],
        "groups": [asdict(each) for each in groups(chosen)],
        "more": found.more,
        "consumers": found.consumers,
    }


def lines(name: str, found: Look, group: str | None, *, listed: bool) -> Iterator[str]:
    """Yield what is printed of one queue."""
    from postage.parking import groups  # noqa: PLC0415 - as above

    total = len(found) + found.more
    unread = f", of which {len(found)} were read" if found.more else ""
    yield f"{one_line(name)}: {total} message{'s' * (total != 1)}{unread}"
    if found.consumers:
        who = "a consumer takes" if found.consumers == 1 else f"{found.consumers} consumers take"
        yield f"  {who} messages from it; what is held is not shown"
    chosen = [each for each in found if group is None or each.group == group]
    if chosen:
        yield from message_rows(chosen) if listed else group_rows(groups(chosen))
    elif group is not None:
        yield f"  none of the group {one_line(group)!r}"
