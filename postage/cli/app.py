"""The command group ``postage``, built on click."""

from __future__ import annotations

import importlib
import io
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import click

from postage._version import __version__
from postage.cli.commands import COMMANDS
from postage.cli.exits import print_error
from postage.cli.output import handle_stdout_errors


class CommandGroup(click.Group):
    """The group of all commands; imports only the command that is used."""

    members: Mapping[str, str] = COMMANDS
    """The commands, each with one line of help, most useful first."""
    package = "postage.cli.commands"
    """The package with a module for each command, which has its name."""
    renamed: Mapping[str, str] = {}
    """The modules of commands whose names other modules have."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands, most useful first."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the command *cmd_name* and return it; None if there is no such command."""
        if cmd_name not in self.members:
            return None
        module = f"{self.package}.{self.renamed.get(cmd_name, cmd_name)}"
        command: click.Command = importlib.import_module(module).command
        command.name = cmd_name  # click names it after its function, and the reference by its name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.members.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the command; ``--help`` prints and exits here."""
        with handle_stdout_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with handle_stdout_errors():
            return super().invoke(ctx)


@click.command(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 unexpected error, 2 usage or import, 3 broker unreachable, "
    "4 error as the answer, 5 topology, 6 supervision gave up, 7 ended by the command quit.",
)
@click.version_option(__version__, "-V", "--version", message="postage %(version)s")
def postage() -> None:
    """AMQP components on greenlets."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* and return the exit code."""
    try:
        return int(postage.main(arguments, prog_name="postage", standalone_mode=False) or 0)
    except click.ClickException as exc:
        usage = io.StringIO()
        exc.show(usage)
        print_error(usage.getvalue().rstrip())
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT  # as shells report it
