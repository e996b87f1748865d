"""Replies that no called server has sent: which of them reach a call, and what else they do."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.broker import BrokerThread
from postage.green.rpc.peers import RECEIPT, PeerState
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, Taken
from tests.support.recovery import calls_of, pair_of
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

FORGED = json.dumps(messaging.MessageResult("forged").body).encode()
SHORT = 0.2


class Echo(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Bank:
    """A server of plain pika, which answers when the test says so."""

    def __init__(self, raw: Raw, endpoint: Endpoint) -> None:
        self._raw, self._queue = raw, raw.declare(endpoint.queue)
        self.producer = endpoint.producer()
        self.producer.rpc_timeout = SOON
        self._declare(endpoint)

    def _declare(self, endpoint: Endpoint) -> None:
        self._raw.channel.exchange_declare(endpoint.exchange.name, "direct", durable=True)
        self._raw.channel.queue_bind(self._queue, endpoint.exchange.name, endpoint.key)

    def take(self) -> Taken:
        """Return the next request."""
        return self._raw.take(self._queue, SOON)

    def answer(self, request: Taken, value: str = "real") -> None:
        """Answer *request* in order."""
        body = json.dumps(messaging.MessageResult(value).body).encode()
        self.send(request, body, correlation_id=request.properties.correlation_id)

    def send(self, request: Taken, body: bytes = FORGED, **properties: Any) -> None:
        """Send anything to the reply queue of *request*."""
        self._raw.put(request.properties.reply_to, body, **properties)

    def serve(self) -> Taken:
        """Answer one call of the caller; return its request."""
        call = self.producer.rpc_balance.later()
        request = self.take()
        self.answer(request)
        assert call.get(timeout=SOON).value == "real"
        return request

    def learn(self) -> None:
        """Let the caller find that ids come back."""
        self.serve()

    @property
    def state(self) -> PeerState:
        """What the caller knows of this server."""
        ((exchange, key),) = self.producer.eks
        return calls_of(self.producer).peers[exchange.name, key]


@pytest.fixture
def bank(raw: Raw, endpoint: Endpoint) -> Iterator[Bank]:
    green.close()  # and with it what is known of servers, and counts
    return Bank(raw, endpoint)


def has_reached(counts: Counter[str], unmatched: int) -> bool:
    return counts["unmatched"] == unmatched


def neighbours(id_: str) -> list[str]:
    """Return the ids that somebody might expect after *id_*, or before."""
    found = [f"{int(id_, 16) + step:032x}" for step in (*range(-50, 0), *range(1, 51))]
    return [*found, id_[:16], id_.upper() + "0", id_[::-1]]


FORGERIES = {
    "no id": [{}],
    "an empty id": [{"correlation_id": ""}],
    "a huge id": [{"correlation_id": "f" * 255}],
    "an id that is no text": [{"correlation_id": "\x00\x1b[2J"}],
    "a receipt without an id": [{"type": RECEIPT}],
    "a receipt of another call": [{"type": RECEIPT, "correlation_id": "1"}],
    "the id as a message id": [{"message_id": "1", "user_id": "guest"}],
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_reply_on_the_shared_queue_is_dropped(bank: Bank, forged: Any) -> None:
    bank.learn()
    call = bank.producer.rpc_balance.later()
    request = bank.take()
    for properties in forged:
        bank.send(request, **properties)
    assert_stays(lambda: not call.ready(), SHORT)
    bank.answer(request)

    assert call.get(timeout=SOON).value == "real"
    assert bank.state is not PeerState.CLASSIC


def test_ids_of_earlier_calls_and_their_neighbours_fit_no_call(bank: Bank) -> None:
    bank.learn()
    seen = [bank.serve().properties.correlation_id for _ in range(3)]
    call = bank.producer.rpc_balance.later()
    request = bank.take()
    for id_ in [*seen, *itertools.chain.from_iterable(map(neighbours, seen))]:
        bank.send(request, correlation_id=id_)
    late = calls_of(bank.producer).counts
    wait_until(lambda: late["late"] >= 100 * len(seen), SOON)
    bank.answer(request)

    assert call.get(timeout=SOON).value == "real"


def test_ids_of_calls_and_messages_share_nothing(bank: Bank, raw: Raw) -> None:
    bank.learn()
    ids = []
    for _ in range(20):
        bank.producer.message_note()
        ids.append(bank.take().properties.message_id)
        ids.append(bank.serve().properties.correlation_id)

    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    parts = {each[at : at + 8] for each in ids for at in range(0, 32, 8)}
    assert len(parts) == len(ids) * 4


def test_ids_of_two_pairs_differ(bank: Bank, endpoint: Endpoint) -> None:
    def in_thread() -> list[str]:
        pair = pair_of(endpoint.producer())
        found = [pair.new_id() for _ in range(300)]
        green.close()  # the thread belongs to a pool, and does not end with this function
        return found

    ids: list[str] = gevent.get_hub().threadpool.apply(in_thread)
    ours = [pair_of(bank.producer).new_id() for _ in range(300)]

    assert len({*ids, *ours}) == 600


def test_the_id_of_another_call_does_not_end_a_call(bank: Bank) -> None:
    """Its reply arrives on the wrong queue: the shared one."""
    bank.learn()
    calls = [bank.producer.rpc_balance.later() for _ in range(2)]
    first, second = bank.take(), bank.take()
    bank.answer(second, "second")
    bank.answer(second, "again")  # a second reply
    wait_until(lambda: calls_of(bank.producer).counts["late"] == 1, SOON)
    bank.answer(first, "first")

    assert [call.get(timeout=SOON).value for call in calls] == ["first", "second"]


def test_a_reply_after_the_timeout_ends_no_other_call(bank: Bank) -> None:
    bank.learn()
    call = bank.producer.rpc_balance.later(_timeout=SHORT)
    late = bank.take()
    assert call.get(timeout=SOON).value == "TimeoutError"
    call = bank.producer.rpc_balance.later()
    request = bank.take()
    bank.answer(late, "late")
    assert_stays(lambda: not call.ready(), SHORT)
    bank.answer(request)

    assert call.get(timeout=SOON).value == "real"


def test_a_probe_takes_no_reply_with_a_wrong_id(bank: Bank) -> None:
    call = bank.producer.rpc_balance.later()
    request = bank.take()
    assert request.properties.type == RECEIPT
    bank.send(request, correlation_id="0" * 32)
    bank.send(request, correlation_id="")
    assert_stays(lambda: not call.ready(), SHORT)
    bank.answer(request)

    assert call.get(timeout=SOON).value == "real"


@pytest.mark.parametrize("body", [b"", FORGED], ids=["empty", "a reply"])
def test_a_receipt_never_ends_a_call(bank: Bank, body: bytes) -> None:
    call = bank.producer.rpc_balance.later()
    request = bank.take()
    bank.send(request, body, type=RECEIPT, correlation_id=request.properties.correlation_id)
    assert_stays(lambda: not call.ready(), SHORT)
    assert bank.state is PeerState.ECHOES
    bank.answer(request)

    assert call.get(timeout=SOON).value == "real"


def test_replies_without_ids_do_not_end_the_sharing(bank: Bank) -> None:
    """A server that was called once knows the queue, and would make all other calls dear."""
    bank.learn()
    counts = calls_of(bank.producer).counts
    for forged in (10, 20, 30):
        call = bank.producer.rpc_balance.later()
        request = bank.take()
        for _ in range(10):
            bank.send(request)
        wait_until(partial(has_reached, counts, forged), SOON)
        bank.answer(request)
        assert call.get(timeout=SOON).value == "real"
        bank.learn()

    assert bank.state is PeerState.ECHOES
    assert len({bank.serve().properties.reply_to for _ in range(3)}) == 1


def test_an_echo_server_cannot_forge_for_others(bank: Bank, raw: Raw, endpoint: Endpoint) -> None:
    """It copies whatever reply queue and id a request names."""
    exchange, queue = endpoint.exchange, endpoint.sub("echo")
    with running(Echo({"name": "echo"}, [(exchange, [(queue, "echo")])])):
        bank.learn()
        call = bank.producer.rpc_balance.later()
        request = bank.take()
        known = request.properties.correlation_id
        body = json.dumps(messaging.RpcCommand("echo", "forged").body).encode()
        to = request.properties.reply_to
        for id_ in neighbours(known):
            raw.send(exchange.name, "echo", body, reply_to=to, correlation_id=id_)
        raw.send(exchange.name, "echo", body, reply_to=to)
        counts = calls_of(bank.producer).counts
        wait_until(lambda: counts["late"] >= 100 and counts["unmatched"] == 1, SOON)
        bank.answer(request)

        assert call.get(timeout=SOON).value == "real"


def test_direct_replies_cannot_be_forged_either(endpoint: Endpoint) -> None:
    with BrokerThread() as broker:
        hup = {"host": "127.0.0.1", "port": broker.port, "user": "guest", "password": "guest"}
        broker.faults.refuse_declare("", 403, "ACCESS_REFUSED - access to queue 'amq.gen-1'")
        server = Raw(hup, "/")
        server.declare(endpoint.queue)
        server.channel.exchange_declare(endpoint.exchange.name, "direct", durable=True)
        server.channel.queue_bind(endpoint.queue, endpoint.exchange.name, endpoint.key)
        producer = endpoint.producer(hup=hup, vhost="/")
        for turn in range(2):
            call = producer.rpc_balance.later()
            request = server.take(endpoint.queue, SOON)
            to, id_ = request.properties.reply_to, request.properties.correlation_id
            assert to.startswith("amq.rabbitmq.reply-to.")
            if turn:  # the probe is answered so by a server that does not know ids
                server.put(to, FORGED)
                for wrong in ("", *neighbours(id_)):
                    server.put(to, FORGED, correlation_id=wrong)
            assert_stays(lambda call=call: not call.ready(), SHORT)
            real = json.dumps(messaging.MessageResult(turn).body).encode()
            server.put(to, real, correlation_id=id_)
            assert call.get(timeout=SOON).value == turn
        server.connection.close()
        green.close(1.0)
