"""Publishing at least once within one time limit, to brokers that misbehave."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from pika import spec

from postage import green, messaging
from postage.copies import AGAIN
from postage.errors import (
    BrokerUnreachable,
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    NotAcknowledged,
    OperationTimeout,
    PublishFailed,
)
from postage.green.amqp.pair import Pair
from postage.green.publishing import publish, publish_confirmed
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.support.attempts import outcomes, spawned
from tests.support.peer import Peer, listening
from tests.support.publishing import GRACE, SOON, Depot, in_time, message, pair_with
from tests.support.scripted_broker import (
    Answer,
    ScriptedBroker,
    ack,
    close_channel,
    close_connection,
    hang_up,
    ignore,
    nack,
)
from tests.support.stopwatch import Stopwatch
from tests.support.wire import method

FORCED = method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
"""What a broker says that an operator stops."""


# --- sent again


# RabbitMQ 4.3 says so if it routes a message to a queue that it has just removed.
GONE = close_connection(
    506, "RESOURCE_ERROR - failed to deliver message: {not_found,{resource,..}}"
)


@pytest.mark.parametrize(
    "trouble",
    [nack, hang_up, close_channel(404, "no exchange 'other'"), GONE],
    ids=["nack", "hang up", "404", "506"],
)
def test_it_is_sent_again_with_the_same_id_and_a_mark(trouble: Answer) -> None:
    done = False

    def once(broker: ScriptedBroker, peer: Peer, channel: int, tag: int) -> None:
        nonlocal done
        done, was_done = True, done
        (ack if was_done else trouble)(broker, peer, channel, tag)

    broker = ScriptedBroker(once)
    with pair_with(broker) as pair:
        publish_confirmed(pair, message(7), limit=SOON)

    assert broker.published == ["7", "7"]
    assert broker.types == [None, AGAIN]


def test_waiting_messages_arrive_on_the_next_connection() -> None:
    broker = ScriptedBroker(ignore, ack)
    with pair_with(broker) as pair:
        runs = [spawned(publish_confirmed, pair, message(n), limit=SOON) for n in range(100)]
        wait_until(lambda: len(broker.published) == 100, SOON)
        watch = Stopwatch()
        broker.peers[0].send(FORCED)
        assert outcomes(runs, SOON) == [None] * 100
        assert watch.own < 1

    assert sorted(broker.ids[1]) == sorted(broker.ids[0])
    assert broker.declared == [["depot"], ["depot"]], "once on each connection"


@pytest.mark.parametrize("refusal", ["refuse", "login", "vhost"])
def test_publishing_waits_for_a_restarting_broker(refusal: str) -> None:
    broker = ScriptedBroker(hang_up, refusal, refusal, refusal, ack)
    with pair_with(broker) as pair:
        publish_confirmed(pair, message(7), limit=SOON)

    assert broker.answered_by == [hang_up, refusal, refusal, refusal, ack]
    assert broker.published == ["7", "7"]


def test_nacks_are_answered_by_pauses_that_grow_until_the_limit() -> None:
    broker = ScriptedBroker(nack)
    with pair_with(broker) as pair:
        watch = Stopwatch()
        [error] = in_time(
            [spawned(publish_confirmed, pair, message(), limit=1.0)], 1.0, watch, earliest=0.5
        )

    assert type(error) is PublishFailed
    assert type(error.__cause__) is NotAcknowledged
    assert 5 <= len(broker.published) <= 12


# --- the limit


STAGES = ("connect", "declare", "open")
SILENT: list[Any] = [(how, stage) for how in (publish, publish_confirmed) for stage in STAGES]
SILENT.append((publish_confirmed, ignore))


@pytest.mark.parametrize(("how", "stage"), SILENT)
def test_a_thousand_publishers_time_out_on_a_silent_broker(how: Any, stage: str | Answer) -> None:
    with pair_with(ScriptedBroker(stage)) as pair:
        watch = Stopwatch()
        runs = [spawned(how, pair, message(n), limit=1.0) for n in range(1000)]
        errors = in_time(runs, 1.0, watch)

    assert {type(error) for error in errors} == {PublishFailed}
    assert {type(error.__cause__) for error in errors} <= {OperationTimeout, BrokerUnreachable}
    assert "within 1 s" in str(errors[0])


@pytest.mark.parametrize("stage", ["refuse", "login", "vhost", "connect", "declare", "open"])
def test_a_thousand_publishers_time_out_without_a_connection(stage: str) -> None:
    refuses = stage in ("refuse", "login", "vhost")
    limit = 3.0 if refuses else 1.5  # time enough to be refused, even on a busy machine
    broker = ScriptedBroker(ignore, stage)
    with pair_with(broker) as pair:
        runs = [spawned(publish_confirmed, pair, message(n), limit=limit) for n in range(1000)]
        watch = Stopwatch()
        wait_until(lambda: len(broker.published) == 1000, SOON)
        broker.peers[0].send(FORCED)
        errors = in_time(runs, limit, watch, earliest=0.5)

    assert {type(error) for error in errors} == {PublishFailed}
    causes = {type(error.__cause__) for error in errors}
    if refuses:
        assert all(issubclass(cause, ConnectionFailed) for cause in causes), causes


def test_each_has_its_own_limit() -> None:
    with pair_with(ScriptedBroker("declare")) as pair:
        watch = Stopwatch()
        limits = [0.2, 0.4, 0.6, 0.8]
        runs = [spawned(publish_confirmed, pair, message(), limit=limit) for limit in limits]
        for run, limit in zip(runs, limits, strict=True):
            assert type(in_time([run], limit, watch)[0]) is PublishFailed


def test_waiting_for_room_and_for_the_confirm_is_one_limit() -> None:
    broker = ScriptedBroker(ignore)
    with pair_with(broker) as pair:
        publish_confirmed_once(pair)
        blocked = method(0, spec.Connection.Blocked("low on memory"))
        broker.peers[0].send(blocked)
        wait_until(lambda: pair.publishing.get().transport.blocked, SOON)
        watch = Stopwatch()
        run = spawned(publish_confirmed, pair, message(), limit=1.5)
        gevent.sleep(1.2)
        broker.peers[0].send(method(0, spec.Connection.Unblocked()))
        [error] = in_time([run], 1.5, watch)

    assert type(error) is PublishFailed


def publish_confirmed_once(pair: Pair) -> None:
    """Open all that a publish needs; the broker never confirms it."""
    with pytest.raises(PublishFailed):
        publish_confirmed(pair, message(), limit=0.1)


def test_all_exchanges_of_a_message_share_its_limit() -> None:
    def late(broker: ScriptedBroker, peer: Peer, channel: int, tag: int) -> None:
        gevent.sleep(0.6)
        ack(broker, peer, channel, tag)

    broker = ScriptedBroker(late)
    with listening(broker) as where:
        hup = {"host": where.host, "port": where.port, "user": "guest", "password": "guest"}
        eks = [(Depot, "1"), (Depot, "2"), (Depot, "3")]
        kind = type("Slow", (messaging.GenericProducer,), {"eks": eks, "publish_timeout": 1.0})
        producer = kind(hup=hup)
        watch = Stopwatch()
        [error] = in_time([spawned(producer.message_hello)], 1.0, watch)
        green.close(0.05)

    assert (type(error), error.key) == (PublishFailed, "2")
    assert len(broker.published) == 2


def test_a_producer_can_be_made_while_the_connection_is_lost() -> None:
    broker = ScriptedBroker("lose", "refuse", "lose", ack)
    with listening(broker) as where:
        hup = {"host": where.host, "port": where.port, "user": "guest", "password": "guest"}
        kind = type("Producer", (messaging.GenericProducer,), {"eks": [(Depot, "rk")]})
        kind(hup=hup).message_hello()
        green.close(0.05)

    assert broker.answered_by == ["lose", "refuse", "lose", ack]
    assert broker.declared[-1] == ["depot"]
    assert len(broker.published) == 1


def test_a_limit_in_the_past_raises_publish_failed() -> None:
    with pair_with(ScriptedBroker(ack)) as pair:
        for limit in (0.0, -1.0):
            with pytest.raises(PublishFailed):
                publish_confirmed(pair, message(), limit=limit)
        publish_confirmed(pair, message(), limit=SOON)


def test_an_unanswered_operation_is_retried_within_the_limit() -> None:
    broker = ScriptedBroker("declare")
    with pair_with(broker, operation_timeout=0.2) as pair:
        watch = Stopwatch()
        run = spawned(publish_confirmed, pair, message(), limit=1.0)
        [error] = in_time([run], 1.0, watch, earliest=0.5)

    assert type(error) is PublishFailed


# --- errors at once


@pytest.mark.parametrize("how", [publish, publish_confirmed])
def test_without_a_first_connection_publishing_fails_at_once(how: Any) -> None:
    pair = Pair(Settings(host="127.0.0.1", port=free_ports(1)[0]))
    watch = Stopwatch()
    errors = outcomes([spawned(how, pair, message(n), limit=SOON) for n in range(100)], SOON)

    assert {type(error) for error in errors} == {BrokerUnreachable}
    assert watch.own < 1


WAITS: dict[str, list[str | Answer]] = {
    "for a confirm": [ignore],
    "between two tries": [nack],
    "for another connection": [hang_up, "refuse"],
    "for a connection that does not open": [hang_up, "connect"],
    "for a declaration": [hang_up, "declare"],
    "for a channel": [hang_up, "open"],
}


def is_reached(wait: str, broker: ScriptedBroker) -> bool:
    """Tell whether the publishers of 100 messages have come to where they wait."""
    if wait == "for a confirm":
        return len(broker.published) == 100
    if wait == "between two tries":  # by then the pauses are so long that most of them pause
        return len(broker.published) >= 400
    return broker.silent or len(broker.ids) > 2


@pytest.mark.parametrize("wait", WAITS)
def test_when_our_side_closes_all_who_wait_hear_it_at_once(wait: str) -> None:
    broker = ScriptedBroker(*WAITS[wait])
    with pair_with(broker) as pair:
        runs = [spawned(publish_confirmed, pair, message(n), limit=60) for n in range(100)]
        wait_until(lambda: is_reached(wait, broker), SOON)
        assert not any(run.dead for run in runs)
        watch = Stopwatch()
        pair.close(0.05)
        errors = outcomes(runs, SOON)

    assert {type(error) for error in errors} == {ConnectionClosed}
    assert watch.own < GRACE


def test_a_timeout_of_the_callers_own_is_the_callers() -> None:
    with pair_with(ScriptedBroker("declare")) as pair:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.1) as over:
            publish_confirmed(pair, message(), limit=SOON)
        assert caught.value is over


def test_killing_one_waiting_publisher_affects_no_other() -> None:
    broker = ScriptedBroker(ignore, ack)
    with pair_with(broker) as pair:
        runs = [spawned(publish_confirmed, pair, message(n), limit=SOON) for n in range(10)]
        wait_until(lambda: len(broker.published) == 10, SOON)
        runs[0].kill()
        broker.peers[0].send(FORCED)
        assert outcomes(runs[1:], SOON) == [None] * 9

    assert sorted(broker.ids[1]) == [str(n) for n in range(1, 10)]


def test_a_message_that_is_too_large_fails_alone() -> None:
    def judge(broker: ScriptedBroker, peer: Peer, channel: int, tag: int) -> None:
        too_large = "message size 9 is larger than configured max size 5"
        large = broker.published[-1] == "99"
        (close_channel(406, too_large) if large else ack)(broker, peer, channel, tag)

    broker = ScriptedBroker(judge)
    with pair_with(broker) as pair:
        large = message(99)._replace(body=b"too large")
        runs = [spawned(publish_confirmed, pair, message(n), limit=SOON) for n in range(20)]
        runs.append(spawned(publish_confirmed, pair, large, limit=SOON))
        *others, refused = outcomes(runs, SOON)

    assert others == [None] * 20
    assert (type(refused), refused.code) == (ChannelRefused, 406)
    assert broker.published.count("99") == 1


def test_repeated_channel_errors_of_others_end_at_the_limit() -> None:
    with pair_with(
        ScriptedBroker(close_channel(403, "access to exchange 'other' refused"))
    ) as pair:
        watch = Stopwatch()
        run = spawned(publish_confirmed, pair, message(), limit=0.5)
        [error] = in_time([run], 0.5, watch, earliest=0.5)

    assert type(error) is PublishFailed
    assert "keeps refusing messages of other publishers" in str(error)
    assert error.__cause__.code == 403


# --- without confirm


def test_without_confirm_it_waits_for_another_connection() -> None:
    broker = ScriptedBroker(hang_up, "refuse", "refuse", ack)
    with pair_with(broker) as pair:
        publish(pair, message(1), limit=SOON)
        wait_until(lambda: pair.publishing.losses, SOON)
        publish(pair, message(2), limit=SOON)
        wait_until(lambda: len(broker.published) == 2, SOON)

    assert broker.ids == [["1"], [], [], ["2"]]


def test_without_confirm_what_was_written_is_not_sent_again() -> None:
    broker = ScriptedBroker(hang_up, ack)
    with pair_with(broker) as pair:
        publish(pair, message(1), limit=SOON)
        wait_until(lambda: pair.publishing.losses, SOON)
        publish_confirmed(pair, message(2), limit=SOON)

    assert broker.ids == [["1"], ["2"]]
