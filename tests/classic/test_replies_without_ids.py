"""Many concurrent calls to servers of 1.2.1, whose replies carry no correlation id."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from postage import messaging
from tests.classic.programs import program
from tests.support.programs import Program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("classic", "broker_env"),
]


class SharedExchange(messaging.Exchange):
    name = "classic-many"


class Caller(messaging.GenericProducer):
    eks = [(SharedExchange, "rk")]  # noqa: RUF012 - the classic form
    rpc_timeout = 20
    max_retry = 0


@pytest.fixture(scope="module")
def old_server(classic, broker_env) -> Iterator[Program]:
    with program("old", "server.py", "many") as serving:
        serving.wait_for_line('"ready"')
        yield serving


def called(caller: Caller, count: int) -> list[object]:
    """Make *count* calls at once and return their values in the order of the calls."""
    calls = [gevent.spawn(caller.rpc_bare, number) for number in range(count)]
    gevent.joinall(calls, timeout=30)
    return [call.get(block=False).value for call in calls]


@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_each_of_many_callers_gets_the_answer_to_its_own_call(old_server):
    assert called(Caller(), 50) == list(range(50))


@pytest.mark.behaviour("rpc-timeout")
def test_a_late_reply_does_not_answer_the_next_call(old_server):
    caller = Caller()
    assert caller.rpc_sleep(0.6, _timeout=0.2).value == "TimeoutError"
    assert caller.rpc_bare("mine").value == "mine"


@pytest.mark.behaviour("other-languages", "round-robin-and-fan-out")
def test_old_and_new_servers_share_one_queue(old_server):
    """A fleet migrates to this package one program at a time."""
    with program("new", "server.py", "many") as new_server:
        new_server.wait_for_line('"ready"')
        assert called(Caller(), 50) == list(range(50))
        caller = Caller()
        for _ in range(20):
            assert caller.rpc_sum({"a": 1, "b": 2}).value == 3
        for serving in (old_server, new_server):
            assert "after the reply" in serving.stdout
