"""A state machine that searches for a call without exactly one outcome within its limit.

``POSTAGE_EXAMPLES=2000 pytest -m soak tests/faults/test_calls_machine.py`` searches for long.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import gevent
import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from postage import green, messaging
from postage.broker import BrokerThread
from postage.errors import ConnectionClosed
from postage.testing.polling import wait_until
from tests.faults.catalogue import delete_reply_queues
from tests.faults.fault_env import on_embedded
from tests.faults.load import outcome_of
from tests.faults.report import ANSWERED, OUTCOMES
from tests.support.endpoints import Endpoint
from tests.support.stopwatch import Stopwatch

LATE = 0.5
"""Seconds by which an outcome may exceed its limit."""
ROLES = ["publishing", "consuming", ""]
TIMES = [(0.6, 0), (0.3, 1), (0.2, 2)]
"""The seconds of each try, and the number of further tries."""
MANY = int(os.environ.get("POSTAGE_EXAMPLES", "300"))


class Server(messaging.MessageProcessor):
    """Answers, except while it is paused or drops requests."""

    paused = False
    drops = 0

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply_func: Any) -> None:
        if self.drops:
            self.drops -= 1
            reply_func.later()
            return
        while self.paused:
            gevent.sleep(0.005)
        reply_func(content["parameters"])


@dataclass
class Call:
    """A call, and its outcomes; the stopwatch leaves out the time that a busy machine takes."""

    watch: Stopwatch
    limit: float
    outcomes: list[str]
    took: float = 0.0

    def is_late(self) -> bool:
        return not self.outcomes and self.watch.own > self.limit + LATE


class Calls(RuleBasedStateMachine):
    """Calls under faults; the server runs in a thread with connections of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._env = self._stack.enter_context(on_embedded())
        self._endpoint = Endpoint("calls")
        self._thread = self._stack.enter_context(BrokerThread())  # lends its thread and hub
        self._server: Server | None = None
        self._thread.call(gevent.spawn, self._serve)
        wait_until(lambda: self._server is not None and self._server.consumer.consuming, 10)
        self._producer: Any = self._endpoint.producer()
        self._numbers = itertools.count()
        self._calls: list[Call] = []
        self._greenlets: list[gevent.Greenlet] = []

    def _serve(self) -> None:
        self._server = Server({"name": "server"}, self._endpoint.eqk)
        self._server.start_consuming()
        green.close()

        for number in (-2, -1):  # from the second on, calls share a reply queue
            assert self._echoed([number], 10.0) == ANSWERED

    def _echoed(self, argument: list[int], timeout: float) -> str:
        result = self._producer.rpc_echo(argument, _timeout=timeout, _max_retry=0)
        return outcome_of(result.body["content"], argument)

    # --- calls and faults

    @rule(times=st.sampled_from(TIMES))
    def call(self, times: tuple[float, int]) -> None:
        timeout, retries = times
        call = Call(Stopwatch(), timeout * (retries + 1), [])
        self._calls.append(call)
        self._greenlets.append(gevent.spawn(self._call, call, timeout, retries))

    @rule(times=st.sampled_from(TIMES))
    def call_and_wait(self, times: tuple[float, int]) -> None:
        self.call(times)
        self._greenlets[-1].join()

    def _call(self, call: Call, timeout: float, retries: int) -> None:
        argument = [next(self._numbers)]
        try:
            result = self._producer.rpc_echo(argument, _timeout=timeout, _max_retry=retries)
            outcome = outcome_of(result.body["content"], argument)
        except ConnectionClosed:
            outcome = "ConnectionClosed"
        except Exception as exc:
            outcome = f"raised {exc!r}"
        call.took = call.watch.own
        call.outcomes.append(outcome)

    @rule(role=st.sampled_from(ROLES))
    def kill_connection(self, role: str) -> None:
        self._env.broker.faults.drop(role)

    @rule(frames=st.integers(1, 4))
    def kill_connection_in_the_middle(self, frames: int) -> None:
        self._env.broker.faults.drop("publishing", after_frames=frames)
        gevent.sleep(0.02)
        self._env.broker.faults.clear()

    @rule()
    def delete_reply_queues(self) -> None:
        delete_reply_queues(self._env)

    @rule()
    def pause_server(self) -> None:
        self._server.paused = True

    @rule()
    def resume_server(self) -> None:
        self._server.paused = False

    @rule(count=st.integers(1, 3))
    def drop_replies(self, count: int) -> None:
        self._server.drops = count

    @rule()
    def close(self) -> None:
        green.close(1.0)
        self._closed = True

    _closed = False

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.05, 0.2]))
    def go_on(self, seconds: float) -> None:
        gevent.sleep(seconds)

    # --- invariants

    @invariant()
    def no_call_is_late(self) -> None:
        late = [call for call in self._calls if call.is_late()]
        assert not late

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            gevent.killall(self._greenlets)
            self._stack.close()

    def _finish(self) -> None:
        """Every call has its outcome within its limit; afterwards calls are answered again."""
        self._server.paused, self._server.drops = False, 0
        longest = max((call.limit for call in self._calls), default=0.0)
        gevent.joinall(self._greenlets, timeout=longest + LATE)
        for call in self._calls:
            assert len(call.outcomes) == 1, call
            assert call.outcomes[0] in OUTCOMES | ({"ConnectionClosed"} if self._closed else set())
            assert call.took <= call.limit + LATE, call
        # A call in flight on a lost connection fails, as it has only one try.
        wait_until(lambda: self._echoed([-3], 1.0) == ANSWERED, 10.0, "calls are answered again")
        self._server.stop_consuming()


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples",
    [40, pytest.param(MANY, marks=[pytest.mark.soak, pytest.mark.limit(3600)])],
    ids=["few", "many"],
)
def test_every_call_has_exactly_one_outcome_in_its_time(examples: int) -> None:
    phases = [hypothesis.Phase.reuse, hypothesis.Phase.generate]
    if examples == MANY:
        phases.append(hypothesis.Phase.shrink)  # which takes minutes
    settings = hypothesis.settings(
        phases=phases,
        report_multiple_bugs=False,
        max_examples=examples,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(Calls, settings=settings)
