"""Hooks around the sending of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import Around, Encoder, NoRoute, OutgoingMessage, messaging
from tests.support.audit import Audit, Sending
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")

WAYS: dict[str, Callable[[Any], object]] = {
    "message": lambda producer: producer.message_x(1),
    "send": lambda producer: producer.send("x", 1),
    "forward": lambda producer: producer.forward(messaging.MessageCommand("x").body),
    "call": lambda producer: producer.rpc_x(_timeout=0.3),
    "later": lambda producer: producer.rpc_x.later(_timeout=0.3).get(),
    "queue only": lambda producer: producer.rpc_queue_x(),
}


@pytest.mark.parametrize("way", WAYS)
def test_hooks_see_everything_that_is_sent(
    endpoint: Endpoint, raw: Raw, queue: str, way: str
) -> None:
    class Tracer(Audit):
        def send(self, message: OutgoingMessage) -> Sending:
            assert message.body["name"] == message.name == "x"
            assert message.targets == ((endpoint.exchange, "rk"),)
            assert message.is_call is (way in {"call", "later", "queue only"})
            message.headers["traceparent"] = f"00-{len(message.headers)}"
            yield from super().send(message)

    tracer = Tracer()
    sending = gevent.spawn(WAYS[way], endpoint.producer(around=[tracer]))

    assert raw.take(queue).properties.headers == {"traceparent": "00-0"}
    sending.get(timeout=SOON)
    assert [each[1] for each in tracer.log] == ["before", "after"]
    assert len(tracer.outcomes) == 1
    assert (tracer.outcomes[0] is not None) is (way in {"call", "later"})


def test_hooks_see_the_headers_that_were_given(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    class Adds(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            message.headers["n"] = message.headers["n"] + 1
            message.headers["more"] = [1]
            yield

    producer: Any = endpoint.producer(around=[Adds(), Adds()])
    producer.message_x(_headers={"n": 1}, _priority=3, _message_id="mine")
    properties = raw.take(queue).properties

    assert properties.headers.pop("x-postage-send-id")
    assert properties.headers == {"n": 3, "more": [1]}
    assert (properties.priority, properties.message_id) == (3, "mine")


@pytest.mark.parametrize("way", WAYS)
def test_what_hooks_change_in_a_body_is_not_sent(
    endpoint: Endpoint, raw: Raw, queue: str, way: str
) -> None:
    class Meddles(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            message.body["content"]["parameters"] = message.body["name"] = "another"
            yield

    sending = gevent.spawn(WAYS[way], endpoint.producer(around=[Meddles()]))
    value = raw.take(queue).value

    assert value["name"] == "x"
    assert value["content"]["parameters"] != "another"
    sending.get(timeout=SOON)


def test_hooks_see_what_is_sent(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    class Sees(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            assert message.body is message.body
            seen.append(message.body)
            yield

    seen: list[Any] = []
    endpoint.producer(around=[Sees()]).message_x({"a": [1]})

    assert raw.take(queue).value == seen[0]


@pytest.mark.parametrize(
    "headers", [{"a": 0.5}, {"x-postage-a": 1}, {"CC": 5}, {5: 5}, {"a": "x" * 200_000}], ids=ascii
)
def test_headers_of_hooks_that_cannot_be_sent(
    endpoint: Endpoint, raw: Raw, queue: str, caplog: Any, headers: Any
) -> None:
    class Wrong(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            message.headers.update(headers)
            yield

    endpoint.producer(around=[Wrong()]).message_x(_headers={"given": 1})

    assert raw.take(queue).properties.headers == {"given": 1}
    assert "headers of a hook" in caplog.text


def test_a_wrong_value_inside_of_a_header(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    class Wrong(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            message.headers["given"].append(0.5)
            yield

    endpoint.producer(around=[Wrong()]).message_x(_headers={"given": [1]})

    assert raw.take(queue).properties.headers == {"given": [1]}


def test_a_body_that_its_encoder_cannot_decode(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    class Empty(Encoder):
        @classmethod
        def encode(cls, data: Any) -> Any:
            return ""

        @classmethod
        def decode(cls, string: Any) -> Any:
            raise ValueError(string)

    class Sees(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            seen.append((message.name, message.body))
            yield

    seen: list[Any] = []
    endpoint.producer(around=[Sees()], encoder_class=Empty).message_x()

    assert raw.take(queue).body == b""
    assert seen == [("x", None)]


def test_errors_of_sending_reach_the_hooks(endpoint: Endpoint) -> None:
    audit = Audit()
    producer: Any = endpoint.producer(around=[audit], mandatory=True)
    with pytest.raises(NoRoute):
        producer.message_x(_key="nobody")

    assert [type(each) for each in audit.outcomes] == [NoRoute]


def test_one_hook_for_all_destinations(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    audit = Audit()
    eks = [(endpoint.exchange, "rk"), (endpoint.exchange, "other")]
    endpoint.producer(around=[audit], eks=eks).message_x()

    assert len(audit.outcomes) == 1
    assert raw.take(queue).routing_key == "rk"
    assert raw.take(queue).routing_key == "other"
