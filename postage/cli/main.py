"""``postage``: the command line.  Each sub-command is a module of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from postage._version import __version__
from postage.cli import broker
from postage.cli.exits import exit_codes

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: those of the process); return the exit code."""
    parser = _parser()
    known = parser.parse_args(arguments)
    if known.run is None:
        parser.print_help()
        return 0
    with exit_codes():
        known.run(known)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="postage", description="AMQP components on greenlets.")
    parser.add_argument("-V", "--version", action="version", version=f"postage {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    broker.add_to(commands)
    return parser
