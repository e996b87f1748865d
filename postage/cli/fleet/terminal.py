"""The terminal: whether ``postage top`` can draw on it, and the keys that are pressed there."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from postage.cli.exits import CommandFailed
from postage.cli.output import is_terminal, reads_terminal

ENDED = ""
"""Read in place of a key when the terminal has been closed."""


def need_terminal(command: str, alternative: str) -> None:
    """Raise `CommandFailed` if *command* cannot draw here; *alternative* is added to the text."""
    if not (reads_terminal() and is_terminal()):
        raise CommandFailed(f"{command} needs a terminal, to draw and to read keys; {alternative}")
    name = os.environ.get("TERM", "")
    if name in ("", "dumb", "unknown"):
        raise CommandFailed(f"TERM={name}: {command} cannot move the cursor there; {alternative}")


@contextmanager
def pressed_keys(on_key: Callable[[str], object]) -> Iterator[None]:
    """Call *on_key* for each pressed key, at once and without echo, while the block lasts.

    Afterwards the terminal has its former settings, also if the block raises an error.
    """
    import gevent  # noqa: PLC0415 - `--help` does not wait for it

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    reading = gevent.spawn(_read, descriptor, on_key)
    try:
        tty.setcbreak(descriptor)
        # Ctrl-C and Ctrl-Z discard typed input, so a key that `wait_read` has reported may be gone
        # when it is read.  Let such a read return nothing, instead of blocking all greenlets.
        attributes = termios.tcgetattr(descriptor)
        attributes[6][termios.VMIN] = 0
        termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)
        yield
    finally:
        reading.kill()
        with suppress(termios.error):  # the terminal may have been closed
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read(descriptor: int, on_key: Callable[[str], object]) -> None:
    from gevent.socket import wait_read  # noqa: PLC0415 - as above

    state = select.poll()
    state.register(descriptor, 0)
    text = "?"
    while text or not state.poll(0):  # else the terminal has been closed, and no key can follow
        wait_read(descriptor)
        try:
            text = os.read(descriptor, 64).decode(errors="replace")
        except OSError:
            break
        for key in text:
            on_key(key)
    on_key(ENDED)
