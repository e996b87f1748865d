"""The program of this process, run anew in its place."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from postage.green.amqp import pair

__all__ = ["run_anew"]


def run_anew() -> NoReturn:
    """Replace this process by a new run of the same program; does not return.

    Arguments, interpreter's options, environment, working directory and process id stay.  The
    connections are closed first, so what is unsettled goes back to its queues.
    """
    pair.close()
    for stream in (sys.stdout, sys.stderr):  # the new run gets the file, not what we buffered
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - just ourselves
