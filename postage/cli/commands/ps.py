"""``postage ps``: the processors, services and applications that answer."""

from __future__ import annotations

import click

from postage.cli.exits import print_error
from postage.cli.fleet.descriptions import COLUMNS, row
from postage.cli.options import examples, json_option, seconds_option, url_option
from postage.cli.output import print_json, print_text, table
from postage.fingerprint import Fingerprint


@click.command(
    epilog=examples(
        "postage ps                    all on this machine",
        "postage ps @otherhost         all on another one",
        "postage ps '*'                all, anywhere",
        "postage ps monitor            all with this name, anywhere",
        "postage ps 'monitor#blue'     the members of a group",
        "postage ps --json | jq '.[].fingerprint.pid'",
    )
)
@click.argument("name", required=False)
@url_option
@json_option
@seconds_option("--wait", 1.0, "How long to collect answers.")
def command(name: str | None, *, as_json: bool, wait: float) -> None:
    """List the processors, services and applications that answer within a second.

    NAME says which: a name, @host, name@host, pid@host, name#group, or '*' for everything.  MSG/S
    is the number of messages per second that each handled in the last half of that time.
    """
    from postage.cli.fleet.query import everybody  # noqa: PLC0415 - `--help` does not wait for gevent

    found = everybody(name or f"@{Fingerprint().host}", wait)
    if as_json:
        print_json(found)
    elif not found:
        print_error("Nobody has answered.")
    else:
        print_text("\n".join(table(COLUMNS, [row(each) for each in found])))
