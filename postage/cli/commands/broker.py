"""``postage broker``: the embedded broker as a program of its own, in the foreground."""

from __future__ import annotations

from typing import Any

import click

from postage.cli.serving import DESCRIPTION, OPTIONS, Option, serve

__all__ = ["command"]


def command_with(options: tuple[Option, ...]) -> click.Command:
    """Return the command; its options stand in `serving`, which does without click."""
    params: list[click.Parameter] = [
        click.Option([option.flag], **option.for_click()) for option in options
    ]
    # What classic `--vhost V W` leaves over.
    params.append(click.Argument(["more"], nargs=-1, metavar="[VHOST]..."))
    return click.Command("broker", params=params, callback=_run, help=DESCRIPTION)


def _run(json: bool, more: tuple[str, ...], **options: Any) -> None:  # noqa: FBT001 - click's call
    vhosts = (*options.pop("vhost"), *more)
    serve(**options, vhost=vhosts, as_json=json)


command = command_with(OPTIONS)
