"""A program that computes while its consumers start: the broker is not to blame."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.green import subscription
from postage.testing.polling import wait_until
from tests.support.late_hub import hold_hub
from tests.support.raw import Raw
from tests.support.running import SOON

PROCESSORS = 100


def is_asking(processor: messaging.MessageProcessor) -> bool:
    """Tell whether the broker owes *processor* the answer to a basic.consume."""
    known = processor.consumer._subscription
    return known is not None and bool(known._queue_of_tag) and not known.consuming


def test_a_late_hub_gives_up_no_channel(
    broker_env: Any, raw: Raw, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PATIENCE", 0.2)

    class Late(messaging.Exchange):
        name = "late-hub"

    with green.pipelined():
        processors = [
            messaging.MessageProcessor({"name": f"late-{n}"}, [(Late, [(f"late-{n}", "key")])])
            for n in range(PROCESSORS)
        ]
    for each in processors:
        each.start()
    while not any(map(is_asking, processors)):
        gevent.sleep(0)
    hold_hub(0.6)

    wait_until(lambda: all(each.consumer.consuming for each in processors), SOON)
    assert "does not answer" not in caplog.text
    for each in processors:
        each.stop()
        raw.channel.queue_delete(each.fingerprint["name"])
    raw.channel.exchange_delete(Late.name)
