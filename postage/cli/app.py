"""The group ``postage`` as click sees it; each command is imported when it is used."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

import click

from postage._version import __version__
from postage.cli.catalogue import COMMANDS
from postage.cli.exits import complain
from postage.cli.output import printing

__all__ = ["main", "postage"]

INTERRUPTED = 130
"""As a shell says of a program that SIGINT has ended."""


class Commands(click.Group):
    """Knows its commands by name, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"postage.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what stands before the command; ``--help`` prints here, and ends here."""
        with printing():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, which prints what it has found."""
        with printing():
            return super().invoke(ctx)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 clean, 1 unhandled, 2 usage or import, 3 broker unreachable, "
    "4 an error as the answer, 5 topology, 6 supervision gave up.",
)
@click.version_option(__version__, "-V", "--version", message="postage %(version)s")
def postage() -> None:
    """AMQP components on greenlets."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* and return the exit code."""
    try:
        given = None if arguments is None else list(arguments)
        return int(postage.main(given, prog_name="postage", standalone_mode=False) or 0)
    except click.ClickException as exc:
        shown = io.StringIO()
        exc.show(shown)
        complain(shown.getvalue().rstrip())
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
