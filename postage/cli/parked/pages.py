"""What the commands of ``postage dlq`` print, and the arguments that they share."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import url_option
from postage.cli.output import sanitized, table
from postage.foreign_text import one_line

if TYPE_CHECKING:
    from postage.parking import FailedMessage, Group

CELL = 60
"""Characters of a cell in a table."""
BODY = 4000
"""Characters of a body that are shown."""
NOTHING = ("", None, "None")
"""What says nothing.  The last is the name of a component that has none, as 1.2.1 writes it."""

anyway_option = click.option(
    "--anyway",
    is_flag=True,
    help="Look even where each look counts as a delivery: a quorum queue with a delivery limit, "
    "before RabbitMQ 4.3.",
)


def parked_arguments(func: Callable[..., Any]) -> Callable[..., Any]:
    """Add QUEUE, ``--url`` and ``--anyway``; pass the name of the queue that exists as *queue*."""

    @url_option
    @click.argument("queue")
    @anyway_option
    @functools.wraps(func)
    def command(*, queue: str, **others: Any) -> object:
        return func(queue=existing(queue), **others)

    return command


def existing(queue: str) -> str:
    """Return the parking queue of *queue* if it exists, else *queue* itself; switches.

    Raises `CommandFailed` if neither exists, and what connecting raises.
    """
    from postage.cli.remote import check_reachable  # noqa: PLC0415 - `--help` does not wait for gevent
    from postage.errors import ChannelRefused  # noqa: PLC0415 - as above
    from postage.parking import existing_queue  # noqa: PLC0415 - as above

    check_reachable()
    try:
        return existing_queue(queue)
    except ChannelRefused as exc:
        if not exc.misses(queue):
            raise
        text = f"there is no queue {queue!r}, and no parking queue of it: has anything failed?"
        raise CommandFailed(text, Code.TOPOLOGY) from None


def moment(seconds: float | None) -> str:
    """Return the local time that is *seconds* after 1970, ``?`` if there is no such time.

    A peer may have written *seconds*.
    """
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")  # noqa: DTZ006 - local
    except (ValueError, OverflowError, OSError):
        return "?"


def cut(text: object) -> str:
    """Return *text* on one line that fits into a cell."""
    return one_line(text, CELL)


def group_rows(found: Iterable[Group]) -> list[str]:
    """Return the lines of a table of groups."""
    head = ["GROUP", "COUNT", "OLDEST", "NEWEST", "EXCEPTION", "PLACE", "HANDLER", "FIRST"]
    cells = [
        [
            *(each.id, each.count, moment(each.oldest), moment(each.newest)),
            *(cut(each.exception), cut(each.place), cut(each.handler), each.first),
        ]
        for each in found
    ]
    return table(head, cells)


def message_rows(found: Iterable[FailedMessage]) -> list[str]:
    """Return the lines of a table of messages."""
    head = ["#", "ID", "GROUP", "PARKED", "TRIES", "NAME", "WHY", "EXCEPTION"]
    return table(head, [_row(each) for each in found])


def _row(each: FailedMessage) -> list[object]:
    about = each.dossier
    exception = f"{about.exception}: {about.text}" if about.text else about.exception
    when, tries = moment(about.parked), about.attempts or ""
    return [
        *(each.number, each.id, each.group, when, tries),
        *(cut(each.name), cut(about.why), cut(exception)),
    ]


def page(message: FailedMessage) -> Iterator[str]:
    """Yield the lines that show all of one message."""
    told = message.as_dict()
    about = told.pop("dossier")
    properties = told["properties"]
    headers = properties.pop("headers", {})
    lines = {
        **{key: told[key] for key in ("id", "number", "group", "queue", "name", "damaged")},
        "published to": told["exchange"] or "(default)",
        "by key": told["routing_key"],
        **{key: value for key, value in about.items() if key != "traceback"},
        "first_failed": moment(about["first_failed"]),
        "parked": moment(about["parked"]),
        **properties,
    }
    named = {key.replace("_", " "): value for key, value in lines.items() if value not in NOTHING}
    width = max(map(len, named))
    yield from (f"{key:{width}}  {sanitized(value)}" for key, value in named.items())
    own = {key: value for key, value in headers.items() if not key.startswith("x-postage-")}
    yield from (f"header {sanitized(key)}: {sanitized(value)}" for key, value in own.items())
    if about["traceback"]:
        yield ""
        yield from (sanitized_code(line) for line in about["traceback"].split("\n"))
    yield ""
    yield from _body(message, told)


def _body(message: FailedMessage, told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that show the body: JSON as such, else the text or base64 on one line."""
    size = f"{len(message.body)} bytes"
    if "body" in told:
        yield f"{size}:"
        text = json.dumps(told["body"], indent=2, ensure_ascii=False)
        yield from (sanitized_code(line) for line in text[:BODY].split("\n"))
        if len(text) > BODY:
            yield "..."
        return
    kind = "text" if "text" in told else "base64"
    yield f"{size}, {kind}: {one_line(told[kind], BODY)}"


def sanitized_code(line: str) -> str:
    """Return a *line* of a traceback with its indentation."""
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + sanitized(text)
