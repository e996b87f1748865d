"""Bad input: nothing that anybody sends, returns or raises ends a processor or hurts another."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.bad_bodies import BAD, GOOD, ODD, body
from tests.support.bad_errors import RAISERS
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.raw import raw_to
from tests.support.recovery import calls_of
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


def recursive() -> list[Any]:
    """Return a list that holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    return endless


UNSENDABLE: dict[str, Any] = {
    "an object": object(),
    "bytes": b"bytes",
    "NaN": math.nan,
    "infinity": math.inf,
    "a complex number": 1j,
    "a set of sets of bytes": {b"x"},
    "a list that holds itself": recursive(),
    "a key that is no text": {(1, 2): 3},
    "something deep inside": {"a": [{"b": object()}]},
    "a result with an object": messaging.MessageResult(object()),
    "a generator": (number for number in ()),
}


class Victim(messaging.MessageProcessor):
    """Takes what comes; its dead letters can be counted."""

    def __init__(self, *args: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "note")
    def note(self, content):
        self.seen.append(content)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        self.seen.append(content)
        reply_func(content["parameters"])

    @messaging.MessageHandler("command", "fail")
    def fail(self, content):
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "fail")
    def fail_to_answer(self, content, reply_func):
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "answer_then_fail")
    def answer_then_fail(self, content, reply_func):
        reply_func("answered")
        RAISERS[content["parameters"]][1]()

    @messaging.RpcHandler("command", "unsendable")
    def unsendable(self, content, reply_func):
        reply_func(UNSENDABLE[content["parameters"]])

    @messaging.RpcHandler("command", "second_thoughts")
    def second_thoughts(self, content, reply_func):
        try:
            reply_func(object())
        except ValueError:
            reply_func("something else, then")

    @messaging.RpcHandler("command", "chatter")
    def chatter(self, content, reply_func):
        for number in range(content["parameters"]):
            reply_func(number)

    @messaging.RpcHandler("command", "no_result")
    def no_result(self, content, reply_func):
        reply_func(messaging.MessageCommand("this is a command"))


class Case:
    """The victim, running, and whatever a test needs around it."""

    def __init__(self, endpoint: Any, raw: Any, victim: Victim, producer: Any, caplog: Any) -> None:
        self.endpoint, self.raw, self.victim, self.producer = endpoint, raw, victim, producer
        self.caplog = caplog

    def put(self, data: bytes, **properties: Any) -> None:
        """Put *data* into the queue of the victim."""
        self.raw.put(self.endpoint.queue, data, **properties)

    def assert_rejected(self, data: bytes) -> None:
        """Check that the next dead letter is *data*, rejected."""
        dead = self.raw.take(self.endpoint.dead)
        assert dead.body == data
        assert [death["reason"] for death in dead.properties.headers["x-death"]] == ["rejected"]

    def assert_lives(self) -> None:
        """Check that the victim answers, and that nothing was left or put back in its queue."""
        assert self.producer.rpc_echo("alive").value == "alive"
        wait_until(lambda: self.raw.count(self.endpoint.queue) == 0, SOON)
        assert self.raw.count(self.endpoint.dead) == 0

    def logged(self, level: int = logging.WARNING) -> list[logging.LogRecord]:
        """Return what Postage has logged at *level* and above."""
        records = [r for r in self.caplog.records if r.name.startswith("postage")]
        return [record for record in records if record.levelno >= level]


@pytest.fixture(scope="module")
def stage(broker_env):
    """One endpoint and one connection of plain pika for all tests, as making them takes time."""
    endpoint = Endpoint("bad-input")
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.declare(endpoint.dead)
        yield endpoint, raw


@pytest.fixture
def case(stage, caplog):
    endpoint, raw = stage
    caplog.set_level(logging.INFO, "postage")
    victim = Victim({"name": "victim"}, endpoint.strict)
    for queue in (endpoint.queue, endpoint.dead):
        raw.channel.queue_purge(queue)
    with running(victim):
        yield Case(endpoint, raw, victim, endpoint.producer(), caplog)


