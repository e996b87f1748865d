"""The command line of an install without click: ``postage broker``, and hints what to install."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from postage._version import __version__
from postage.cli.commands import COMMANDS
from postage.cli.exits import ExtraMissing, install_line
from postage.cli.output import handle_stdout_errors
from postage.cli.running.broker_program import HELP, HOST, LIKE, PORT, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``postage broker``; raise `ExtraMissing` for every other command."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
    elif parsed.command != "broker":
        raise ExtraMissing(f"`postage {parsed.command}`", "click", "cli")
    else:
        with handle_stdout_errors():
            serve(
                parsed.host,
                parsed.port,
                parsed.user,
                parsed.vhost,
                user_file=parsed.user_file,
                like=parsed.like,
                permit_transient_queues=parsed.permit_transient_queues,
                as_json=parsed.json,
            )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="postage",
        description="AMQP components on greenlets.",
        epilog=f"Other commands need click: {install_line('cli')}",
    )
    parser.color = False  # type: ignore[attr-defined]  # Python 3.14 colours help by default
    parser.add_argument("-V", "--version", action="version", version=f"postage {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        if name == "broker":
            broker = commands.add_parser(name, help=summary)
            several: dict[str, Any] = {"action": "extend", "nargs": "+", "default": []}
            broker.add_argument("--host", default=HOST, metavar="ADDRESS", help=HELP["host"])
            broker.add_argument("--port", default=PORT, type=int, metavar="N", help=HELP["port"])
            broker.add_argument("--user", metavar="NAME:PASSWORD", help=HELP["user"], **several)
            broker.add_argument("--user-file", metavar="FILE", help=HELP["user-file"])
            broker.add_argument("--vhost", metavar="NAME", help=HELP["vhost"], **several)
            broker.add_argument("--like", default=LIKE, metavar="VERSION", help=HELP["like"])
            permit = "permit-transient-queues"
            broker.add_argument(f"--{permit}", action="store_true", help=HELP[permit])
            broker.add_argument("--json", action="store_true", help=HELP["json"])
        else:
            rest = commands.add_parser(name, help=summary, add_help=False)
            rest.add_argument("rest", nargs=argparse.REMAINDER)
    return parser
