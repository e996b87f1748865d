"""What was delayed, parked and replayed is understood by 1.2.1, and what 1.2.1 sent is here."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage import Exchange, MessageProcessor, green, messaging, parking
from postage.testing.polling import wait_until
from tests.classic.programs import events, program
from tests.support.running import SOON, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("classic", "broker_env"),
]


class Failing(MessageProcessor):
    """Handles nothing: delays each message once, and parks it then."""

    def __init__(self, *args: Any) -> None:
        self.attempts: list[int] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "log")
    def log(self, content):
        attempt = green.message().attempt
        self.attempts.append(attempt)
        if attempt == 1:
            raise green.RetryLater(0.1)
        raise ValueError("for good")


@pytest.mark.behaviour("other-languages")
@pytest.mark.parametrize("sender", ["old", "new"])
def test_what_was_parked_and_replayed_is_understood(classic, broker_env, sender):
    """A 1.2.1 server gets from the replay what its sender has sent, whichever version that had."""
    name = f"failed-{sender}"

    class Shared(Exchange):
        pass

    Shared.name = queue = f"classic-{name}"

    class Sender(messaging.GenericProducer):
        eks = ((Shared, "rk"),)

    eqk = [(Shared, [({"name": queue, "flags": {"durable": False}}, "rk")])]
    failing = Failing(None, eqk)
    with running(failing):
        if sender == "old":
            with program("old", "client.py", name):
                wait_until(lambda: failing.counts["parked"] >= 2, SOON)
        else:
            for text in ("one", None):
                Sender().message_log(text, _priority=3, _headers={"x-tenant": "a"}, _app_id="shop")
            wait_until(lambda: failing.counts["parked"] == 2, SOON)
    assert failing.attempts[:4].count(1) >= 2
    assert failing.attempts.count(2) == 2

    with program("old", "server.py", name) as serving:
        serving.wait_for_line('"ready"')
        logs = {each.id for each in parking.look(f"{queue}.parked") if each.name == "command log"}
        assert len(logs) == 2
        gevent.spawn(parking.replay, f"{queue}.parked", logs).get(timeout=SOON)
        wait_until(lambda: serving.stdout.count('"event": "command"') == 2, SOON)
        Sender().message_quit()
        ended = serving.wait()

    seen = [
        event["content"]["parameters"] for event in events(ended) if event["event"] == "command"
    ]
    assert len(seen) == 2
    assert ended.code == 0, ended.stderr
