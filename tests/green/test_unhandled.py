"""What nobody handles is said once: messages, types of handlers, components without queues."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from postage import GenericApplication, messaging
from postage.handlers import MOST_REMARKS
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


def processor_class(**attributes: Any) -> type[messaging.MessageProcessor]:
    """Return a new class, because each class logs a name once."""

    class Depot(messaging.MessageProcessor):
        @messaging.MessageHandler("command", "store")
        def store(self, content: Any) -> None: ...

        @messaging.MessageHandler("status", "online")
        def online(self, content: Any) -> None: ...

        @messaging.RpcHandler("command", "count")
        def count(self, content: Any, reply: Any) -> int:
            return 5

    return type("Depot", (Depot,), attributes)


def remarks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the texts of the warnings of Postage."""
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno == logging.WARNING and each.name.startswith("postage")
    ]


Message = messaging.MessageCommand
MISSED = [
    (Message("stoer"), "Depot has no handler for the message 'stoer' of type 'command'"),
    (Message("count"), "'count' of type 'command': count takes it only as a call"),
    (
        Message("online"),
        "'online' of type 'command': online takes that name with the type 'status'",
    ),
    (messaging.MessageStatus("offline"), "for the message 'offline' of type 'status'"),
    (messaging.Message(), "for the message 'none' of type 'none'"),
    (Message("n" * 10_000), f"the message '{'n' * 100}' of type"),
    (Message("%s\n\x1b[31m{0}"), r"the message '%s\n\x1b[31m{0}' of type"),
]


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize(("message", "text"), MISSED, ids=lambda value: str(value)[:40])
def test_a_message_that_nobody_handles_is_named_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, message: Any, text: str
) -> None:
    processor = processor_class()({"name": "depot"}, endpoint.eqk)
    with running(processor):
        for _ in range(3):
            endpoint.producer().forward(message.body)
        wait_until(lambda: processor.counts["unhandled"] == 3, SOON)

    (remark,) = remarks(caplog)
    assert text in remark
    assert len(remark) < 300


