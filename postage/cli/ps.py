"""``postage ps``: who is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from postage.cli.options import Seconds, examples, json_option, url_option
from postage.cli.output import say, say_json, table
from postage.fingerprint import Fingerprint

__all__ = ["command", "row"]

HEAD = ("NAME", "KEY", "GROUPS", "UPTIME", "HANDLED", "FAILED", "CLASS")


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

    NAME is any key that reaches all of them: a name, @host, name@host, pid@host, name#group.
    """
    from postage.cli.fleet import everybody  # noqa: PLC0415 - `--help` does not wait for gevent

    found = everybody(name or f"@{Fingerprint().host}", wait)
    if as_json:
        say_json(found)
    elif not found:
        click.echo("Nobody has answered.", err=True)
    else:
        say("\n".join(table(HEAD, [row(each) for each in found])))


def row(described: dict[str, Any]) -> tuple[object, ...]:
    """Return the row of an application; ``-`` stands for what it does not say."""
    fingerprint = described["fingerprint"]
    counts, uptime = described.get("counts", {}), described.get("uptime")
    is_old = "counts" not in described
    return (
        fingerprint["name"],
        described.get("key") or "{pid}@{host}".format_map({"pid": "?", "host": "?"} | fingerprint),
        ",".join(map(str, described.get("groups", ()))) or "-",
        "-" if uptime is None else timedelta(seconds=int(uptime)),
        *("-" if is_old else counts.get(key, 0) for key in ("handled", "failed")),
        described.get("class", "-"),
    )
