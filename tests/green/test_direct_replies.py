"""Direct reply-to: the way in which clients in other languages call, and hostile ones may."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pika
import pytest

from postage import green, messaging
from postage.broker import BrokerThread
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.bad_bodies import body
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, parameters
from tests.support.recovery import pair_of
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

PREFIX = "amq.rabbitmq.reply-to"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


HOSTILE = {
    "an atom that is no process": f"{PREFIX}.{encoded(bytes((131, 119, 3)) + b'abc')}.a2V5",
    "a number": f"{PREFIX}.{encoded(bytes((131, 97, 3)))}.a2V5",
    "no base64": f"{PREFIX}.!!!.!!!",
    "nothing": f"{PREFIX}.",
    "one part": f"{PREFIX}.AAAA",
    "a node that left": f"{PREFIX}.g1h2AA5yZXBseUAyOTI1MDgwMAAAeVgAAAABawtoyw==.2M1DaHL6jg==",
}


class Echo(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[Echo]:
    made = Echo({"name": "echo"}, endpoint.eqk)
    with running(made):
        yield made


def request(value: Any, **changed: Any) -> bytes:
    return body(category="rpc", name="echo", content={"parameters": value}, **changed)


def called(endpoint: Endpoint, broker_env: Any, *bodies: bytes) -> list[Any]:
    """Send *bodies* as clients in other languages do; return the contents of the replies."""
    got: list[Any] = []
    where = parameters(broker_env.hup, broker_env.vhost)
    with pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.basic_consume(
            PREFIX, lambda *delivery: got.append(json.loads(delivery[3])["content"]), auto_ack=True
        )
        for each in bodies:
            properties = pika.BasicProperties(reply_to=PREFIX, correlation_id="1")
            channel.basic_publish(endpoint.exchange.name, endpoint.key, each, properties)
        for _ in range(100):
            connection.process_data_events(0.1)
            if len(got) >= len(bodies):
                break
    return got


def in_thread(*args: Any) -> list[Any]:
    found: list[Any] = gevent.get_hub().threadpool.apply(called, args)
    return found


def returned() -> int:
    return sum(channel.returned for each in green.statistics() for channel in each.channels)


@pytest.mark.parametrize("count", [1, 50])
def test_direct_replies_arrive_and_do_not_count_as_lost(
    endpoint: Endpoint,
    broker_env: Any,
    server: Echo,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    before, lost = returned(), pair_of(server.consumer).lost_replies
    with caplog.at_level(logging.INFO, "postage"):
        got = in_thread(endpoint, broker_env, *(request(n) for n in range(count)))
        assert [each["value"] for each in got] == list(range(count))
        assert_stays(lambda: returned() == before, 0.2)

    assert pair_of(server.consumer).lost_replies == lost
    assert not [each for each in caplog.records if "returned" in each.getMessage()]


@pytest.mark.parametrize("bad", [b"{", request(1)[:-1], request(1, version="7")])
def test_direct_callers_are_told_of_malformed_requests(
    endpoint: Endpoint, broker_env: Any, server: Echo, bad: bytes
) -> None:
    (content,) = in_thread(endpoint, broker_env, bad)

    assert (content["type"], content["value"]) == ("exception", "MalformedMessage")


@pytest.mark.parametrize("key", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("bad", [False, True], ids=["a request", "a malformed one"])
def test_a_hostile_key_costs_others_nothing(
    endpoint: Endpoint, raw: Raw, server: Echo, key: str, bad: bool
) -> None:
    caller, pair = endpoint.producer(), pair_of(server.consumer)
    assert caller.rpc_echo(0).value == 0
    losses = pair.publishing.losses, pair.consuming.losses
    for _ in range(3):
        raw.put(endpoint.queue, b"{" if bad else request(1), reply_to=key, correlation_id="1")
        runs = [gevent.spawn(caller.rpc_echo, n) for n in range(20)]
        assert [each.value for each in outcomes(runs, SOON)] == list(range(20))
    wait_until(lambda: server.counts["malformed" if bad else "handled"] >= 3, SOON)

    assert_stays(lambda: losses == (pair.publishing.losses, pair.consuming.losses), 0.3)


def test_direct_replies_replace_a_reply_queue_that_is_refused(endpoint: Endpoint) -> None:
    with BrokerThread() as broker:
        hup = {"host": "127.0.0.1", "port": broker.port, "user": "guest", "password": "guest"}
        caller = endpoint.producer(hup=hup, vhost="/")
        with running(Echo({"name": "echo"}, endpoint.eqk, hup, "/")):
            broker.faults.refuse_declare("", 403, "ACCESS_REFUSED - access to queue 'amq.gen-1'")
            runs = [gevent.spawn(caller.rpc_echo, n) for n in range(20)]

            assert [each.value for each in outcomes(runs, SOON)] == list(range(20))
        green.close(1.0)
