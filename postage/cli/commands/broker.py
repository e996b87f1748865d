"""``postage broker``: the embedded broker as a program of its own, in the foreground."""

from __future__ import annotations

from typing import Any

import click

from postage.cli.running.broker_program import DESCRIPTION, HELP, HOST, LIKE, PORT, serve


@click.command("broker", help=DESCRIPTION)
@click.option("--host", default=HOST, show_default=True, metavar="ADDRESS", help=HELP["host"])
@click.option("--port", default=PORT, show_default=True, metavar="N", help=HELP["port"])
@click.option("--user", multiple=True, metavar="NAME:PASSWORD", help=HELP["user"])
@click.option("--user-file", metavar="FILE", help=HELP["user-file"])
@click.option("--vhost", multiple=True, metavar="NAME", help=HELP["vhost"])
@click.option("--like", default=LIKE, show_default=True, metavar="VERSION", help=HELP["like"])
@click.option("--permit-transient-queues", is_flag=True, help=HELP["permit-transient-queues"])
@click.option("--json", "as_json", is_flag=True, help=HELP["json"])
# The classic form is `--vhost V W`: click gives V to the option and leaves W over.
@click.argument("more", nargs=-1, metavar="[VHOST]...")
def command(*, vhost: tuple[str, ...], more: tuple[str, ...], **options: Any) -> None:
    """Run the broker until a signal ends it."""
    serve(vhost=(*vhost, *more), **options)
