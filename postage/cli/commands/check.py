"""``postage check``: the components of modules, and their faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, json_option
from postage.cli.output import print_json, print_text, table
from postage.cli.running.targets import Target, prepare_imports

if TYPE_CHECKING:
    from postage.cli.checking.report import Report


@click.command(
    epilog=examples("postage check shop.orders shop.stock", "postage check shop.fleet:everything")
)
@click.argument("targets", nargs=-1, required=True, type=Target.parse, metavar="MODULE[:NAME]...")
@json_option
def command(targets: tuple[Target, ...], *, as_json: bool) -> None:
    """Import modules, make their processors on an embedded broker, and report faults.

    Nothing is run, and your broker is never contacted.  Reported are: handlers and filters that
    cannot be called or are refused; RPC handlers that never answer because another one has the same
    name; processors that cannot be made or listen to nothing; queues and exchanges that are
    declared in two ways; and keys of producers to which no queue of these modules is bound.  Exit
    code 4: there are faults.
    """
    prepare_imports()
    from postage.cli.checking.report import report_on  # noqa: PLC0415 - after patching

    report = report_on(targets)
    if as_json:
        print_json(report.as_dict())
    else:
        print_text("\n".join(page(report)))
    if report.faults:
        count = len(report.faults)
        raise CommandFailed(f"{count} fault{'s' * (count > 1)}", Code.ERROR_RESULT)


def page(report: Report) -> Iterator[str]:
    """Yield the lines of the report: tables of the components, then the findings."""
    contents = report.as_dict()
    queues = [
        {"processor": name, **binding}
        for name, bindings in contents["processors"].items()
        for binding in bindings
    ]
    for rows in (queues, contents["handlers"], contents["producers"], contents["messages"]):
        if rows:
            head = [name.replace("_", " ").upper() for name in rows[0]]
            cells = [["*" if cell is None else cell for cell in row.values()] for row in rows]
            yield from (*table(head, cells), "")
    for each in report.findings:
        yield f"{'fault' if each.fault else 'note'}: {each.where}: {each.text}"
    if not report.faults:
        yield "No fault was found."
