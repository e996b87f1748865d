"""The screen of ``postage top``: shows what a `FleetPoller` finds, until the user ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys

import gevent
from rich.console import Console
from rich.live import Live
from rich.text import Text

from postage.cli.fleet.descriptions import COLUMNS, AppRow, row
from postage.cli.fleet.query import FleetPoller, remote_to
from postage.cli.fleet.terminal import ENDED, pressed_keys
from postage.cli.output import sanitized, table

REDRAW_INTERVAL = 1.0
"""Seconds after which the screen is drawn again although no answer has come."""
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
END_KEYS = {"q", "Q", ENDED}
WIDEST = 60
"""The most characters of a cell: the answers of other programs may be of any length."""
UPTIME = COLUMNS.index("UPTIME")


def show(key: str, interval: float) -> None:
    """Show the applications behind *key*, asked every *interval* seconds, until the user ends it.

    Raises the error that prevents the first connection; a later one is shown, and retried.
    """
    remote_to(key)
    logging.getLogger("postage").addHandler(logging.NullHandler())  # not across the screen
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # the terminal may lack letters that others send
    poller = FleetPoller(key, interval)
    polling = gevent.spawn(poller.run)
    try:
        Screen(poller, polling).run()
    finally:
        polling.kill()


class Screen:
    """Draws on the terminal's alternate screen, which is left when it ends or is suspended."""

    def __init__(self, poller: FleetPoller, polling: gevent.Greenlet[[], None]) -> None:
        self._poller, self._polling = poller, polling
        self._ended = self._suspended = False

    def run(self) -> None:
        """Draw until a key or a signal ends it; SIGTSTP (Ctrl-Z) suspends the process."""
        handlers = dict.fromkeys(END_SIGNALS, self._end) | {
            signal.SIGWINCH: self._poller.changed.set,
            signal.SIGTSTP: self._suspend,
        }
        watchers = [gevent.signal_handler(*each) for each in handlers.items()]
        try:
            while not self._ended:
                self._suspended = False
                self._draw()
                if self._suspended:
                    os.kill(os.getpid(), signal.SIGSTOP)  # returns when the shell continues us
        finally:
            for watcher in watchers:
                watcher.cancel()

    def _draw(self) -> None:
        console = Console(force_terminal=True, force_interactive=True)
        with (
            pressed_keys(self._on_key),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            while not (self._ended or self._suspended):
                live.update(render(self._poller, console.height), refresh=True)
                self._poller.changed.wait(REDRAW_INTERVAL)
                self._poller.changed.clear()
                if self._polling.ready():
                    self._polling.get()  # it has crashed: raise its error

    def _on_key(self, key: str) -> None:
        if key in END_KEYS:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._poller.changed.set()

    def _suspend(self) -> None:
        self._suspended = True
        self._poller.changed.set()


# --- the text


def render(poller: FleetPoller, height: int) -> Text:
    """Return at most *height* lines: a summary, the current problem, and the table."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{_summary(poller)}\n")
    problem = f"Trying again: {poller.problem}" if poller.problem else ""
    text.append(f"{sanitized(problem)}\n", style="bold")
    apps = poller.apps.present + poller.apps.gone
    room = height - 3
    fitting = apps if len(apps) <= room else apps[: max(0, room - 1)]
    head, *lines = table(COLUMNS, list(map(_cells, fitting)))
    text.append(head, style="reverse")
    for app, line in zip(fitting, lines, strict=True):
        text.append(f"\n{line}", style="" if app.gone_since is None else "dim")
    if len(fitting) < len(apps):
        text.append(f"\n... and {len(apps) - len(fitting)} more")
    return text


def _summary(poller: FleetPoller) -> str:
    key = sanitized(poller.key)
    if not poller.as_of:
        return f"postage top {key}: asking ..."
    present, gone = poller.apps.present, len(poller.apps.gone)
    total = sum(each.rate for each in present)
    here = f"{len(present)} here, {gone} gone, {total:.1f} messages a second"
    return f"postage top {key}: {here}, as of {poller.as_of} (q: end)"


def _cells(app: AppRow) -> list[str]:
    cells = [str(cell)[:WIDEST] for cell in row(app.description)]
    if app.gone_since is not None:
        cells[UPTIME] = "gone"
    return cells
