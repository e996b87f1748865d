"""Processors that are paused and go on, by their program and by remote commands."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.generic_application import GenericApplication, GenericApplicationExchange
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Recorder, at
from tests.support.recovery import GatedWorker, OneByOne
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


def worker(endpoint: Endpoint, kind: Any = GatedWorker, eqk: Any = None) -> Any:
    return at(endpoint, kind, eqk)


def send(endpoint: Endpoint, *numbers: int) -> None:
    producer = endpoint.producer()
    for number in numbers:
        producer.message_work(number)


def state(processor: Any) -> str:
    return str(processor.statistics().state)


def test_what_has_not_begun_is_given_back(endpoint, raw):
    made = worker(endpoint, OneByOne)
    with running(made):
        send(endpoint, *range(30))
        wait_until(lambda: made.statistics().waiting == 9, SOON)
        made.pause()
        made.pause()
        assert (state(made), made.is_paused) == ("paused", True)
        wait_until(lambda: raw.count(endpoint.queue) == 29, SOON)
        made.gate.set()
        wait_until(lambda: made.ended == [0], SOON)
        assert_stays(lambda: made.begun == [0], 0.1)
        made.resume()
        made.resume()
        wait_until(lambda: made.ended == [*range(30)], SOON)
        wait_until(lambda: state(made) == "consuming", SOON)
    assert (raw.count(endpoint.queue), made.counts["restored"]) == (0, 0)


def test_a_pause_and_its_end_in_one_turn(endpoint):
    made = worker(endpoint)
    made.gate.set()
    with running(made):
        for number in range(20):
            made.pause()
            made.resume()
            send(endpoint, number)
        wait_until(lambda: sorted(made.ended) == [*range(20)], SOON)
        wait_until(lambda: made.consumer.consuming, SOON)
    assert (made.counts["cancelled"], made.counts["missing"]) == (0, 0)


def test_many_pauses_leave_nothing_behind(endpoint):
    made = worker(endpoint)
    made.gate.set()
    with running(made):
        subscription = made.consumer._subscription
        wait_until(lambda: made.consumer.consuming, SOON)
        channel = subscription._channel
        for _ in range(20):
            made.pause()
            made.resume()
            wait_until(lambda: made.consumer.consuming, SOON)
        assert subscription._channel is channel
        kept = channel.windows, channel._pika._cancelled, subscription._cancelled_tags
        wait_until(lambda: max(map(len, kept)) <= 1, SOON)
        consumers = [each for each in channel.codec._consumers if each[0] == channel.number]
        assert len(consumers) == 1
        send(endpoint, 1)
        wait_until(lambda: made.ended == [1], SOON)


def test_a_pause_catches_a_consumer_that_waits_for_its_turn(endpoint):
    made = worker(endpoint)
    made.gate.set()
    with running(made):
        wait_until(lambda: made.consumer.consuming, SOON)
        subscription = made.consumer._subscription
        channel = subscription._channel
        made.pause()
        wait_until(lambda: not channel.statistics().consumers, SOON)
        channel.turn.acquire()  # as if another queue were being consumed from
        made.resume()
        wait_until(lambda: subscription._queue_of_tag, SOON)
        channel.turn.release()
        made.pause()
        assert_stays(lambda: channel.statistics().consumers == 0, 0.2)
        made.resume()
        send(endpoint, 1)
        wait_until(lambda: made.ended == [1], SOON)


def test_it_can_be_paused_before_it_starts(endpoint):
    made = worker(endpoint)
    made.gate.set()
    send(endpoint, 1)
    made.pause()
    with running(made):
        assert state(made) == "paused"
        assert_stays(lambda: not made.begun, 0.1)
        made.resume()
        wait_until(lambda: made.ended == [1], SOON)


def test_it_can_stop_while_it_is_paused(endpoint, raw):
    made = worker(endpoint)
    with running(made):
        made.pause()
        send(endpoint, 1)
    assert state(made) == "idle"
    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)
    with running(made):
        assert_stays(lambda: state(made) == "paused", 0.1)
        made.gate.set()
        made.resume()
        wait_until(lambda: made.ended == [1], SOON)


def test_a_stop_waits_for_what_runs_in_a_pause(endpoint):
    made = worker(endpoint)
    with running(made):
        send(endpoint, 1)
        wait_until(lambda: made.begun, SOON)
        made.pause()
        gevent.spawn_later(0.05, made.gate.set)
    assert made.ended == [1]


def test_it_stays_paused_after_a_lost_connection(endpoint, hup, proxy, raw):
    made = GatedWorker({"name": "w"}, endpoint.eqk, hup)
    made.gate.set()
    with running(made):
        made.pause()
        proxy.cut()
        send(endpoint, 1)
        assert_stays(lambda: state(made) == "paused" and not made.begun, 0.2)
        made.resume()
        wait_until(lambda: made.ended == [1], SOON)


def test_a_resume_before_the_connection_is_back(endpoint, hup, proxy):
    made = GatedWorker({"name": "w"}, endpoint.eqk, hup)
    made.gate.set()
    with running(made):
        proxy.refuse()
        proxy.cut()
        made.pause()
        made.resume()
        wait_until(lambda: state(made) == "restoring", SOON)
        proxy.accept()
        send(endpoint, 1)
        wait_until(lambda: made.ended == [1], SOON)


def test_what_ends_with_its_consumer_is_still_consumed(endpoint):
    own = {"name": endpoint.sub("own"), "flags": {"exclusive": True}}
    made = worker(endpoint, GatedWorker, endpoint.at((own, "rk")))
    made.gate.set()
    with running(made):
        made.pause()
        send(endpoint, 1)
        wait_until(lambda: made.ended == [1], SOON)
        assert state(made) == "paused"


def test_a_queue_that_is_added_in_a_pause_waits(endpoint):
    made = worker(endpoint)
    made.gate.set()
    with running(made):
        made.pause()
        made.add_eqk(endpoint.at((endpoint.sub("more"), "more")))
        endpoint.producer(eks=[(endpoint.exchange, "more")]).message_work(1)
        assert_stays(lambda: not made.begun, 0.1)
        made.resume()
        wait_until(lambda: made.ended == [1], SOON)


def test_jobs_go_on(endpoint):
    class Busy(GatedWorker):
        turns = 0

        @green.every(0.02)
        def turn(self) -> None:
            self.turns += 1

    made = worker(endpoint, Busy)
    with running(made):
        made.pause()
        before = made.turns
        wait_until(lambda: made.turns > before + 2, SOON)


def test_another_thread_may_pause(endpoint):
    made = worker(endpoint)
    with running(made):
        thread = threading.Thread(target=made.pause)
        thread.start()
        wait_until(lambda: state(made) == "paused", SOON)
        thread.join()


def test_a_handler_may_pause_its_processor(endpoint):
    class Once(Recorder):
        concurrency = 1

        @messaging.MessageHandler("command", "work")
        def work(self, content: Any) -> None:
            self.seen.append(content["parameters"])
            self.pause()

    made = worker(endpoint, Once)
    send(endpoint, 1, 2)
    with running(made):
        wait_until(lambda: made.seen == [1], SOON)
        assert_stays(lambda: made.seen == [1], 0.1)
        made.resume()
        wait_until(lambda: made.seen == [1, 2], SOON)


# --- remote commands


class App(GenericApplication):
    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append(content["parameters"])


class Commander(messaging.GenericProducer):
    eks = ((GenericApplicationExchange, "nowhere"),)


def test_an_application_obeys_both_commands(endpoint):
    app = App({"name": endpoint.queue}, groups=["g"])
    sender, shared = Commander(), f"{endpoint.queue}#g/rr"
    with running(app):
        sender.message_pause_consuming(_key=endpoint.queue)
        wait_until(lambda: state(app) == "paused", SOON)
        sender.message_work(1, _key=shared)
        described = sender.rpc_describe(_key=endpoint.queue).value
        assert described["statistics"]["state"] == "paused"
        assert not app.seen
        sender.message_resume_consuming(_key=endpoint.queue)
        wait_until(lambda: app.seen == [1], SOON)


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_remote_control_holds_for_both(endpoint, caplog, command: str):
    app = App({"name": endpoint.queue})
    app.remote_control = "own-user"
    with running(app):
        Commander().send(f"{command}_consuming", _key=endpoint.queue)
        wait_until(lambda: f"refused the command {command} of user None" in caplog.text, SOON)
        assert state(app) == "consuming"


def test_what_could_not_be_resumed_is_not_paused(endpoint, caplog):
    made = worker(endpoint)
    with running(made):
        endpoint.producer().message_pause_consuming()
        wait_until(lambda: "no queue by which it could be told to resume" in caplog.text, SOON)
        assert state(made) == "consuming"


class Player(GenericApplication):
    """Has handlers by the names of our methods, as programs of 1.2.1 may."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.heard: list[str] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "pause")
    def pause(self, content: Any) -> None:  # type: ignore[override]
        self.heard.append("pause")

    @messaging.MessageHandler("command", "resume")
    def resume(self, content: Any) -> None:  # type: ignore[override]
        self.heard.append("resume")


def test_a_handler_may_have_the_name_of_either(endpoint):
    player, sender = Player({"name": endpoint.queue}), Commander()
    with running(player):
        sender.message_pause(_key=endpoint.queue)
        wait_until(lambda: player.heard == ["pause"], SOON)
        assert state(player) == "consuming"
        sender.message_pause_consuming(_key=endpoint.queue)
        wait_until(lambda: state(player) == "paused", SOON)
        sender.message_resume(_key=endpoint.queue)
        wait_until(lambda: player.heard == ["pause", "resume"], SOON)
        assert state(player) == "paused"
        sender.message_resume_consuming(_key=endpoint.queue)
        wait_until(lambda: state(player) == "consuming", SOON)