def test_the_table_is_as_long_as_promised():
    assert len(BAD) + len(ODD) + len(RAISERS) >= 70


# --- bodies


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_malformed_body_is_rejected_counted_and_logged_once(case, data):
    case.put(data)
    case.assert_rejected(data)

    case.assert_lives()
    assert case.victim.counts["malformed"] == 1
    (record,) = case.logged()
    assert record.levelno == logging.ERROR
    assert len(record.getMessage()) < 500
    assert case.victim.seen == [{"parameters": "alive"}]


@pytest.mark.behaviour("other-languages", "message-outcomes")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "utf-16", "%s" * 100])
def test_the_encoding_of_a_malformed_body_is_named(case, encoding):
    case.put(b"\x1b\x07\x00\xf8", content_encoding=encoding)
    case.assert_rejected(b"\x1b\x07\x00\xf8")

    (record,) = case.logged()
    assert f"its content_encoding is {encoding[:40]!r}" in record.getMessage()


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_an_odd_message_is_handled_or_ignored(case, data):
    case.put(data)

    case.assert_lives()
    wait_until(lambda: case.victim.counts.total() == 2, SOON)
    expected = json.loads(data)
    taken = (expected["type"], expected["name"]) == ("command", "note")
    assert case.victim.seen == [expected["content"]] * taken + [{"parameters": "alive"}]
    assert case.victim.counts["unhandled"] == (not taken)
    texts = [record.getMessage() for record in case.logged()]
    assert len(texts) == (not taken)
    assert all("has no handler" in text and len(text) < 500 for text in texts)
    assert all(text.isprintable() for text in texts)


@pytest.mark.behaviour("other-languages", "message-outcomes")
@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/octet-stream", "content_encoding": "gzip"},
        {"content_type": ""},
        {"content_type": "x" * 255},
        {"content_type": b"\xff\xfe"},
        {"headers": {"a": {"b": [1, None, {"c": "d" * 1000}]}}},
        {"message_id": b"\xff\xfe", "type": "\u20ac", "app_id": "%s"},
        {"timestamp": 2**63},
        {"priority": 255},
        {"expiration": "60000", "reply_to": "nobody asked", "correlation_id": "x"},
    ],
    ids=repr,
)
def test_odd_properties_do_not_matter(case, properties):
    case.put(body(), **properties)

    case.assert_lives()
    wait_until(lambda: {"parameters": "good"} in case.victim.seen, SOON)
    assert case.logged() == []


@pytest.mark.behaviour("message-outcomes")
def test_a_flood_of_bad_bodies_does_not_hold_the_good_ones_up(case):
    small = [data for data in BAD.values() if len(data) < 10_000]
    for data in small:
        case.put(data)
        case.put(body())
    wait_until(lambda: case.victim.counts["malformed"] == len(small), SOON)
    wait_until(lambda: case.raw.count(case.endpoint.dead) == len(small), SOON)

    assert case.producer.rpc_echo("alive").value == "alive"
    assert case.victim.seen.count({"parameters": "good"}) == len(small)


# --- calls


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


# --- handlers


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("what", RAISERS)
def test_a_message_whose_handler_raises_is_rejected_and_logged(case, what):
    data = body(name="fail", content={"parameters": what})
    case.put(data)

    case.assert_rejected(data)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    (record,) = case.logged(logging.INFO)
    assert "Victim.fail" in record.getMessage()
    if "reject" in what.lower():
        assert (record.levelno, record.exc_info) == (logging.INFO, None)
    else:
        assert record.levelno == logging.ERROR
        assert type(record.exc_info[1]).__name__ == RAISERS[what][0]


@pytest.mark.behaviour("rpc-handlers", "message-outcomes")
@pytest.mark.parametrize("what", RAISERS)
def test_whatever_an_rpc_handler_raises_its_caller_gets_to_know(case, what):
    result = case.producer.rpc_fail(what)

    assert isinstance(result, messaging.MessageResultException)
    assert result.value == RAISERS[what][0]
    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    assert len(case.logged(logging.INFO)) == 1


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("what", ["ValueError", "SystemExit", "GreenletExit"])
def test_an_answer_given_before_the_handler_raised_stands(case, what):
    assert case.producer.rpc_answer_then_fail(what).value == "answered"

    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()
    assert case.victim.counts["failed"] == 1
    assert case.victim.counts["second_reply"] == 0


