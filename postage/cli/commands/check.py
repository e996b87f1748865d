"""``postage check``: what is in a module, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, json_option
from postage.cli.output import say, say_json, table
from postage.cli.running.targets import Target, patch

if TYPE_CHECKING:
    from postage.cli.checking.report import Report

__all__ = ["command"]


@click.command(
    epilog=examples("postage check shop.orders shop.stock", "postage check shop.fleet:everything")
)
@click.argument("targets", nargs=-1, required=True, type=Target.parse, metavar="MODULE[:NAME]...")
@json_option
def command(targets: tuple[Target, ...], *, as_json: bool) -> None:
    """Import modules, make their processors on a broker inside, and say what is wrong.

    Nothing is run, and your broker is not asked.  Looked for are handlers and filters that cannot
    be called, RPC handlers that never answer as another one has their name, processors that cannot
    be made, queues and exchanges that are declared in two ways, and keys of producers to which no
    queue of these modules is bound.  Exit code 4: there are such faults.
    """
    patch()
    from postage.cli.checking.report import report_on  # noqa: PLC0415 - after patching
    from postage.cli.checking.sandbox import Sandbox  # noqa: PLC0415

    sandbox = Sandbox()
    sandbox.enter()
    report = report_on(targets, sandbox)
    if as_json:
        say_json(report.as_dict())
    else:
        say("\n".join(page(report)))
    if report.faults:
        count = len(report.faults)
        raise CommandFailed(f"{count} fault{'s' * (count > 1)}", Code.ERROR_RESULT)


def page(report: Report) -> Iterator[str]:
    """Yield the lines of the report: tables of what there is, then what was found."""
    told = report.as_dict()
    queues = [
        {"processor": name, **each} for name, bound in told["processors"].items() for each in bound
    ]
    for rows in (queues, told["handlers"], told["producers"], told["messages"]):
        if rows:
            yield from (*_table(rows), "")
    for each in report.findings:
        yield f"{'fault' if each.fault else 'note'}: {each.where}: {each.text}"
    if not report.faults:
        yield "No fault was found."


def _table(rows: list[dict[str, Any]]) -> list[str]:
    head = [name.replace("_", " ").upper() for name in rows[0]]
    return table(head, [["*" if cell is None else cell for cell in row.values()] for row in rows])
