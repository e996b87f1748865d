"""``postage dlq replay``: messages that failed, back to the queue in which they failed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from postage.cli.exits import Code, CommandFailed, code_of, print_error
from postage.cli.options import examples, json_option
from postage.cli.output import print_json, print_text, sanitized
from postage.cli.parked.pages import parked_arguments
from postage.errors import NoRoute, ReplayStopped
from postage.signals import stopping_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postage.parking import Replayed
    from postage.parking.replaying import Chosen


@click.command(
    epilog=examples(
        "postage dlq replay orders 81d0c3a2 27be90",
        "postage dlq replay orders --group 3f2a1c --rate 50",
        "postage dlq replay orders --all --dry-run",
        "postage dlq replay shared.dead --all --to orders",
    )
)
@parked_arguments
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--group", metavar="GROUP", help="Replay the messages of this group.")
@click.option("--all", "everything", is_flag=True, help="Replay all messages.")
@click.option("--to", metavar="QUEUE", help="Another queue for all of them.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="At most N messages in a second.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N messages in all.")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be done.")
@json_option
def command(
    *,
    queue: str,
    ids: tuple[str, ...],
    group: str | None,
    everything: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Send messages of QUEUE back to the queues in which they failed.

    ID is the id of a message, or at least six digits of its beginning.  Each message goes to the
    queue in which it failed, and to no other.  It is removed from QUEUE when the broker has
    confirmed the copy.  So no message is lost, and if the command is killed, at most one message is
    in both queues.  Messages that are added meanwhile are not replayed.  Exit code if messages
    stay, by the first of them: 5, its target queue is gone; 3, that queue is full; 2, the queue in
    which it failed is not known, or its properties cannot be copied.
    """
    if sum((bool(ids), group is not None, everything)) != 1:
        raise CommandFailed("say which messages: their IDs, or --group GROUP, or --all")
    chosen: Chosen = None if everything else list(ids)
    if group is not None:
        chosen = lambda message: message.group == group  # noqa: E731 - as short as it can be
    done = carried_out(queue, chosen, options)
    if as_json:
        print_json(as_dict(done))
    else:
        would = "would be " if options["dry_run"] else ""
        for target, count in done.targets.items():
            print_text(f"{count} {would}replayed to {sanitized(target)}")
        print_text(f"{done.count} {would}replayed, {done.left} left in {sanitized(queue)}")
    if done.refused:
        raise CommandFailed(refusals(done), _code(done))
    if not done.count and group is not None:
        raise CommandFailed(f"no message of {queue!r} has the group {group!r}")


def carried_out(queue: str, chosen: Chosen, options: dict[str, Any]) -> Replayed:
    """Replay with a progress bar, until a signal asks to stop; return what was done.  Switches.

    Raises `CommandFailed` if the replay ends early, ``click.Abort`` after a signal, and what
    `postage.parking.replay` raises before it begins.
    """
    from postage.parking import replay  # noqa: PLC0415 - `--help` does not wait for gevent

    try:
        with progress_bar(queue) as progress:
            return replay(queue, chosen, progress=progress, **options)
    except ReplayStopped as exc:
        raise CommandFailed(str(exc), code_of(exc.__cause__)) from None


@contextmanager
def progress_bar(queue: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if stderr is a terminal; yield the function that moves it.

    After a signal, the function raises ``click.Abort``, which ends the replay.
    """
    import gevent  # noqa: PLC0415 - `--help` does not wait for gevent

    signals: list[int] = []
    handlers = [gevent.signal_handler(each, signals.append, each) for each in stopping_signals()]
    bar: Any = nullcontext()
    if sys.stderr is not None and sys.stderr.isatty():
        bar = click.progressbar(length=1, label=sanitized(queue), file=sys.stderr, show_pos=True)
    done = 0

    try:
        with bar as shown:

            def progress(taken: int, size: int) -> None:
                nonlocal done
                done = taken
                if shown is not None:
                    shown.length = size
                    shown.update(1)
                if signals:
                    raise click.Abort  # noqa: TRY301 - it passes through the replay

            yield progress
    except click.Abort:
        print_error(f"Stopped after {done} message{'s' * (done != 1)}; the others are still there.")
        raise
    finally:
        for each in handlers:
            each.cancel()


def as_dict(done: Replayed) -> dict[str, Any]:
    """Return what was done as plain data."""
    return {
        "count": done.count,
        "left": done.left,
        "targets": done.targets,
        "refused": done.refused,
        "refusals": {id_: str(error) for id_, error in done.refusals.items()},
    }


def refusals(done: Replayed) -> str:
    """Return why messages stay, each reason once."""
    reasons = Counter(_reason(error) for error in done.refusals.values())
    told = "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
    if done.refused == 1:
        return f"1 message stays where it is: {told}"
    return f"{done.refused} messages stay where they are: {told}"


def _reason(error: Exception) -> str:
    if isinstance(error, NoRoute):
        return f"there is no queue {sanitized(error.key)!r}"
    return sanitized(error)


def _code(done: Replayed) -> Code:
    """Return the exit code of the first refusal."""
    error = next(iter(done.refusals.values()))
    return Code.TOPOLOGY if isinstance(error, NoRoute) else code_of(error)
