"""Handles the notes of a load: ``worker.py ENDPOINT WORK [SHUTDOWN_TIMEOUT]``, both in seconds.

It prints the notes that it has begun and done.
"""

from __future__ import annotations

import sys
from typing import Any

from postage import green

green.patch_all()

import gevent  # noqa: E402 - after patching

from postage import messaging  # noqa: E402 - after patching
from tests.support.endpoints import Endpoint  # noqa: E402 - after patching

ENDPOINT, WORK = Endpoint(sys.argv[1]), float(sys.argv[2])


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Worker(messaging.MessageProcessor):
    shutdown_timeout = float(sys.argv[3]) if len(sys.argv) > 3 else 30.0

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        publisher, number = content["parameters"]
        say("begun", publisher, number)
        gevent.sleep(WORK)
        say("done", publisher, number)


green.run(Worker({"name": "child"}, ENDPOINT.at((ENDPOINT.sub("notes"), "notes"))))
