"""Handles notes and calls: ``receiver.py ENDPOINT KEY...``, a queue for each key, until SIGTERM.

It prints the notes that it has handled.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from postage import green

green.patch_all()

from postage import messaging  # noqa: E402 - after patching
from tests.support.endpoints import Endpoint  # noqa: E402 - after patching

ENDPOINT, KEYS = Endpoint(sys.argv[1]), sys.argv[2:]


class Receiver(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        publisher, number = content["parameters"]
        sys.stdout.write(f"handled {publisher} {number}\n")
        sys.stdout.flush()

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
logging.getLogger("postage").setLevel(logging.DEBUG)
green.run(Receiver({"name": "receiver"}, ENDPOINT.at(*((ENDPOINT.sub(k), k) for k in KEYS))))
