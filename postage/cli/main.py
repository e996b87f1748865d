"""The entry point of the command ``postage``.

click is an extra (``cli``).  Without it only ``postage broker`` works, on argparse; every
other command prints what to install.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from postage.cli.exits import exit_codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: those of the process); return the exit code."""
    # Ctrl-C ends the process, until a command installs a handler that shuts down in order.  As an
    # exception, KeyboardInterrupt could be raised anywhere: in the middle of an import, where some
    # libraries swallow it, or in any greenlet, whose traceback gevent would print.  A shell starts
    # background jobs (`&`) with SIGINT ignored; that stays.
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with exit_codes():
        try:
            import click  # noqa: F401, PLC0415 - an extra
        except ImportError:
            from postage.cli.no_click import main as run_command  # noqa: PLC0415 - as above
        else:
            from postage.cli.app import main as run_command  # noqa: PLC0415 - as above
        return run_command(arguments)
