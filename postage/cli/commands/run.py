"""``postage run``: processors as a program."""

from __future__ import annotations

import sys
from typing import Any

import click

from postage.cli.exits import CommandFailed
from postage.cli.logs import LEVELS, set_up
from postage.cli.options import Seconds, examples, url_option
from postage.cli.running.lifeline import Lifeline
from postage.cli.running.plan import Plan
from postage.cli.running.targets import Target

__all__ = ["command"]


@click.command(
    epilog=examples(
        "postage run shop.orders                      every processor of the module",
        "postage run shop.orders:Orders shop.stock    one of it, and all of another one",
        "postage run shop.fleet:everything            what a function returns",
        "postage run shop.orders --workers 4 --health 8086",
        "postage run shop.orders --embedded           with a broker inside: nothing to install",
    )
)
@click.argument("targets", nargs=-1, required=True, type=Target.parse, metavar="MODULE[:NAME]...")
@url_option
@click.option("--embedded", is_flag=True, help="Run a broker inside the process, and use it.")
@click.option(
    "--wait/--no-wait", default=None, help="Wait for a broker that is not there yet (default)."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run N processes under a parent that starts again what was killed.",
)
@click.option("--reload", is_flag=True, help="Start anew when a Python file here has changed.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Messages at a time, for processors that do not say themselves.",
)
@click.option(
    "--shutdown-timeout",
    type=Seconds(),
    metavar="S",
    help="Seconds that handlers get to finish, whatever their processor says.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option("--log-json", is_flag=True, help="Log a line of JSON for each record.")
@click.option(
    "--health",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /livez and /readyz on this port of 127.0.0.1; worker n on the n-th from it on.",
)
@click.option("--worker", type=Lifeline.parse, hidden=True)
def command(log_level: str, *, log_json: bool, worker: Lifeline | None, **options: Any) -> int:
    """Run the processors named, or found in the modules, until they are told to end.

    NAME is a class, an instance, or a function that returns one or several.  The standard library
    is made cooperative before your code is imported.  SIGTERM and SIGINT (Ctrl-C) let handlers
    finish; a second one ends the process at once.  The log goes to stderr.
    """
    plan = Plan(**options)
    if plan.embedded and plan.workers:
        raise CommandFailed(
            "--embedded is a broker inside one process; for --workers run `postage broker`"
        )
    set_up(log_level, as_json=log_json)
    plan.use_settings()
    if (plan.workers or plan.reload) and worker is None:
        from postage.cli.running.workers import supervise  # noqa: PLC0415 - one of both is needed

        return supervise(plan.workers or 1, plan.shutdown_timeout, reload=plan.reload)
    from postage.cli.running.process import run_here  # noqa: PLC0415 - as above

    if plan.reload:  # by its bytecode, Python takes a change within a second for none
        sys.dont_write_bytecode = True
    return run_here(plan, worker)
