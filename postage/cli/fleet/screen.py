"""The screen of ``postage top``: shows what a `FleetPoller` finds, until the user ends it.

What it shows is made by `postage.cli.fleet.overview`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

import gevent
from rich.console import Console
from rich.live import Live
from rich.text import Text

from postage.cli.fleet.ordering import Order
from postage.cli.fleet.overview import help_page, overview
from postage.cli.fleet.query import FleetPoller, remote_to
from postage.cli.fleet.terminal import ENDED, pressed_keys

REDRAW_INTERVAL = 1.0
"""Seconds after which the screen is drawn again although no answer has come."""
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
END_KEYS = {"q", "Q", ENDED}
STEPS = {"<": -1, ">": 1}
"""The keys that sort by the column to the left, and by that to the right."""


def show(key: str, interval: float, order: Order, *, coloured: bool) -> None:
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
        Screen(poller, polling, order, coloured=coloured).run()
    finally:
        polling.kill()


class Screen:
    """Draws on the terminal's alternate screen, which is left when it ends or is suspended."""

    def __init__(
        self,
        poller: FleetPoller,
        polling: gevent.Greenlet[[], None],
        order: Order,
        *,
        coloured: bool,
    ) -> None:
        self._poller, self._polling = poller, polling
        self._order, self._coloured = order, coloured
        self._ended = self._suspended = self._helps = False

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
        plain = not self._coloured
        console = Console(force_terminal=True, force_interactive=True, no_color=plain)
        with (
            pressed_keys(self._on_key),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            while not (self._ended or self._suspended):
                live.update(self._page(console.height), refresh=True)
                self._poller.changed.wait(REDRAW_INTERVAL)
                self._poller.changed.clear()
                if self._polling.ready():
                    self._polling.get()  # it has crashed: raise its error

    def _page(self, height: int) -> Text:
        return help_page(height) if self._helps else overview(self._poller, self._order, height)

    def _on_key(self, key: str) -> None:
        if key in END_KEYS:
            self._end()
            return
        if self._helps or key == "?":
            self._helps = not self._helps
        elif key == "r":
            self._order = self._order.reversed()
        elif key in STEPS:
            self._order = self._order.beside(STEPS[key])
        self._poller.changed.set()

    def _end(self) -> None:
        self._ended = True
        self._poller.changed.set()

    def _suspend(self) -> None:
        self._suspended = True
        self._poller.changed.set()
