"""A timeout that a handler has started, and not closed, hits its greenlet after the handler."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}
"""A queue that takes no message: what is to be parked there waits."""


class Careless(Recorder):
    """Starts a timeout, fails, and leaves the timeout running."""

    concurrency = 1

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append(content["parameters"])
        if len(self.seen) == 1:
            gevent.Timeout(0.2).start()
            raise ValueError("it fails")


def test_a_late_timeout_leaves_no_message_behind(
    endpoint: Endpoint, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    raw.declare(f"{endpoint.queue}.parked", arguments=FULL)
    careless, producer = at(endpoint, Careless), endpoint.producer()
    with running(careless):
        producer.message_work(1)
        wait_until(lambda: len(careless.seen) == 2, SOON, "the message comes again")
        producer.message_work(2)
        wait_until(lambda: careless.seen == [1, 1, 2], SOON, "others are handled")
        assert "that a handler did not close" in caplog.text
    assert raw.count(endpoint.queue) == 0
