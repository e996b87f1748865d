"""``postage``: the command line.  For now it tells its version."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from postage._version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: those of the process); return the exit code."""
    parser = argparse.ArgumentParser(prog="postage", description="AMQP components on greenlets.")
    parser.add_argument("-V", "--version", action="version", version=f"postage {__version__}")
    parser.parse_args(arguments)
    parser.print_help()
    return 0
