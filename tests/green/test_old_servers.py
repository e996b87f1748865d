"""Calls to servers that return no correlation id, such as Postage 1.2.1."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.green.rpc.peers import PeerTable
from tests.support.old_server import answer_without_ids
from tests.support.running import SOON, running, warm

pytestmark = pytest.mark.usefixtures("broker_env")


class Server(messaging.MessageProcessor):
    """Replies with the parameters of the request."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])


@pytest.fixture
def old_server(endpoint, broker_env):
    """Reply to *count* calls from a native thread, *batch* at a time in reverse order."""
    threads: list[threading.Thread] = []

    def start(count: int, batch: int) -> None:
        arguments = (broker_env.hup, broker_env.vhost, endpoint.queue, count, batch)
        threads.append(threading.Thread(target=answer_without_ids, args=arguments))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_concurrent_replies_without_ids_reach_their_callers(endpoint, raw, old_server):
    messaging.GenericConsumer(endpoint.eqk)
    producer = endpoint.producer()
    old_server(20, batch=20)

    calls = [gevent.spawn(producer.rpc_echo, number) for number in range(20)]
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == list(range(20))


@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_a_server_without_ids_may_take_over_from_one_with_ids(endpoint, raw, old_server):
    """Its first reply comes on the shared queue and is dropped; the next try has its own queue."""
    green.close()  # and with it what is known of servers
    producer = endpoint.producer()
    with running(Server({"name": "server"}, endpoint.eqk)):
        warm(producer)
    old_server(3, batch=1)

    assert producer.rpc_echo("x", _timeout=0.5, _max_retry=1).value == "x"
    assert producer.rpc_echo("y", _max_retry=0).value == "y"


@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_shared_replies_without_ids_are_dropped(endpoint, raw, old_server):
    producer = endpoint.producer()
    with running(Server({"name": "server"}, endpoint.eqk)):
        warm(producer)
    old_server(4, batch=2)  # both calls, and both again: on reply queues of their own

    calls = [gevent.spawn(producer.rpc_echo, n, _timeout=0.5, _max_retry=1) for n in range(2)]
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == [0, 1]


@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_many_replies_without_ids_take_linear_time(endpoint, old_server, monkeypatch, caplog):
    green.close()  # and with it the count of such replies
    producer = endpoint.producer()
    with running(Server({"name": "server"}, endpoint.eqk)):
        warm(producer)
    recorded: list[Any] = []
    record = PeerTable.record
    monkeypatch.setattr(PeerTable, "record", lambda *a: recorded.append(a) or record(*a))
    old_server(200, batch=100)

    calls = [gevent.spawn(producer.rpc_echo, n, _timeout=2.5, _max_retry=1) for n in range(100)]
    gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == list(range(100))
    assert len(recorded) <= 200, "once for each call, and once for its reply"
    assert caplog.text.count("A reply without correlation id") == 3, "the 1st, 10th and 100th"
