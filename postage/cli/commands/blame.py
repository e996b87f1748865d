"""``postage blame``: what has held or slowed down a process in the last minute."""

from __future__ import annotations

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, json_option, seconds_option, url_option
from postage.cli.output import print_json, print_text


@click.command(
    epilog=examples(
        "postage blame monitor             all processes with this name, anywhere",
        "postage blame 4711@myhost --wait 30",
    )
)
@click.argument("name")
@url_option
@json_option
@seconds_option("--wait", 1.0, "How long to collect answers.")
def command(name: str, *, as_json: bool, wait: float) -> None:
    """Show the flight records of the processes of processors, services and applications.

    A record names the lines that have held the event loop in the last minute, and for how long;
    slow handlers, lost connections, refusals and alarms.  NAME says which: a name, @host,
    name@host, pid@host, name#group, or '*' for everything.  A process whose event loop is held
    answers afterwards: let --wait be long enough.  Exit code 4: no process has answered.
    """
    from postage.cli.fleet.flights import flights, page  # noqa: PLC0415 - `--help` does not wait for gevent

    found = flights(name, wait)
    if as_json:
        print_json(found)
    elif found:
        print_text("\n".join(line for each in found for line in page(each)))
    if not found:
        raise CommandFailed(f"no process behind {name!r} has told its record", Code.ERROR_RESULT)
