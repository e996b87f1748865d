"""A handler that computes: it holds the hub, and everybody else in the process."""

from __future__ import annotations

import time
from typing import Any

from postage import messaging
from postage.testing.polling import wait_until
from tests.faults.load import Load
from tests.faults.scene import Scene
from tests.support.running import running


class Computes(messaging.MessageProcessor):
    """Lets nobody else run for as many seconds as it is told, again and again."""

    finished = 0

    @messaging.MessageHandler("command", "compute")
    def compute(self, content: Any) -> None:
        end = time.monotonic() + content["parameters"]
        while time.monotonic() < end:
            pass
        self.finished += 1


def compute(_scene: Scene, load: Load, seconds: float = 10.0) -> None:
    """Have a handler compute for so long."""
    eqk = load.place.at((load.place.sub("compute"), "compute"))
    computes = Computes({"name": "computes"}, eqk)
    with running(computes):
        load.place.producer(eks=[(load.place.exchange, "compute")]).message_compute(seconds)
        wait_until(lambda: computes.finished == 1, seconds + 10.0, "it has computed")
