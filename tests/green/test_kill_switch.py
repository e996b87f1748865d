"""A processor whose messages all fail takes no more of them, and goes on when one succeeds."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import GiveUp, Retry, SettingsError, Stream, green, messaging
from postage.generic_application import GenericApplication, GenericApplicationExchange
from postage.green.handling import admission
from postage.kill_switch import RELAPSES
from postage.recoverability import check_queue
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Answers, Handles, Recorder, at
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

FEW, PROBE = 5, 0.1
NEVER = 600


class Away(ConnectionError):
    """The dependency is away."""


class Worker(Recorder):
    """Needs a dependency that is away at first; some messages fail in any case."""

    kill_switch: Any = green.KillSwitch(after=FEW, probe=PROBE)
    is_away = True
    bad: Any = ()

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self.tried: list[Any] = []
        self.gate = gevent.event.Event()
        self.gate.set()

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.tried.append(content["parameters"])
        self.gate.wait()
        if self.is_away or content["parameters"] in self.bad:
            raise Away
        self.seen.append(content["parameters"])

    @Handles("command", "refuse")
    def refuse(self, content: Any) -> None:
        raise GiveUp("it is wrong")

    @Handles("command", "differ")
    def differ(self, content: Any) -> None:
        raise KeyError(content["parameters"])

    @Answers("command", "ask")
    def ask(self, content: Any, reply: Any) -> None:
        self.tried.append("call")
        if self.is_away:
            raise Away
        reply(1)


def made(endpoint: Endpoint, eqk: Any = None, kind: Any = Worker, **attributes: Any) -> Any:
    return at(endpoint, type("Worker", (kind,), attributes), eqk)


def send(endpoint: Endpoint, count: int, first: int = 0) -> None:
    producer = endpoint.producer()
    for number in range(first, first + count):
        producer.message_work(number)


def open_switch(worker: Any) -> None:
    wait_until(lambda: worker.statistics().state == "tripped", SOON)


def counts(worker: Any) -> tuple[int, ...]:
    found = worker.statistics()
    return found.handled, found.failed, found.parked


@pytest.mark.parametrize("concurrency", [1, 3, 250])
def test_nothing_is_parked_in_an_outage(endpoint, raw, caplog, concurrency: int):
    caplog.set_level("INFO")
    worker = made(endpoint, concurrency=concurrency)
    send(endpoint, 60)
    with running(worker):
        open_switch(worker)
        wait_until(lambda: len(worker.tried) >= FEW + 3, SOON)
        worker.is_away = False
        wait_until(lambda: len(worker.seen) == 60, SOON)
        wait_until(lambda: worker.statistics().state == "consuming", SOON)
        wait_until(lambda: counts(worker) == (60, 0, 0), SOON)
    assert sorted(worker.seen) == [*range(60)]
    assert raw.count(endpoint.queue) == 0
    assert not raw.exists(f"{endpoint.queue}.parked")
    opened = [each for each in caplog.records if "failed by Away" in each.getMessage()]
    assert [each.levelname for each in opened] == ["WARNING"]
    assert "its kill switch closes" in caplog.text


@pytest.mark.parametrize("concurrency", [3, 250])
def test_few_are_tried_in_vain(endpoint, raw, concurrency: int):
    worker = made(endpoint, concurrency=concurrency, kill_switch=green.KillSwitch(FEW, NEVER))
    send(endpoint, 40)
    with running(worker):
        open_switch(worker)
        wait_until(lambda: raw.count(endpoint.queue) == 40 - FEW, SOON)
        assert_stays(lambda: len(worker.tried) == FEW, 0.1)
        assert worker.counts["trips"] == worker.statistics().trips == 1
    wait_until(lambda: raw.count(endpoint.queue) == 40, SOON)


def test_no_more_run_in_doubt_than_could_fail(endpoint):
    worker = made(endpoint, kill_switch=green.KillSwitch(FEW, NEVER))
    worker.gate.clear()
    send(endpoint, 40)
    with running(worker):
        wait_until(lambda: worker.statistics().waiting == 40 - FEW, SOON)
        assert len(worker.tried) == FEW
        worker.is_away = False
        worker.gate.set()
        wait_until(lambda: len(worker.seen) == 40, SOON)
    assert worker.seen == [*range(40)]


def test_what_ends_after_the_opening_is_not_parked(endpoint):
    worker = made(endpoint, is_away=False, kill_switch=green.KillSwitch(FEW, PROBE))
    with running(worker):
        send(endpoint, 1)
        wait_until(lambda: worker.seen, SOON)  # now it trusts, so all are begun
        worker.gate.clear()
        send(endpoint, 3 * FEW, 1)
        wait_until(lambda: len(worker.tried) == 1 + 3 * FEW, SOON)
        worker.is_away = True
        worker.gate.set()
        open_switch(worker)
        worker.is_away = False
        wait_until(lambda: len(worker.seen) == 1 + 3 * FEW, SOON)
    assert counts(worker) == (1 + 3 * FEW, 0, 0)


def test_a_failed_message_is_parked_after_a_success(endpoint, raw):
    worker = made(endpoint, is_away=False, bad=[0], concurrency=1)
    send(endpoint, 2)
    with running(worker):
        wait_until(lambda: counts(worker) == (2, 1, 1), SOON)
    assert worker.seen == [1]
    headers = raw.take(f"{endpoint.queue}.parked", SOON).properties.headers
    assert headers["x-postage-attempt"] == 1


def test_a_failed_message_is_parked_if_no_other_comes(endpoint):
    worker = made(endpoint)
    send(endpoint, FEW - 1)
    with running(worker):
        wait_until(lambda: counts(worker) == (FEW - 1, FEW - 1, FEW - 1), SOON)
        assert worker.statistics().state == "consuming"


def test_an_error_of_another_kind_restarts_the_row(endpoint):
    worker = made(endpoint, concurrency=1, kill_switch=green.KillSwitch(FEW, NEVER))
    producer = endpoint.producer()
    send(endpoint, FEW - 1)
    producer.message_differ("x")
    with running(worker):
        wait_until(lambda: worker.statistics().waiting == FEW, SOON)
        assert_stays(lambda: worker.statistics().state == "consuming", 0.05)
        assert worker.counts["parked"] == 0
        worker.is_away = False
        send(endpoint, 1)
        wait_until(lambda: worker.counts["parked"] == FEW, SOON)


def test_what_is_wrong_itself_is_parked_at_once(endpoint):
    worker = made(endpoint, kill_switch=green.KillSwitch(FEW, NEVER))
    producer = endpoint.producer()
    with running(worker):
        for _ in range(2 * FEW):
            producer.message_refuse()
            producer.forward("no message")
        wait_until(lambda: worker.counts["parked"] == 4 * FEW, SOON)
        assert worker.statistics().state == "consuming"


def test_a_policy_of_retries_comes_after_the_switch(endpoint, raw):
    worker = made(endpoint, retry=Retry(now=1, delays=(0.1,)))
    send(endpoint, FEW)
    with running(worker):
        open_switch(worker)
        assert_stays(lambda: worker.counts["delayed"] == 0, 0.1)
        worker.is_away = False
        wait_until(lambda: len(worker.seen) == FEW, SOON)
    assert counts(worker) == (FEW, 0, 0)


def test_a_bad_message_does_not_keep_it_open(endpoint):
    worker = made(endpoint, bad=[0], concurrency=1)
    send(endpoint, FEW)
    with running(worker):
        open_switch(worker)
        worker.is_away = False
        wait_until(lambda: len(worker.seen) == FEW - 1, SOON)
        wait_until(lambda: worker.counts["parked"] == 1, SOON)
    assert 0 not in worker.seen


def test_many_bad_messages_do_not_keep_it_open(endpoint):
    worker = made(
        endpoint, is_away=False, bad=range(3 * FEW), kill_switch=green.KillSwitch(FEW, 0.02)
    )
    send(endpoint, 6 * FEW)
    with running(worker):
        wait_until(lambda: worker.counts["parked"] == 3 * FEW, SOON)
        wait_until(lambda: len(worker.seen) == 3 * FEW, SOON)
    assert worker.counts["trips"] <= (RELAPSES + 1) * 3


def test_an_empty_queue_tries_what_is_held(endpoint):
    worker = made(endpoint)
    send(endpoint, FEW)
    with running(worker):
        open_switch(worker)
        worker.is_away = False
        wait_until(lambda: sorted(worker.seen) == [*range(FEW)], SOON)


def test_a_call_is_answered_and_counts(endpoint, raw):
    worker = made(endpoint, kill_switch=green.KillSwitch(FEW, NEVER))
    producer = endpoint.producer(rpc_timeout=0.3)
    with running(worker):
        for _ in range(FEW):
            assert producer.rpc_ask().value == "Away"
        open_switch(worker)
        assert producer.rpc_ask().value == "TimeoutError"
        assert worker.tried == ["call"] * FEW
        assert worker.counts["failed"] == FEW


def test_a_call_can_be_the_probe(endpoint):
    worker = made(endpoint, kill_switch=green.KillSwitch(1, PROBE))
    producer = endpoint.producer()
    with running(worker):
        assert producer.rpc_ask().value == "Away"
        open_switch(worker)
        worker.is_away = False
        assert producer.rpc_ask().value == 1
        wait_until(lambda: worker.statistics().state == "consuming", SOON)


def test_a_probe_that_says_nothing_is_followed_by_another(endpoint):
    worker = made(endpoint, kill_switch=green.KillSwitch(1, 0.3))
    producer = endpoint.producer()
    with running(worker):
        assert producer.rpc_ask().value == "Away"
        open_switch(worker)
        for _ in range(20):
            producer.message_refuse()
        worker.is_away = False
        assert producer.rpc_ask().value == 1
    assert worker.counts["parked"] == 20


def test_what_was_held_long_is_given_back(endpoint, raw, monkeypatch):
    monkeypatch.setattr(admission, "LONGEST_HELD", 2 * PROBE)
    worker = made(endpoint, concurrency=1)
    send(endpoint, FEW)
    with running(worker):
        open_switch(worker)
        wait_until(lambda: raw.count(endpoint.queue) >= FEW - 1, SOON)
        worker.is_away = False
        wait_until(lambda: sorted(worker.seen) == [*range(FEW)], SOON)
    assert counts(worker) == (FEW, 0, 0)


def test_stopping_while_open_gives_everything_back(endpoint, raw):
    worker = made(endpoint, kill_switch=green.KillSwitch(FEW, NEVER))
    send(endpoint, 20)
    with running(worker):
        open_switch(worker)
    wait_until(lambda: raw.count(endpoint.queue) == 20, SOON)
    with running(worker):  # it begins anew
        open_switch(worker)
        assert worker.counts["trips"] == 2


def test_stopping_in_doubt_gives_back_what_is_held(endpoint, raw):
    worker = made(endpoint, kill_switch=green.KillSwitch(FEW, NEVER))
    send(endpoint, 2)
    with running(worker):
        wait_until(lambda: worker.statistics().waiting == 2, SOON)
    wait_until(lambda: raw.count(endpoint.queue) == 2, SOON)


def test_a_lost_connection_leaves_it_open(endpoint, hup, proxy):
    worker = Worker({"name": "w"}, endpoint.eqk, hup)
    send(endpoint, 20)
    with running(worker):
        open_switch(worker)
        proxy.cut()
        gevent.sleep(2 * PROBE)
        assert worker.statistics().state == "tripped"
        worker.is_away = False
        wait_until(lambda: len(set(worker.seen)) == 20, SOON)
        wait_until(lambda: worker.statistics().state == "consuming", SOON)
    assert worker.counts["parked"] == 0


class App(GenericApplication):
    kill_switch = green.KillSwitch(after=1, probe=NEVER)

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        raise Away


class Commander(messaging.GenericProducer):
    eks = ((GenericApplicationExchange, "nowhere"),)


def test_an_application_answers_while_it_is_open(endpoint):
    app = App({"name": endpoint.queue}, groups=["g"])
    with running(app):
        Commander().message_work(_key=f"{endpoint.queue}#g/rr")
        open_switch(app)
        described = Commander().rpc_describe(_key=endpoint.queue).value
    assert described["statistics"]["state"] == "tripped"


def test_a_queue_that_ends_with_its_consumer_is_not_watched(endpoint):
    app = App({"name": endpoint.queue})
    with running(app):
        for _ in range(3):
            Commander().message_work(_key=endpoint.queue)
        wait_until(lambda: app.counts["failed"] == 3, SOON)
        assert app.statistics().state == "consuming"


@pytest.mark.parametrize("value", [20, (20, 30), green.KillSwitch, "on"], ids=str)
def test_a_wrong_switch_is_refused_when_it_is_made(endpoint, value: Any):
    with pytest.raises(SettingsError, match="kill_switch must be a KillSwitch, or None"):
        made(endpoint, kill_switch=value)


def test_a_stream_is_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be used with the stream"):
        check_queue("s", Stream("s").flags, (), has_switch=True)
