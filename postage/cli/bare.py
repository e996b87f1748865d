"""The command line of an install without the extra ``cli``: the broker, and what to install."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from postage._version import __version__
from postage.cli.catalogue import COMMANDS
from postage.cli.exits import CommandFailed
from postage.cli.output import printing
from postage.cli.serving import OPTIONS, serve

__all__ = ["main"]

INSTALL = "pip install 'postage[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``postage broker``, and say of every other command what to install."""
    known = _parser().parse_args(arguments)
    if known.command is None:
        _parser().print_help()
    elif known.command != "broker":
        raise CommandFailed(f"`postage {known.command}` needs click: {INSTALL}")
    else:
        with printing():
            serve(known.host, known.port, known.user, known.vhost, as_json=known.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="postage",
        description="AMQP components on greenlets.",
        epilog=f"Commands other than broker need click: {INSTALL}",
    )
    parser.color = False  # type: ignore[attr-defined]  # Python 3.14 colours help by itself
    parser.add_argument("-V", "--version", action="version", version=f"postage {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        _add(commands.add_parser(name, help=summary, add_help=name == "broker"), name)
    return parser


def _add(parser: argparse.ArgumentParser, name: str) -> None:
    if name != "broker":
        parser.add_argument("rest", nargs=argparse.REMAINDER)
        return
    for option in OPTIONS:
        parser.add_argument(option.flag, **option.for_argparse())
