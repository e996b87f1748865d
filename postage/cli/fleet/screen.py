"""The screen that shows a `Watch`, until a key or a signal ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from rich.console import Console
from rich.live import Live

from postage.cli.fleet.picture import picture
from postage.cli.fleet.query import connect
from postage.cli.fleet.watching import Watch
from postage.cli.terminal import ENDED, pressed_keys

__all__ = ["show"]

TICK = 1.0
"""Seconds after which the screen is drawn again although nobody has answered."""
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
KEYS = {"q", "Q", ENDED}


def show(key: str, interval: float) -> None:
    """Show the applications behind *key*, asked every *interval* seconds, until somebody ends it.

    Raises what keeps it from connecting at the beginning; later that is shown, and tried again.
    """
    connect(key)
    logging.getLogger("postage").addHandler(logging.NullHandler())  # not across the screen
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # whatever letters this terminal has
    watch = Watch(key, interval)
    asking = gevent.spawn(watch.run)
    try:
        _Screen(watch, asking).run()
    finally:
        asking.kill()


class _Screen:
    """Draws the watch in a screen of its own, which goes when it ends or is suspended."""

    def __init__(self, watch: Watch, asking: gevent.Greenlet[[], None]) -> None:
        self._watch, self._asking = watch, asking
        self._ended = self._suspended = False

    def run(self) -> None:
        with self._signals():
            while not self._ended:
                self._suspended = False
                self._draw()
                if self._suspended:
                    os.kill(os.getpid(), signal.SIGSTOP)  # returns when we are wanted again

    def _draw(self) -> None:
        console = Console(force_terminal=True, force_interactive=True)
        with (
            pressed_keys(self._on_key),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            while not (self._ended or self._suspended):
                live.update(picture(self._watch, console.height), refresh=True)
                self._watch.news.wait(TICK)
                self._watch.news.clear()
                if self._asking.ready():
                    self._asking.get()  # a defect of ours

    @contextmanager
    def _signals(self) -> Iterator[None]:
        handlers = dict.fromkeys(ENDS, self._end) | {
            signal.SIGWINCH: self._watch.news.set,
            signal.SIGTSTP: self._suspend,
        }
        watchers = [gevent.signal_handler(*each) for each in handlers.items()]
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()

    def _on_key(self, key: str) -> None:
        if key in KEYS:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._watch.news.set()

    def _suspend(self) -> None:
        self._suspended = True
        self._watch.news.set()
