"""Headers of the message in hand that go with everything its handlers send."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import GenericApplication, SettingsError, green, messaging
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, listen
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

TENANT = {"x-tenant": "acme", "x-other": "secret"}


class Relay(messaging.MessageProcessor):
    """Does in its handler what the test says."""

    propagate = ("x-tenant", "x-trace")

    def __init__(self, endpoint: Endpoint, do: Callable[[Any], object]) -> None:
        self.do, self.errors = do, []
        super().__init__({"name": "relay"}, endpoint.eqk)
        self.producer: Any = endpoint.producer(eks=[(endpoint.exchange, "target")])

    @messaging.MessageHandler("command", "go")
    def go(self, content: Any) -> None:
        try:
            self.do(self.producer)
        except Exception as exc:
            self.errors.append(exc)


def in_a_greenlet(producer: Any) -> None:
    gevent.spawn(producer.message_x).get()


SENDS: dict[str, Callable[[Any], object]] = {
    "message": lambda producer: producer.message_x(1),
    "send": lambda producer: producer.send("x", a=1),
    "generic": lambda producer: producer.message("x"),
    "forward": lambda producer: producer.forward({}),
    "call": lambda producer: producer.rpc_x(_timeout=0.5),
    "later": lambda producer: producer.rpc_x.later(_timeout=0.5),
    "queue only": lambda producer: producer.rpc_queue_x(),
    "greenlet": in_a_greenlet,
    "unconfirmed": lambda producer: setattr(producer, "confirm", False) or producer.message_x(),
}


@pytest.mark.parametrize("send", SENDS)
def test_everything_that_a_handler_sends(endpoint: Endpoint, raw: Raw, send: str) -> None:
    target = listen(raw, endpoint.exchange, "target")
    with running(Relay(endpoint, SENDS[send])):
        endpoint.producer().message_go(_headers=TENANT)
        assert raw.take(target).properties.headers == {"x-tenant": "acme"}


def test_what_the_sender_gives_precedes(endpoint: Endpoint, raw: Raw) -> None:
    target = listen(raw, endpoint.exchange, "target")
    options = {"_headers": {"x-tenant": "other", "more": 1}, "_priority": 3}
    with running(Relay(endpoint, lambda producer: producer.message_x(**options))):
        endpoint.producer().message_go(_headers={**TENANT, "x-trace": [1]})
        properties = raw.take(target).properties

    assert properties.headers == {"x-tenant": "other", "more": 1, "x-trace": [1]}
    assert properties.priority == 3


@pytest.mark.parametrize("value", [None, "", 0, [], {}, b"\xff", [{"deep": None}]], ids=ascii)
def test_values_go_on_as_they_came(endpoint: Endpoint, raw: Raw, value: Any) -> None:
    target = listen(raw, endpoint.exchange, "target")
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("go").body).encode()
    with running(Relay(endpoint, SENDS["message"])):
        raw.put(endpoint.queue, body, headers={"x-tenant": value})
        assert raw.take(target).properties.headers == {"x-tenant": value}


def test_without_such_headers_nothing_is_added(endpoint: Endpoint, raw: Raw) -> None:
    target = listen(raw, endpoint.exchange, "target")
    with running(Relay(endpoint, SENDS["message"])):
        endpoint.producer().message_go(_headers={"x-other": 1})
        endpoint.producer().message_go()
        assert raw.take(target).properties.headers is None
        assert raw.take(target).properties.headers is None


def test_outside_of_its_handlers_nothing_is_added(endpoint: Endpoint, raw: Raw) -> None:
    target = listen(raw, endpoint.exchange, "target")
    relay = Relay(endpoint, lambda _: None)
    with running(relay):
        endpoint.producer().message_go(_headers=TENANT)
        wait_until(lambda: relay.counts["handled"], SOON)
        relay.producer.message_x()

    assert raw.take(target).properties.headers is None


def test_headers_that_nobody_can_read_stop_the_sending(endpoint: Endpoint, raw: Raw) -> None:
    """To send without the tenant could show the data of one to another."""
    target = listen(raw, endpoint.exchange, "target")
    relay = Relay(endpoint, SENDS["message"])
    too_far = struct.pack(">B4scQ", 4, b"when", b"T", 1 << 60)
    table = struct.pack(">I", len(too_far)) + too_far
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("go").body).encode()
    producer: Any = endpoint.producer()
    with running(relay):
        channel = producer._pair.publishing.current.confirming.get()
        odd: Any = Properties(headers=table)
        channel.publish_confirmed(endpoint.exchange.name, "rk", odd, body, limit=SOON)
        wait_until(lambda: relay.errors, SOON)

    assert "headers" in str(relay.errors[0])
    assert raw.count(target) == 0


def test_a_generic_application_propagates(endpoint: Endpoint, raw: Raw) -> None:
    target = listen(raw, endpoint.exchange, "target")
    producer: Any = endpoint.producer(eks=[(endpoint.exchange, "target")])

    class Carrier(GenericApplication):
        propagate = ["x-tenant"]  # noqa: RUF012 - users write lists

        @messaging.MessageHandler("command", "go")
        def go(self, content: Any) -> None:
            producer.message_x()

    class Sender(messaging.GenericProducer):
        eks = ((green.GenericApplicationExchange, "carrier"),)

    with running(Carrier({"name": "carrier"})):
        Sender().message_go(_headers=TENANT)
        assert raw.take(target).properties.headers == {"x-tenant": "acme"}


@pytest.mark.parametrize(
    "names",
    ["x-tenant", 5, None, [5], [""], ["a" * 256], ["x-death"], ["x-postage-send-id"], {"a": 1}],
    ids=lambda names: ascii(names)[:20],
)
def test_names_that_cannot_be_propagated(endpoint: Endpoint, names: Any) -> None:
    wrong = type("Wrong", (messaging.MessageProcessor,), {"propagate": names})
    with pytest.raises(SettingsError, match="propagate"):
        wrong(None, endpoint.eqk)
    processor: Any = messaging.MessageProcessor(None, endpoint.eqk)
    with pytest.raises(SettingsError, match="propagate"):
        processor.propagate = names
