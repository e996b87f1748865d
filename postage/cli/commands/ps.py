"""``postage ps``: who is there."""

from __future__ import annotations

from datetime import timedelta

import click

from postage.cli.fleet.descriptions import Description, figure, handled
from postage.cli.options import Seconds, examples, json_option, url_option
from postage.cli.output import say, say_json, table
from postage.fingerprint import Fingerprint

__all__ = ["HEAD", "command", "row"]

HEAD = ("NAME", "KEY", "MSG/S", "HANDLED", "FAILED", "UPTIME", "GROUPS", "CLASS")
"""What a narrow terminal cuts off stands last."""


@click.command(
    epilog=examples(
        "postage ps                    all on this machine",
        "postage ps @otherhost         all on another one",
        "postage ps monitor            all that are called so, anywhere",
        "postage ps 'monitor#blue'     the members of a group",
        "postage ps --json | jq '.[].fingerprint.pid'",
    )
)
@click.argument("name", required=False)
@url_option
@json_option
@click.option("--wait", type=Seconds(), default=1.0, show_default=True, help="For answers.")
def command(name: str | None, *, as_json: bool, wait: float) -> None:
    """List the generic applications that answer within a second.

    NAME is any key that reaches all of them: a name, @host, name@host, pid@host, name#group.  MSG/S
    is how many messages a second each has handled in the last half of that time.
    """
    from postage.cli.fleet.query import everybody  # noqa: PLC0415 - `--help` does not wait for gevent

    found = everybody(name or f"@{Fingerprint().host}", wait)
    if as_json:
        say_json(found)
    elif not found:
        click.echo("Nobody has answered.", err=True)
    else:
        say("\n".join(table(HEAD, [row(each) for each in found])))


def row(described: Description) -> tuple[object, ...]:
    """Return the row of an application; ``-`` stands for what it does not say."""
    fingerprint, groups = described["fingerprint"], described.get("groups")
    uptime, failed = figure(described, "uptime"), figure(described, "statistics", "failed")
    rate = figure(described, "rate")
    cells = (
        fingerprint["name"],
        described.get("key") or "{pid}@{host}".format_map({"pid": "?", "host": "?"} | fingerprint),
        None if rate is None else f"{rate:.1f}",
        handled(described),
        failed,
        None if uptime is None else timedelta(seconds=int(uptime)),
        ",".join(map(str, groups)) if isinstance(groups, list) and groups else None,
        described.get("class"),
    )
    return tuple("-" if cell is None else cell for cell in cells)
