"""Every mistake once a second, beside healthy processors and callers: these do not notice."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.broker import BrokerThread, Limits
from postage.errors import PostageError
from postage.green.runtime import runtime_of
from postage.message import MessageResult
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.vhosts import chosen_broker
from tests.faults.fault_env import PASSWORD, USER, FaultEnv, node_for, on_brokers
from tests.faults.mistakes import BIG, MISTAKES, Mistake, Server, new_name
from tests.support.endpoints import exchange
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

LONG, SHORT = 60.0, 10.0
"""Seconds of a run: `make soak` has the long ones."""
RUNS = [
    pytest.param("rabbitmq", SHORT, marks=pytest.mark.slow),
    pytest.param("rabbitmq", LONG, marks=pytest.mark.soak),
    pytest.param("embedded", LONG, marks=pytest.mark.soak),
]
PROCESSORS, CALLERS = 20, 50
CHANNELS = 40
"""Channels that the broker allows: fewer than the processors and callers would like to have."""
CALL = 1.0
"""Seconds that a healthy call may take."""
MISTAKE = 10.0
"""Seconds after which a mistake is known."""


@contextmanager
def a_broker(kind: str) -> Iterator[FaultEnv]:
    """Use a broker of this *kind* with low limits."""
    with ExitStack() as stack:
        if kind == "embedded":
            low = Limits(channels=CHANNELS, message_max=BIG)
            broker: Any = BrokerThread(users={USER: PASSWORD}, limits=low)
            stack.enter_context(broker)
        else:
            limits = f"channel_max = {CHANNELS}\nmax_message_size = {BIG}\n"
            broker = stack.enter_context(node_for("full", configuration=limits))
            broker.ctl("set_vhost_limits", "-p", "full", '{"max-connections": 0}')
        yield stack.enter_context(on_brokers(broker, direct=True))


class Healthy(messaging.MessageProcessor):
    """One of the processors that make no mistake."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Load:
    """The healthy callers, and those who make mistakes."""

    def __init__(self, victims: list[Healthy], seconds: float) -> None:
        self.victims, self.seconds = victims, seconds
        self.calls: Counter[str] = Counter()
        self.slowest = 0.0
        self.mistakes: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.ends = time.monotonic() + seconds

    def call(self, number: int) -> None:
        """Call the processors in turn."""
        attributes = {"eks": [(exchange("healthy"), "k0")], "rpc_timeout": 5, "max_retry": 0}
        producer: Any = type("Healthy", (messaging.GenericProducer,), attributes)()
        while time.monotonic() < self.ends:
            number += 1
            watch = Stopwatch()
            result = producer.rpc_echo(number, _key=f"k{number % PROCESSORS}")
            self.slowest = max(self.slowest, watch.own)
            content = result.body["content"]
            self.calls["ok" if result and result.value == number else str(content)] += 1
            gevent.sleep(0.5)

    def err(self, mistake: Mistake, victim: Healthy) -> None:
        """Make one mistake again and again."""
        while time.monotonic() < self.ends:
            watch = Stopwatch()
            outcome: object
            try:
                outcome = mistake.make(new_name(mistake), victim)
            except PostageError as exc:
                outcome = exc
            except Exception as exc:
                outcome = repr(exc)
            is_known = isinstance(outcome, PostageError)
            if not is_known and not (isinstance(outcome, MessageResult) and not outcome):
                self.unknown[f"{mistake.name}: {outcome!r}"] += 1
            if watch.own > MISTAKE:
                self.late[f"{mistake.name}: {outcome}"] += 1
            self.mistakes[mistake.name] += 1
            gevent.sleep(max(0.0, 1.0 - watch.seconds))

    def run(self) -> None:
        """Let all of them run until the end."""
        callers = [gevent.spawn(self.call, number) for number in range(CALLERS)]
        wait_until(lambda: self.calls["ok"] >= CALLERS, SOON)
        self.slowest = 0.0  # the first calls of all at once are not what this is about
        makers = [
            gevent.spawn(self.err, each, self.victims[number % PROCESSORS])
            for number, each in enumerate(MISTAKES)
        ]
        try:
            gevent.joinall(
                [*callers, *makers], timeout=self.seconds + 2 * MISTAKE, raise_error=True
            )
        finally:
            gevent.killall([*callers, *makers])


@pytest.fixture
def lost(caplog: pytest.LogCaptureFixture) -> Iterator[Counter[str]]:
    """How many connections were lost, by the reasons in the log."""
    counts: Counter[str] = Counter()

    class Reasons(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if "is lost; reconnecting" in text:
                counts[text] += 1

    handler, logger = Reasons(), logging.getLogger("postage.green.amqp.reconnecting")
    logger.addHandler(handler)
    yield counts
    logger.removeHandler(handler)


@pytest.mark.limit(2 * LONG + 30)
@pytest.mark.parametrize(("kind", "seconds"), RUNS)
def test_the_mistakes_of_some_hit_no_others(
    kind: str, seconds: float, lost: Counter[str], request: pytest.FixtureRequest
) -> None:
    if kind == "rabbitmq" and chosen_broker(request.config) != kind:
        pytest.skip("it needs RabbitMQ itself")
    with a_broker(kind) as env:
        healthy, keys = exchange("healthy"), [f"k{number}" for number in range(PROCESSORS)]
        victims = [Healthy({}, [(healthy, [(f"healthy-{key}", key)])]) for key in keys]
        server = Server({}, [(exchange("mistakes"), [("server", "server")])])
        with running(*victims, server):
            wait_until(lambda: all(each.consumer.consuming for each in victims), SOON)
            load = Load(victims, seconds)
            load.run()
            pair = runtime_of(Settings.resolve()).pair
            losses = pair.publishing.losses + pair.consuming.losses
            restored = sum(each.consumer.counts["restored"] for each in victims)
        log = "" if kind == "embedded" else env.broker.log_text()
        ended = len(re.findall("Error on AMQP connection.*state: running", log))

    shown = f"calls {load.calls}, slowest {load.slowest:.2f} s, losses {losses}, ended {ended}"
    print(shown, load.mistakes, load.unknown, load.late, lost)  # noqa: T201 - shown if it fails
    kinds = len({each.kind for each in MISTAKES})
    assert not load.unknown, "every mistake ends as an error of ours"
    assert not load.late, "and soon"
    assert [*load.calls] == ["ok"]
    assert load.slowest < CALL
    assert max(lost.values(), default=0) <= 1
    assert losses <= kinds
    assert ended <= 2 * kinds, "a refusal is remembered for a minute"
    assert restored <= losses * PROCESSORS
    assert min(load.mistakes.values()) > seconds / 6
