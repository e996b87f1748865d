"""First calls, and calls to servers that return no id, on channels for direct replies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.green.amqp.channel import DIRECT
from postage.green.rpc import reply_channels
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, Taken
from tests.support.recovery import assert_nothing_is_left, pair_of
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


class Server:
    """A server of plain pika for many destinations, which answers when the test says so."""

    def __init__(self, raw: Raw, endpoint: Endpoint) -> None:
        self._raw, self._endpoint = raw, endpoint
        self.producer = endpoint.producer(rpc_timeout=SOON, max_retry=0)
        self.queue = raw.declare(endpoint.queue)
        raw.channel.exchange_declare(**endpoint.exchange.parameters)
        self._keys = map(str, itertools.count())

    def new_key(self) -> str:
        """Return the key of a destination that nobody has called."""
        key = next(self._keys)
        self._raw.channel.queue_bind(self.queue, self._endpoint.exchange.name, key)
        return key

    def call(self, key: str, **options: Any) -> gevent.Greenlet[..., Any]:
        """Start a call to the destination *key*."""
        return gevent.spawn(self.producer.rpc_balance, _key=key, **options)

    def take(self) -> Taken:
        """Return the next request."""
        return self._raw.take(self.queue, SOON)

    def answer(self, request: Taken, value: str, *, with_id: bool = True) -> None:
        """Answer *request*, as Postage 1.2.1 does if not *with_id*."""
        id_ = request.properties.correlation_id if with_id else None
        body = json.dumps(messaging.MessageResult(value).body).encode()
        self._raw.put(request.properties.reply_to, body, correlation_id=id_)

    @property
    def lends(self) -> bool:
        """Whether the broker is one on which channels are lent."""
        return bool(pair_of(self.producer).publishing.get().lends_reply_channels)

    @property
    def channels(self) -> int:
        """How many channels the caller has for what it publishes."""
        return len(pair_of(self.producer).publishing.statistics().channels)


@pytest.fixture
def server(raw: Raw, endpoint: Endpoint) -> Iterator[Server]:
    green.close()  # and with it what is known of servers, and channels
    made = Server(raw, endpoint)
    yield made
    assert_nothing_is_left(made.producer)


@pytest.mark.parametrize("with_id", [True, False], ids=["id", "no-id"])
def test_first_calls_need_no_queues_where_channels_do(server: Server, with_id: bool) -> None:
    before = server.channels
    for number in range(20):
        call = server.call(server.new_key())
        request = server.take()
        assert request.properties.reply_to.startswith(DIRECT) is server.lends
        server.answer(request, f"{number}", with_id=with_id)
        assert call.get(timeout=SOON).value == f"{number}"

    # That of all requests, and those of which the broker has not ended the last consumer yet.
    wait_until(lambda: server.channels <= before + 1 + reply_channels.MOST_IDLE, SOON)


def test_more_calls_than_channels_are_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_channels, "MOST_LENT", 3)
    monkeypatch.setattr(reply_channels, "MOST_IDLE", 1)
    before = server.channels
    calls = [server.call(server.new_key()) for _ in range(10)]
    requests = [server.take() for _ in calls]
    direct = [each for each in requests if each.properties.reply_to.startswith(DIRECT)]
    assert len(direct) == (3 if server.lends else 0)
    for each in requests:
        server.answer(each, each.routing_key, with_id=False)

    assert [each.value for each in outcomes(calls, SOON)] == [str(n) for n in range(10)]
    wait_until(lambda: server.channels <= before + 2, SOON, "channels are left")


@pytest.mark.parametrize("with_id", [True, False], ids=["id", "no-id"])
def test_no_answer_reaches_the_next_call_on_the_channel(server: Server, with_id: bool) -> None:
    late = server.call(server.new_key(), _timeout=0.1)
    first = server.take()
    assert late.get(timeout=SOON).value == "TimeoutError"

    call = server.call(server.new_key())
    second = server.take()
    server.answer(first, "late", with_id=with_id)
    assert_stays(lambda: not call.dead, 0.2)
    server.answer(second, "mine", with_id=with_id)

    assert call.get(timeout=SOON).value == "mine"


def test_calls_that_are_killed_leave_sound_channels(server: Server) -> None:
    for turns in range(8):  # of the hub, before the call is killed: few or all of its steps
        call = server.call(server.new_key())
        for _ in range(turns):
            gevent.sleep(0)
        call.kill()
    sent = server.call(server.new_key())
    request = server.take()
    sent.kill()

    key = server.new_key()
    call = server.call(key)
    while request.routing_key != key:
        request = server.take()
    server.answer(request, "mine", with_id=False)
    assert call.get(timeout=SOON).value == "mine"


class Echo(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


@pytest.mark.parametrize("at_once", [False, True], ids=["in-turn", "at-once"])
def test_first_calls_to_many_servers_are_answered(endpoint: Endpoint, at_once: bool) -> None:
    keys = [f"{number}" for number in range(200)]
    producer = endpoint.producer()
    with running(Echo({"name": "echo"}, endpoint.at(*((endpoint.queue, key) for key in keys)))):
        calls = []
        for key in keys:
            calls.append(gevent.spawn(producer.rpc_echo, key, _key=key))
            if not at_once:
                calls[-1].join()
        assert [call.get(timeout=SOON).value for call in calls] == keys
    assert_nothing_is_left(producer)


def test_a_loss_sends_the_call_again_on_another_channel(server: Server) -> None:
    call = server.call(server.new_key(), _max_retry=1)
    first = server.take()
    pair_of(server.producer).publishing.current.transport.cut()
    second = server.take()
    assert second.properties.correlation_id == first.properties.correlation_id
    server.answer(second, "mine")

    assert call.get(timeout=SOON).value == "mine"
