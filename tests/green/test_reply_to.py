"""Which reply queues a server lets its callers name, and what it sends to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postage import PRIVATE_QUEUES, messaging
from postage.addressing import matches_any
from postage.errors import SettingsError
from postage.green.rpc.peers import RECEIPT
from postage.testing.polling import wait_until
from tests.support.bad_bodies import body
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

CALL = json.dumps(messaging.RpcCommand("echo", "junk").body).encode()
UNKNOWN = json.dumps(messaging.RpcCommand("other").body).encode()
FAILING = json.dumps(messaging.RpcCommand("fail").body).encode()


class Echo(messaging.MessageProcessor):
    reply_to = PRIVATE_QUEUES

    def __init__(self, *args: Any) -> None:
        self.handled: list[Any] = []
        super().__init__(*args)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        self.handled.append(content["parameters"])
        reply(content["parameters"])

    @messaging.RpcHandler("command", "fail")
    def fail(self, _content: Any, _reply: Any) -> None:
        raise RuntimeError


class Anyone(Echo):
    reply_to = None


class Partners(Echo):
    reply_to = (*PRIVATE_QUEUES, "*-replies")


REQUESTS = {
    "a call": CALL,
    "an unknown call": UNKNOWN,
    "a failing call": FAILING,
    "no JSON": b"{",
    "another version": body(category="rpc", name="echo", version="7"),
    "a malformed message": body(name="echo", content=3),
}


@pytest.mark.parametrize("type_", [None, RECEIPT])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_queue_that_is_not_allowed_gets_nothing(
    endpoint: Endpoint, raw: Raw, request_: bytes, type_: str | None
) -> None:
    victim, server = raw.declare(endpoint.sub("payments")), Echo(None, endpoint.strict)
    raw.declare(endpoint.dead)
    with running(server):
        raw.put(endpoint.queue, request_, reply_to=victim, type=type_, correlation_id="1")
        raw.take(endpoint.dead, SOON)
        assert_stays(lambda: not raw.count(victim), 0.1)

        assert server.handled == []
        assert server.counts["malformed"] == 1
        assert endpoint.producer().rpc_echo("x").value == "x"


def test_callers_with_postage_are_allowed_by_private_queues(endpoint: Endpoint, raw: Raw) -> None:
    own = raw.declare("", durable=False, exclusive=True)
    with running(Echo(None, endpoint.eqk)):
        producer = endpoint.producer()
        assert [producer.rpc_echo(n).value for n in range(3)] == [0, 1, 2]
        assert producer.rpc_fail().value == "RuntimeError"
        queue = producer.rpc_echo("later", _queue_only=True)
        (result,) = producer.consume_rpc(queue)
        assert result.value == "later"
        raw.put(endpoint.queue, CALL, reply_to=own)
        assert raw.take(own, SOON).value["content"]["value"] == "junk"


def test_a_request_without_reply_to_is_handled(endpoint: Endpoint, raw: Raw) -> None:
    server = Echo(None, endpoint.eqk)
    with running(server):
        raw.put(endpoint.queue, CALL)
        raw.put(endpoint.queue, CALL, reply_to="")
        wait_until(lambda: len(server.handled) == 2, SOON)
    assert not server.counts["malformed"]


def test_patterns_of_a_class_may_allow_named_queues(endpoint: Endpoint, raw: Raw) -> None:
    named, other = raw.declare(endpoint.sub("replies")), raw.declare(endpoint.sub("replies2"))
    server = Partners(None, endpoint.eqk)
    with running(server):
        raw.put(endpoint.queue, CALL, reply_to=other)
        raw.put(endpoint.queue, CALL, reply_to=named)
        assert raw.take(named, SOON).value["content"]["value"] == "junk"
        wait_until(lambda: server.counts["malformed"] == 1, SOON)
        assert not raw.count(other)


@pytest.mark.parametrize("id_", [None, "1"])
def test_no_named_queue_gets_a_receipt(endpoint: Endpoint, raw: Raw, id_: str | None) -> None:
    """A receipt would double what a request makes the server publish."""
    named = raw.declare(endpoint.sub("replies"))
    with running(Anyone(None, endpoint.eqk)):
        for _ in range(3):
            raw.put(endpoint.queue, CALL, reply_to=named, type=RECEIPT, correlation_id=id_)
        got = [raw.take(named, SOON) for _ in range(3)]
        assert [each.properties.type for each in got] == [None] * 3
        assert_stays(lambda: not raw.count(named), 0.1)


@pytest.mark.parametrize(("id_", "count"), [(None, 1), ("1", 2)])
def test_one_receipt_is_sent_if_the_request_has_an_id(
    endpoint: Endpoint, raw: Raw, id_: str | None, count: int
) -> None:
    own = raw.declare("", durable=False, exclusive=True)
    with running(Anyone(None, endpoint.eqk)):
        raw.put(endpoint.queue, CALL, reply_to=own, type=RECEIPT, correlation_id=id_)
        got = [raw.take(own, SOON) for _ in range(count)]
        assert [each.properties.type for each in got] == [RECEIPT, None][-count:]
        assert_stays(lambda: not raw.count(own), 0.1)


@pytest.mark.parametrize(
    "name",
    [
        *("payments", "AMQ.GEN-1", "x.amq.gen-1", "amq.genx", "amq.rabbitmq.reply-to", "", None),
        *("\namq.gen-1", "amq.rabbitmq.trace", 7),
    ],
    ids=repr,
)
def test_names_that_only_look_private_do_not_match(name: Any) -> None:
    assert not matches_any(name, PRIVATE_QUEUES)
    assert matches_any("amq.gen-\n[x]", PRIVATE_QUEUES)


@pytest.mark.parametrize("wrong", ["private", "amq.gen-*", (), [""], (7,), {"a"}, True], ids=repr)
def test_wrong_patterns_are_refused(endpoint: Endpoint, wrong: Any) -> None:
    made = type("Wrong", (Echo,), {"reply_to": wrong})
    with pytest.raises(SettingsError, match="reply_to"):
        made(None, endpoint.eqk)
