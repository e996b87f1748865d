"""Bad calls: whatever their bodies and properties, the processor lives and callers are told."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.green.bad_input.victim import Victim
from tests.support.bad_bodies import BAD, GOOD, body
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


def call(name: str, parameters: Any = None) -> bytes:
    """Return the body of a call."""
    content = {"parameters": parameters}
    return json.dumps(GOOD | {"category": "rpc", "name": name, "content": content}).encode()


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("reply_to", [{}, {"reply_to": b"\xff\xfe"}], ids=["none", "not UTF-8"])
@pytest.mark.parametrize("name", ["echo", "nobody_handles_this"])
def test_a_call_that_cannot_be_answered_is_handled_and_logged(case, name, reply_to):
    case.put(call(name), correlation_id="x", **reply_to)

    def losses() -> list[str]:
        texts = [record.getMessage() for record in case.logged()]
        return [text for text in texts if "has no handler" not in text]

    wait_until(losses, SOON)
    case.assert_lives()
    (text,) = losses()
    assert "reply_to" in text


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize(
    "reply_to",
    ["no.such.queue", "x" * 255, "\u20ac \n%s"],
    ids=["gone", "as long as can be", "odd letters"],
)
@pytest.mark.parametrize("name", ["echo", "nobody_handles_this"])
def test_a_call_whose_reply_queue_is_gone_is_handled_and_logged(case, reply_to, name):
    case.put(call(name), reply_to=reply_to, correlation_id="x")

    wait_until(lambda: case.logged(logging.INFO), SOON)
    case.assert_lives()
    (record,) = case.logged(logging.INFO)
    assert "its caller has ended" in record.getMessage()


SERVER_ONLY = """
import logging, sys
from postage import green, messaging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
green.run(messaging.MessageProcessor({}, [(messaging.Exchange, [(sys.argv[1], "k")])]))
"""


@pytest.mark.behaviour("rpc-handlers")
def test_a_program_that_only_answers_logs_lost_replies_too(endpoint, raw):
    raw.declare(endpoint.queue)
    raw.put(endpoint.queue, call("echo"), reply_to="no.such.queue")
    raw.put(endpoint.queue, body(name="quit"))
    with Program("-c", SERVER_ONLY, endpoint.queue) as program:
        assert program.wait().code == 0
        program.wait_for_line("its caller has ended")


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("correlation_id", ["", "x" * 255, b"\xff\xfe", "\u20ac"], ids=repr)
def test_any_correlation_id_comes_back_as_it_was(case, correlation_id):
    replies = case.raw.declare("", exclusive=True, durable=False)
    case.put(call("echo", 1), reply_to=replies, correlation_id=correlation_id)

    assert case.raw.take(replies).properties.correlation_id == correlation_id
    case.assert_lives()


@pytest.mark.behaviour("rpc-handlers")
def test_a_call_with_unusable_content_is_an_exception_result(case):
    replies = case.raw.declare("", exclusive=True, durable=False)
    data = json.dumps(GOOD | {"category": "rpc", "name": "echo", "content": {}}).encode()
    case.put(data, reply_to=replies)

    content = json.loads(case.raw.take(replies).body)["content"]
    assert (content["type"], content["value"]) == ("exception", "KeyError")
    case.assert_rejected(data)
    case.assert_lives()


@pytest.mark.behaviour("rpc-handlers", "message-outcomes")
@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_malformed_call_is_rejected_and_answered(case, data):
    replies = case.raw.declare("", exclusive=True, durable=False)
    case.put(data, reply_to=replies, correlation_id="x", expiration="60000")

    reply = case.raw.take(replies)
    content = json.loads(reply.body)["content"]
    assert reply.properties.correlation_id == "x"
    assert (content["type"], content["value"]) == ("exception", "MalformedMessage")
    assert content["message"]
    case.assert_rejected(data)
    case.assert_lives()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"reply_to": ""},
        {"reply_to": "no such queue"},
        {"reply_to": "x" * 255},
        {"reply_to": "amq.rabbitmq.reply-to.AAAA"},
        {"correlation_id": "y"},
    ],
    ids=str,
)
def test_a_malformed_call_that_nobody_waits_for_does_no_harm(case, properties):
    case.put(b"{", **properties)

    case.assert_rejected(b"{")
    case.assert_lives()
    assert case.victim.counts["lost_reply"] == 0


class Reversed(messaging.JsonEncoder):
    content_type = "application/x-reversed"

    @classmethod
    def encode(cls, data):
        return super().encode(data)[::-1]

    @classmethod
    def decode(cls, string):
        return super().decode(string[::-1])


@pytest.mark.parametrize("reversed_server", [True, False])
def test_callers_with_another_encoder_are_told(stage, reversed_server):
    class Consumer(messaging.GenericConsumer):
        encoder_class = Reversed if reversed_server else messaging.JsonEncoder

    class Server(Victim):
        consumer_class = Consumer

    endpoint = Endpoint(f"encoders-{reversed_server}")
    encoder = messaging.JsonEncoder if reversed_server else Reversed
    with running(Server({"name": "victim"}, endpoint.eqk)):
        result = endpoint.producer(encoder_class=encoder).rpc_echo(1)

    assert result.value == "MalformedMessage"
    assert result.message.startswith("not JSON in UTF-8")
