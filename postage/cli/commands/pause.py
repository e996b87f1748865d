"""``postage pause``: applications that take no messages for a while."""

from __future__ import annotations

import click

from postage.cli.options import examples, json_option, seconds_option, url_option


@click.command(
    epilog=examples(
        "postage pause mail             all with this name, anywhere",
        "postage pause 4711@myhost      those of one process",
    )
)
@click.argument("target")
@url_option
@json_option
@seconds_option("--wait", 1.0, "How long to collect answers.")
def command(target: str, *, as_json: bool, wait: float) -> None:
    """Let the generic applications behind TARGET take no messages, until they are told to resume.

    TARGET is any key that reaches all of them: a name, @host, name@host, pid@host, name#group.
    Running handlers end, and what has not begun goes back to its queue.  Their own queues, by which
    commands come, are still consumed.  Prints which applications have answered; ends with code 4 if
    none has, or if one did not pause, because its remote_control forbids it.
    """
    from postage.cli.fleet.commanding import PauseCommand, tell_all  # noqa: PLC0415 - `--help` does not wait for gevent

    tell_all(target, PauseCommand.PAUSE, wait, as_json=as_json)
