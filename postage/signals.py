"""The signals by which a system or a user ends a program, which then finishes what is running."""

from __future__ import annotations

import signal

__all__ = ["STOPPING_SIGNALS", "stopping_signals"]

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""By a supervisor or ``kill``; by Ctrl-C; by the terminal or the connection that is closed."""


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that are to end this program in order.

    SIGHUP is left alone where it has another meaning: ``nohup`` ignores it, and some programs
    handle it, to read their settings again.
    """
    takes_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return [each for each in STOPPING_SIGNALS if each is not signal.SIGHUP or takes_hangup]
