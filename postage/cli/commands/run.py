"""``postage run``: processors as a program."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from click.core import ParameterSource

from postage.cli.exits import CommandFailed
from postage.cli.options import (
    HIGHEST_PORT,
    HostPortParam,
    RemoteRuleParam,
    Seconds,
    examples,
    set_defaults,
    url_option,
)
from postage.cli.running.configuration import (
    Configuration,
    ConfiguredCommand,
    config_option,
    name_of_option,
)
from postage.cli.running.logs import LEVELS, set_up
from postage.cli.running.parent_pipe import WORKER_URL, ParentPipe
from postage.cli.running.process import Plan, run_here
from postage.cli.running.targets import Target
from postage.remote_control import RemoteControl, RemoteRule


@click.command(
    cls=ConfiguredCommand,
    epilog=examples(
        "postage run shop.orders                      every processor of the module",
        "postage run shop.orders:Orders shop.stock    one of it, and all of another module",
        "postage run shop.fleet:everything            what a function returns",
        "postage run shop.orders --workers 4 --health 8086",
        "postage run shop.orders --embedded           with a broker inside: nothing to install",
        "postage run --config shop.toml               what the file says",
    ),
)
@click.argument("targets", nargs=-1, type=Target.parse, metavar="[MODULE[:NAME]]...")
@config_option
@url_option
@click.option("--embedded", is_flag=True, help="Run a broker inside, and use it.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Keep trying until the broker is reachable (default), or fail at once.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run N processes under a parent that restarts those that crash.",
)
@click.option("--reload/--no-reload", help="Restart when a Python file here has changed.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 65_535),
    metavar="N",
    help="Messages handled at a time, for processors that do not set it themselves.",
)
@click.option(
    "--shutdown-timeout",
    type=Seconds(),
    metavar="S",
    help="Seconds that running handlers have to finish, whatever their processor says.",
)
@click.option(
    "--remote-control",
    type=RemoteRuleParam(),
    metavar="RULE",
    help="From whom processors take commands such as quit, whatever they say themselves: off, "
    "own-user, on, or users of the broker, separated by commas.",
)
@click.option("--no-remote-control", is_flag=True, help="The same as --remote-control off.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option("--log-json/--no-log-json", help="Log each record as a line of JSON.")
@click.option(
    "--health",
    type=HostPortParam(0),
    metavar="[HOST:]PORT",
    help="Serve /livez and /readyz on this port, of 127.0.0.1 unless HOST is given; :PORT is that "
    "of all addresses.  Worker n takes the port n above it.",
)
@click.option("--worker", type=ParentPipe.parse, hidden=True, is_eager=True)
def command(
    log_level: str,
    *,
    log_json: bool,
    worker: ParentPipe | None,
    no_remote_control: bool,
    **options: Any,
) -> int:
    """Run the processors named, or all processors of the modules, until they are told to stop.

    NAME is a class, an instance, or a function that returns one or several.  The standard library
    is made cooperative before your code is imported.  SIGTERM, SIGHUP and SIGINT (Ctrl-C)
    let running handlers finish; a second signal ends the process at once.  The log goes to stderr.

    A configuration file may say what the command line leaves out: all options, and the modules.
    """
    ctx = click.get_current_context()
    options["targets"] = _targets(ctx, options["targets"])
    if no_remote_control:
        options["remote_control"] = _switched_off(ctx, options["remote_control"])
    plan = Plan(**options)
    _check(ctx, plan)
    set_up(log_level, as_json=log_json)
    variables = plan.variables()
    if worker and (url := os.environ.get(WORKER_URL)):
        variables["POSTAGE_URL"] = url
    set_defaults(ctx, variables)
    if (plan.workers or plan.reload) and worker is None:
        from postage.cli.running.workers import supervise  # noqa: PLC0415 - most runs have no parent

        config = ctx.obj.file.as_json()
        return supervise(
            plan.workers or 1, plan.shutdown_timeout, reload=plan.reload, config=config
        )
    if plan.reload:  # Python would take a change within the same second for old bytecode
        sys.dont_write_bytecode = True
    return run_here(plan, worker)


def _targets(ctx: click.Context, named: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return the targets that the command line or the file names; raise an error without any."""
    configuration: Configuration = ctx.obj
    targets = named or configuration.targets()
    if not targets:
        text = "Missing argument 'MODULE[:NAME]...', and no configuration file names targets."
        raise click.UsageError(text, ctx)
    return targets


def _switched_off(ctx: click.Context, rule: RemoteRule | None) -> RemoteRule:
    """Return the rule of ``--no-remote-control``; *rule* must not be another one."""
    is_given = ctx.get_parameter_source("remote_control") is ParameterSource.COMMANDLINE
    if is_given and rule != RemoteControl.OFF.value:
        raise CommandFailed("--remote-control and --no-remote-control: give one of them")
    return RemoteControl.OFF.value


def _check(ctx: click.Context, plan: Plan) -> None:
    """Raise `CommandFailed` if options of *plan* contradict each other."""
    last_port = plan.health.port + (plan.workers or 1) - 1 if plan.health else 0
    if last_port > HIGHEST_PORT:
        name = name_of_option(ctx, "health")
        raise CommandFailed(f"{name} {plan.health}: the last worker would need port {last_port}")
    if plan.embedded and ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise CommandFailed("--url and --embedded name two brokers: give one of them")
