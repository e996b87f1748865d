"""Calls of a user who may not declare anything: by direct reply-to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.errors import ChannelRefused
from postage.green.rpc.peers import PeerEvent
from postage.green.rpc.reply_channels import MOST_IDLE
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint, exchange
from tests.support.recovery import GatedServer, calls_of, pair_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

pytestmark = [
    pytest.mark.usefixtures("broker_env"),
    pytest.mark.needs_rabbitmq("permissions"),
]

AT_ONCE = 2.0


@pytest.fixture(scope="module")
def hup(broker_env: Any, rabbitmq: Any) -> Any:
    """The login of a user who may write and read, and configure nothing."""
    control(rabbitmq, "add_user", "bystander", "pw")
    control(rabbitmq, "set_permissions", "--vhost", broker_env.vhost, "bystander", "^$", ".*", ".*")
    return {**broker_env.hup, "user": "bystander", "password": "pw"}


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[GatedServer]:
    made = GatedServer({"name": "server"}, endpoint.eqk)
    made.gate.set()
    with running(made):
        yield made
        made.gate.set()


@pytest.fixture
def caller(endpoint: Endpoint, server: GatedServer, hup: Any) -> Any:
    return endpoint.producer(hup=hup, max_retry=1)


def make_classic(caller: Any, endpoint: Endpoint) -> None:
    """Let further calls have reply queues of their own, as to a server that returns no id."""
    destination = endpoint.exchange.name, endpoint.key
    calls_of(caller).peers.record(destination, PeerEvent.ID_MISSING)


def test_first_calls_and_later_ones_are_answered(caller: Any) -> None:
    for _ in range(3):
        runs = [gevent.spawn(caller.rpc_ask, n) for n in range(50)]
        assert [each.value for each in outcomes(runs, SOON)] == list(range(50))

    assert calls_of(caller).counts["repeated"] == 0
    channels = pair_of(caller).publishing.statistics().channels
    assert len(channels) <= 4  # one for the shared replies, and none for each call


def test_servers_that_return_no_id_are_called_as_well(caller: Any, endpoint: Endpoint) -> None:
    make_classic(caller, endpoint)
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(20)]

    assert [each.value for each in outcomes(runs, SOON)] == list(range(20))
    statistics = pair_of(caller).publishing.statistics
    wait_until(lambda: len(statistics().channels) <= 4 + MOST_IDLE, SOON)


def test_a_loss_sends_the_calls_again(caller: Any, server: GatedServer) -> None:
    assert caller.rpc_ask("warm").value == "warm"
    server.gate.clear()
    server.forget()
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(5)]
    wait_until(lambda: len(server.asked) == 5, SOON)
    pair_of(caller).publishing.current.transport.cut()
    wait_until(lambda: len(server.asked) == 10, SOON)
    server.gate.set()

    assert [each.value for each in outcomes(runs, SOON)] == list(range(5))


@pytest.mark.parametrize("kind", ["direct", "topic"])
def test_an_exchange_that_is_missing_is_an_error_at_once(hup: Any, kind: str) -> None:
    absent = exchange(f"nobody-has-{kind}", kind)
    watch = Stopwatch()
    with pytest.raises(ChannelRefused, match="ACCESS_REFUSED"):
        type("Producer", (messaging.GenericProducer,), {"eks": [(absent, "k")]})(None, hup)

    assert watch.own < AT_ONCE


def test_messages_are_published_to_an_exchange_of_others(caller: Any) -> None:
    caller.message_note(1)  # confirmed
    caller.confirm = False
    caller.message_note(2)
    assert caller.rpc_ask(3).value == 3


def test_a_queue_for_later_needs_the_permission(caller: Any) -> None:
    with pytest.raises(ChannelRefused, match="refused for user 'bystander'"):
        caller.rpc_queue_ask(1)
    assert caller.rpc_ask(2).value == 2
