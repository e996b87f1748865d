"""``postage resume``: paused applications that go on."""

from __future__ import annotations

import click

from postage.cli.options import examples, json_option, seconds_option, url_option


@click.command(
    epilog=examples(
        "postage resume mail             all with this name, anywhere",
        "postage resume 4711@myhost      those of one process",
    )
)
@click.argument("target")
@url_option
@json_option
@seconds_option("--wait", 1.0, "How long to collect answers.")
def command(target: str, *, as_json: bool, wait: float) -> None:
    """Let the generic applications behind TARGET take messages again, after a pause.

    TARGET is any key that reaches all of them, as for `postage pause`.  Prints which
    applications have answered; ends with code 4 if none has, or if one is still paused.
    """
    from postage.cli.fleet.commanding import PauseCommand, tell_all  # noqa: PLC0415 - `--help` does not wait for gevent

    tell_all(target, PauseCommand.RESUME, wait, as_json=as_json)
