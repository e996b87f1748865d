"""``postage``: the command line.  Each sub-command is a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postage.cli.exits import exit_codes

__all__ = ["main"]

Front = Callable[[Sequence[str] | None], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: those of the process); return the exit code."""
    with exit_codes():
        return _front()(arguments)


def _front() -> Front:
    """Return what reads the command line: click, or, without the extra, what serves a demo."""
    try:
        import click  # noqa: F401, PLC0415 - an extra
    except ImportError:
        from postage.cli.bare import main as without_click  # noqa: PLC0415

        return without_click
    from postage.cli.commands import main as with_click  # noqa: PLC0415

    return with_click
