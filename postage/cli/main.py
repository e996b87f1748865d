"""``postage``: the command line.  Each sub-command is a module of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from postage.cli.exits import exit_codes

__all__ = ["main"]

Front = Callable[[Sequence[str] | None], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: those of the process); return the exit code."""
    if arguments is None:
        _end_at_interrupts()
    with exit_codes():
        return _front()(arguments)


def _end_at_interrupts() -> None:
    """Have Ctrl-C end the process as it ends any program, until a command has what it can finish.

    As an exception it would come wherever Python is just then: in the middle of an import, where
    some libraries swallow it, or in any greenlet, whose traceback gevent would print.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in `&`
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _front() -> Front:
    """Return what reads the command line: click, or, without the extra, what serves a demo."""
    try:
        import click  # noqa: F401, PLC0415 - an extra
    except ImportError:
        from postage.cli.bare import main as without_click  # noqa: PLC0415

        return without_click
    from postage.cli.app import main as with_click  # noqa: PLC0415

    return with_click