# --- replies


@pytest.mark.behaviour("rpc-handlers")
@pytest.mark.parametrize("times", [2, 5])
def test_replies_after_the_first_are_counted_and_dropped(case, times):
    assert case.producer.rpc_chatter(times).value == 0

    case.assert_lives()
    assert case.victim.counts["second_reply"] == times - 1
    assert len(case.logged()) == 1  # the others are counted


@pytest.mark.behaviour("encoders", "rpc-handlers")
@pytest.mark.parametrize("what", UNSENDABLE)
def test_a_reply_that_cannot_be_encoded_is_an_exception_result(case, what):
    result = case.producer.rpc_unsendable(what)

    assert result.value == "EncodingError"
    assert "content.value" in result.message
    assert case.raw.take(case.endpoint.dead)
    case.assert_lives()


@pytest.mark.behaviour("rpc-handlers")
def test_another_reply_may_follow_one_that_cannot_be_encoded(case):
    assert case.producer.rpc_second_thoughts().value == "something else, then"
    case.assert_lives()
    assert case.logged() == []


@pytest.mark.behaviour("rpc-queue-only")
def test_a_reply_that_is_no_result_is_malformed_for_its_caller(case):
    result = case.producer.rpc_no_result()

    assert isinstance(result, messaging.MessageResultError)
    assert result.message.startswith("Malformed reply")
    case.assert_lives()


@pytest.fixture
def waiting(case):
    """A caller that waits on the shared reply queue, and the properties of its request."""
    case.assert_lives()  # now the caller knows that this destination echoes ids
    case.victim.stop_consuming()
    wait_until(lambda: case.raw.consumers(case.endpoint.queue) == 0, SOON)
    caller = gevent.spawn(case.producer.rpc_echo, "mine")
    request = case.raw.take(case.endpoint.queue)
    yield case, caller, request.properties
    caller.kill()


REPLY = json.dumps(messaging.MessageResult("mine").body).encode()


@pytest.mark.behaviour("rpc-timeout")
@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ({"correlation_id": "somebody else's"}, "late"),
        ({"correlation_id": ""}, "late"),
        ({"correlation_id": b"\xff"}, "late"),
    ],
    ids=["another id", "an empty id", "an id that is no text"],
)
@pytest.mark.parametrize(
    "stray",
    [REPLY.replace(b"mine", b"other"), b"", b"\xff" * 100],
    ids=["a reply", "an empty body", "no text"],
)
def test_a_reply_to_nobody_is_counted_and_dropped(waiting, ids, count, stray):
    case, caller, request = waiting
    before = calls_of(case.producer).counts[count]

    case.raw.put(request.reply_to, stray, **ids)
    wait_until(lambda: calls_of(case.producer).counts[count] == before + 1, SOON)
    assert not caller.dead
    case.raw.put(request.reply_to, REPLY, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).value == "mine"


@pytest.mark.behaviour("rpc-timeout")
def test_a_second_reply_to_the_same_call_is_dropped(waiting):
    case, caller, request = waiting
    before = calls_of(case.producer).counts["late"]
    for _ in range(2):
        case.raw.put(request.reply_to, REPLY, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).value == "mine"
    wait_until(lambda: calls_of(case.producer).counts["late"] == before + 1, SOON)


@pytest.mark.behaviour("rpc-queue-only")
@pytest.mark.parametrize(
    "reply", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"content": 7}']
)
def test_a_malformed_reply_is_an_error_for_its_caller_only(waiting, reply):
    case, caller, request = waiting
    other = gevent.spawn(case.producer.rpc_echo, "other")
    case.raw.put(request.reply_to, reply, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).message.startswith("Malformed reply")
    other_request = case.raw.take(case.endpoint.queue).properties
    case.raw.put(other_request.reply_to, REPLY, correlation_id=other_request.correlation_id)
    assert other.get(timeout=SOON).value == "mine"