def test_two_processors_of_a_class_name_it_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    kind = processor_class()
    pair = [kind({"name": "depot"}, endpoint.at((endpoint.sub(key), "k"))) for key in "ab"]
    with running(*pair):
        endpoint.producer(eks=[(endpoint.exchange, "k")]).send("stoer")
        wait_until(lambda: all(each.counts["unhandled"] for each in pair), SOON)

    assert len(remarks(caplog)) == 1


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize(
    ("name", "text"),
    [("nothing", "for the call 'nothing'"), ("store", "store takes it only as a message")],
)
def test_a_call_that_nobody_handles_is_named_too(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    with running(processor_class()({"name": "depot"}, endpoint.eqk)):
        results = [endpoint.producer().call(name) for _ in range(2)]

    assert [result.value for result in results] == ["UnknownCommand"] * 2
    (remark,) = remarks(caplog)
    assert text in remark


def test_calls_that_others_on_the_key_handle_are_not_named(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    processor = processor_class(answer_unknown=False)({"name": "depot"}, endpoint.eqk)
    with running(processor):
        endpoint.producer(rpc_timeout=0.1).call("nothing")
        wait_until(lambda: processor.counts["unhandled"] == 1, SOON)

    assert remarks(caplog) == []


def test_the_number_of_names_is_limited(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    processor = processor_class()({"name": "depot"}, endpoint.eqk)
    producer = endpoint.producer(confirm=False)
    with running(processor):
        for number in range(MOST_REMARKS + 20):
            producer.send(f"name {number}")
        wait_until(lambda: processor.counts["unhandled"] == MOST_REMARKS + 20, SOON)

    assert len(remarks(caplog)) == MOST_REMARKS + 1
    assert "over 100 names; further ones are only counted" in remarks(caplog)[-1]


@pytest.mark.behaviour("rpc-handlers")
def test_the_value_that_a_handler_returns_is_the_reply(endpoint: Endpoint) -> None:
    with running(processor_class()({"name": "depot"}, endpoint.eqk)):
        assert endpoint.producer().call("count").unwrap() == 5


# --- types


def test_a_handler_of_an_unknown_type_is_named_at_first_start(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    class Mistaken(messaging.MessageProcessor):
        @messaging.RpcHandler("count")
        def count(self, content: Any, reply: Any) -> None: ...

    processors = [Mistaken({"name": "x"}, endpoint.eqk) for _ in range(2)]
    assert remarks(caplog) == []
    with running(*processors):
        pass

    (remark,) = remarks(caplog)
    assert "count takes messages of the type 'count', which no message class here has" in remark


def test_a_handler_of_an_instance_is_named_too(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    processor = processor_class()({"name": "x"}, endpoint.eqk)

    @messaging.MessageHandler("alrm")
    def alarm(self: Any, content: Any) -> None: ...

    processor.add_handler(alarm)
    with running(processor):
        pass

    assert "alarm takes messages of the type 'alrm'" in remarks(caplog)[0]


class Alarm(messaging.Message):
    """A message of a user's own type."""

    type = "test-alarm"


def test_the_types_of_message_classes_are_known(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    class Listener(messaging.MessageProcessor):
        @messaging.MessageHandler("test-alarm")
        def alarm(self, content: Any) -> None: ...

        @messaging.MessageHandler("none")
        @messaging.MessageHandler("result")
        @messaging.MessageHandler("status", "online")
        def others(self, content: Any) -> None: ...

    with running(Listener({"name": "x"}, endpoint.eqk)):
        pass

    assert remarks(caplog) == []


# --- queues


@pytest.mark.behaviour("consumer-queues")
def test_a_processor_listens_to_the_queues_of_its_class(endpoint: Endpoint) -> None:
    kind = processor_class(eqk=endpoint.eqk)
    with running(kind({"name": "depot"})):
        assert endpoint.producer().call("count").value == 5


def test_the_argument_comes_before_the_class_and_its_consumer(endpoint: Endpoint) -> None:
    def at(suffix: str) -> Any:
        return endpoint.at((endpoint.sub(suffix), suffix))

    consumer = type("Consumer", (messaging.GenericConsumer,), {"eqk": at("c")})
    both = processor_class(consumer_class=consumer, eqk=at("p"))
    alone = processor_class(consumer_class=consumer)

    assert [key for _, key in both(None, at("a")).consumer.qk_list] == ["a"]
    assert [key for _, key in both().consumer.qk_list] == ["p"]
    assert [key for _, key in alone().consumer.qk_list] == ["c"]


def test_an_application_listens_to_the_queues_of_its_class_too(endpoint: Endpoint) -> None:
    application = type("App", (GenericApplication,), {"eqk": endpoint.eqk})({"name": "app"})

    assert (endpoint.queue, endpoint.key) in application.consumer.qk_list
    assert len(application.consumer.qk_list) > 7


def test_an_inherited_eqk_of_another_shape_is_refused(endpoint: Endpoint) -> None:
    kind = processor_class(eqk=(endpoint.exchange, [("q", "k")]))

    with pytest.raises(messaging.PostageError, match=r"eqk must be \[\(Exchange"):
        kind({"name": "depot"})


def test_a_processor_without_queues_says_so_when_it_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    processor = processor_class()({"name": "depot"})
    processor.start()
    processor.stop()

    assert "it listens to no queue: give it an eqk" in remarks(caplog)[0]


def test_a_consumer_without_queues_says_so_when_it_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    consumer = messaging.GenericConsumer()
    consumer.stop_consuming()
    consumer.start_consuming(print)

    assert "listens to no queue: give it an eqk" in remarks(caplog)[0]


# --- messages of other languages


@pytest.mark.behaviour("other-languages")
@pytest.mark.parametrize(
    "lacking",
    [
        {},
        {"version": 2},
        {"version": None},
        {"fingerprint": "text"},
        {"fingerprint": None, "_reserved": []},
        {"_reserved": 0, "extra": [1]},
    ],
    ids=str,
)
def test_what_a_message_lacks_is_filled_in_for_its_handlers(
    endpoint: Endpoint, raw: Raw, lacking: dict[str, Any]
) -> None:
    got: list[Any] = []

    class Whole(messaging.MessageProcessor):
        @messaging.MessageHandlerFullBody("command", "store")
        def store(self, body: Any) -> None:
            got.append(body)

    needed = {"type": "command", "name": "store", "category": "message", "content": {"a": 1}}
    with running(Whole({"name": "whole"}, endpoint.eqk)):
        raw.put(endpoint.queue, json.dumps(needed | lacking).encode())
        wait_until(lambda: got, SOON)

    extra = {"extra": [1]} if "extra" in lacking else {}
    assert got == [needed | {"version": "2", "fingerprint": {}, "_reserved": {}} | extra]
