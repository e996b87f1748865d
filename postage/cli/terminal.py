"""The terminal: whether there is one to draw on, and the keys that are pressed there."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from postage.cli.exits import CommandFailed

__all__ = ["ENDED", "need_terminal", "pressed_keys"]

ENDED = ""
"""What is read in place of a key when the terminal has gone."""


def need_terminal(command: str, instead: str) -> None:
    """Raise `CommandFailed` where *command* cannot draw; *instead* says what can be had there."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed(f"{command} needs a terminal, to draw and to read keys; {instead}")
    name = os.environ.get("TERM", "")
    if name in ("", "dumb", "unknown"):
        raise CommandFailed(f"TERM={name}: {command} cannot move the cursor there; {instead}")


@contextmanager
def pressed_keys(on_key: Callable[[str], object]) -> Iterator[None]:
    """Call *on_key* for each key, at once and without an echo, while the block lasts.

    Then the terminal is as before, whatever ended the block.
    """
    import gevent  # noqa: PLC0415 - `--help` does not wait for it

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    reading = gevent.spawn(_read, descriptor, on_key)
    try:
        tty.setcbreak(descriptor)
        _let_reads_return(descriptor)
        yield
    finally:
        reading.kill()
        with suppress(termios.error):  # it may have gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _let_reads_return(descriptor: int) -> None:
    """Have a read return nothing, where there is nothing, instead of waiting with all greenlets.

    Ctrl-C and its kind empty what was typed before, which may have been seen already.
    """
    attributes = termios.tcgetattr(descriptor)
    attributes[6][termios.VMIN] = 0
    termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)


def _read(descriptor: int, on_key: Callable[[str], object]) -> None:
    from gevent.socket import wait_read  # noqa: PLC0415 - as above

    text = "?"
    while text or not _has_gone(descriptor):
        wait_read(descriptor)
        try:
            text = os.read(descriptor, 64).decode(errors="replace")
        except OSError:
            break
        for key in text:
            on_key(key)
    on_key(ENDED)


def _has_gone(descriptor: int) -> bool:
    """Tell whether nothing will ever be typed there any more."""
    watched = select.poll()
    watched.register(descriptor, 0)
    return bool(watched.poll(0))
