"""Messages with options reach a server with Postage 1.2.1, and what it sends has a view here."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from postage import Exchange, MessageProcessor, green, messaging
from postage.testing.polling import wait_until
from tests.classic.programs import events, program
from tests.support.running import SOON, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("classic", "broker_env"),
]

OPTIONS: dict[str, Any] = {
    "_headers": {
        "text": "caffè",
        "numbers": [0, -1, 2**31, -(2**63)],
        "deep": {"yes": True, "none": None, "half": Decimal("0.5")},
        "since": dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc),
    },
    "_priority": 9,
    "_message_id": "mine",
    "_delivery_mode": 1,
    "_app_id": "shop",
}


@pytest.mark.behaviour("other-languages")
def test_a_classic_server_takes_messages_with_options(classic, broker_env):
    name = "with-options"

    class Shared(Exchange):
        name = "classic-with-options"

    class Sender(messaging.GenericProducer):
        eks = ((Shared, "rk"),)
        rpc_timeout = 10

    with program("old", "server.py", name) as serving:
        serving.wait_for_line('"ready"')
        sender = Sender()
        for each in (1, 2):
            sender.message_log(each, _expiration=60, **OPTIONS)
            sender.message("generic", **OPTIONS)
        assert sender.rpc_bare("called", **OPTIONS).value == "called"
        assert sender.rpc_sum({"a": 1, "b": 2}, **OPTIONS).value == 3
        sender.message_quit(**OPTIONS)
        ended = serving.wait()

    seen = [event for event in events(ended) if event["event"] in {"command", "generic"}]
    assert [event["content"].get("parameters") for event in seen] == [1, None, 2, None]
    assert ended.code == 0, ended.stderr


@pytest.mark.behaviour("other-languages")
def test_messages_of_a_classic_client_have_a_view(classic, broker_env):
    class Shared(Exchange):
        name = "classic-with-view"

    class Server(MessageProcessor):
        @messaging.MessageHandler("command", "log")
        def log(self, content):
            seen.append(green.message())

        @messaging.RpcHandler("command", "sum")
        def sum(self, content, reply):
            seen.append(green.message())
            return 1

    seen: list[Any] = []
    with (
        running(
            Server(
                None,
                [(Shared, [({"name": "classic-with-view", "flags": {"durable": False}}, "rk")])],
            )
        ),
        program("old", "client.py", "with-view"),
    ):
        wait_until(lambda: len(seen) > 2, SOON)

    for message in seen:
        assert (message.type, message.attempt, dict(message.headers)) == ("command", 1, {})
        assert message.fingerprint
        assert (message.id, message.priority, message.expiration) == (None, None, None)
