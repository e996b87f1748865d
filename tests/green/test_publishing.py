"""Publishing at least once: through trouble, within one limit, and never longer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from pika import spec

from postage import green, messaging
from postage.errors import (
    BrokerUnreachable,
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    NoRoute,
    NotAcknowledged,
    OperationTimeout,
    PublishFailed,
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green.amqp.frames import Properties
from postage.green.amqp.pair import Pair, pair_of
from postage.green.publication import Publication
from postage.green.publisher import publish, publish_confirmed
from postage.settings import Settings
from postage.testing.rabbitmq import free_ports
from postage.testing.waiting import wait_until
from tests.faults.proxy import Proxy
from tests.support.broker import listen, take, take_all
from tests.support.peer import Peer, listening
from tests.support.places import Place, exchange
from tests.support.stopwatch import Stopwatch
from tests.support.taker import Answer, Taker, ack, close_channel, hang_up, ignore, nack
from tests.support.trying import outcomes, trying
from tests.support.wire import method

PLAIN = os.environ.get("POSTAGE_PLAIN_PIKA") == "1"
SOON = 10.0
GRACE = 0.5
"""What a wait may last beyond its limit."""
FORCED = method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
"""What a broker says that an operator stops."""


class Depot(Exchange):
    """Where the messages of these tests go."""

    name = "depot"


def message(number: int = 1, to: type[Exchange] = Depot, **more: Any) -> Publication:
    """Return a message whose id is its number."""
    return Publication(to, "rk", Properties(message_id=str(number)), b"body", **more)


@contextmanager
def pair_with(serve: Callable[[Peer], object], **settings: Any) -> Iterator[Pair]:
    """A pair whose broker is *serve*."""
    with listening(serve, plain_pika=PLAIN, **settings) as where:
        pair = Pair(where)
        try:
            yield pair
        finally:
            pair.close(0.05)


def in_time(
    runs: list[gevent.Greenlet[..., Any]], limit: float, watch: Stopwatch, *, earliest: float = 1.0
) -> list[Any]:
    """Return the outcomes of *runs*, which must end by their *limit*, and not long before.

    *earliest*: the part of the limit that they must have waited.
    """
    found = outcomes(runs, limit + 2 * SOON)
    took = watch.own
    assert took < limit + GRACE, f"it took {took:.2f} s, not {limit} s"
    assert watch.seconds >= limit * earliest - 0.05, f"it took only {took:.2f} s"
    return found


# --- sent again


@pytest.mark.parametrize("trouble", [nack, hang_up, close_channel(404, "no exchange 'other'")])
def test_it_is_sent_again_with_the_same_id(trouble: Answer) -> None:
    done = False

    def once(taker: Taker, peer: Peer, channel: int, tag: int) -> None:
        nonlocal done
        done, was_done = True, done
        (ack if was_done else trouble)(taker, peer, channel, tag)

    taker = Taker(once)
    with pair_with(taker) as pair:
        publish_confirmed(pair, message(7), limit=SOON)

    assert taker.published == ["7", "7"]


def test_all_that_waited_when_the_connection_was_lost_arrive_on_the_next_one() -> None:
    taker = Taker(ignore, ack)
    with pair_with(taker) as pair:
        runs = [trying(publish_confirmed, pair, message(n), limit=SOON) for n in range(100)]
        wait_until(lambda: len(taker.published) == 100, SOON)
        watch = Stopwatch()
        taker.peers[0].send(FORCED)
        assert outcomes(runs, SOON) == [None] * 100
        assert watch.own < 1

    assert sorted(taker.ids[1]) == sorted(taker.ids[0])
    assert taker.declared == [["depot"], ["depot"]], "once on each connection"


@pytest.mark.parametrize("refusal", ["refuse", "login", "vhost"])
def test_a_broker_that_refuses_everybody_while_it_restarts_is_waited_for(refusal: str) -> None:
    taker = Taker(hang_up, refusal, refusal, refusal, ack)
    with pair_with(taker) as pair:
        publish_confirmed(pair, message(7), limit=SOON)

    assert taker.answered_by == [hang_up, refusal, refusal, refusal, ack]
    assert taker.published == ["7", "7"]


def test_nacks_are_answered_by_pauses_that_grow_until_the_limit() -> None:
    taker = Taker(nack)
    with pair_with(taker) as pair:
        watch = Stopwatch()
        [error] = in_time(
            [trying(publish_confirmed, pair, message(), limit=1.0)], 1.0, watch, earliest=0.5
        )

    assert type(error) is PublishFailed
    assert type(error.__cause__) is NotAcknowledged
    assert 5 <= len(taker.published) <= 12


# --- the limit


STAGES = ("connect", "declare", "open")
SILENT: list[Any] = [(how, stage) for how in (publish, publish_confirmed) for stage in STAGES]
SILENT.append((publish_confirmed, ignore))


@pytest.mark.parametrize(("how", "stage"), SILENT)
def test_a_thousand_wait_no_longer_than_their_limit_for_a_silent_broker(
    how: Any, stage: str | Answer
) -> None:
    with pair_with(Taker(stage)) as pair:
        watch = Stopwatch()
        runs = [trying(how, pair, message(n), limit=1.0) for n in range(1000)]
        errors = in_time(runs, 1.0, watch)

    assert {type(error) for error in errors} == {PublishFailed}
    assert {type(error.__cause__) for error in errors} <= {OperationTimeout, BrokerUnreachable}
    assert "within 1 s" in str(errors[0])


@pytest.mark.parametrize("stage", ["refuse", "login", "vhost", "connect", "declare", "open"])
def test_a_thousand_wait_no_longer_than_their_limit_for_another_connection(stage: str) -> None:
    taker = Taker(ignore, stage)
    with pair_with(taker) as pair:
        runs = [trying(publish_confirmed, pair, message(n), limit=1.5) for n in range(1000)]
        watch = Stopwatch()
        wait_until(lambda: len(taker.published) == 1000, SOON)
        taker.peers[0].send(FORCED)
        errors = in_time(runs, 1.5, watch, earliest=0.5)

    assert {type(error) for error in errors} == {PublishFailed}
    causes = {type(error.__cause__) for error in errors}
    if stage in ("refuse", "login", "vhost"):
        assert all(issubclass(cause, ConnectionFailed) for cause in causes), causes


def test_each_has_its_own_limit() -> None:
    with pair_with(Taker("declare")) as pair:
        watch = Stopwatch()
        limits = [0.2, 0.4, 0.6, 0.8]
        runs = [trying(publish_confirmed, pair, message(), limit=limit) for limit in limits]
        for run, limit in zip(runs, limits, strict=True):
            assert type(in_time([run], limit, watch)[0]) is PublishFailed


def test_waiting_for_room_and_for_the_confirm_is_one_limit() -> None:
    taker = Taker(ignore)
    with pair_with(taker) as pair:
        publish_confirmed_once(pair)
        blocked = method(0, spec.Connection.Blocked("low on memory"))
        taker.peers[0].send(blocked)
        wait_until(lambda: pair.publishing.get().blocked, SOON)
        watch = Stopwatch()
        run = trying(publish_confirmed, pair, message(), limit=1.5)
        gevent.sleep(1.2)
        taker.peers[0].send(method(0, spec.Connection.Unblocked()))
        [error] = in_time([run], 1.5, watch)

    assert type(error) is PublishFailed


def publish_confirmed_once(pair: Pair) -> None:
    """Have all there that a publish needs, though nobody confirms it."""
    with pytest.raises(PublishFailed):
        publish_confirmed(pair, message(), limit=0.1)


def test_all_exchanges_of_a_message_share_its_limit() -> None:
    def late(taker: Taker, peer: Peer, channel: int, tag: int) -> None:
        gevent.sleep(0.6)
        ack(taker, peer, channel, tag)

    taker = Taker(late)
    with listening(taker, plain_pika=PLAIN) as where:
        hup = {"host": where.host, "port": where.port, "user": "guest", "password": "guest"}
        eks = [(Depot, "1"), (Depot, "2"), (Depot, "3")]
        kind = type("Slow", (messaging.GenericProducer,), {"eks": eks, "publish_timeout": 1.0})
        producer = kind(hup=hup)
        watch = Stopwatch()
        [error] = in_time([trying(producer.message_hello)], 1.0, watch)
        green.close(0.05)

    assert (type(error), error.key) == (PublishFailed, "2")
    assert len(taker.published) == 2


def test_a_producer_is_made_although_the_connection_is_lost_meanwhile() -> None:
    taker = Taker("lose", "refuse", "lose", ack)
    with listening(taker, plain_pika=PLAIN) as where:
        hup = {"host": where.host, "port": where.port, "user": "guest", "password": "guest"}
        kind = type("Producer", (messaging.GenericProducer,), {"eks": [(Depot, "rk")]})
        kind(hup=hup).message_hello()
        green.close(0.05)

    assert taker.answered_by == ["lose", "refuse", "lose", ack]
    assert taker.declared[-1] == ["depot"]
    assert len(taker.published) == 1


def test_a_limit_that_is_over_is_no_crash() -> None:
    with pair_with(Taker(ack)) as pair:
        for limit in (0.0, -1.0):
            with pytest.raises(PublishFailed):
                publish_confirmed(pair, message(), limit=limit)
        publish_confirmed(pair, message(), limit=SOON)


def test_an_operation_that_is_not_answered_is_tried_again_within_the_limit() -> None:
    taker = Taker("declare")
    with pair_with(taker, operation_timeout=0.2) as pair:
        watch = Stopwatch()
        run = trying(publish_confirmed, pair, message(), limit=1.0)
        [error] = in_time([run], 1.0, watch, earliest=0.5)

    assert type(error) is PublishFailed


# --- errors at once


@pytest.mark.parametrize("how", [publish, publish_confirmed])
def test_where_there_never_was_a_connection_that_is_the_error_and_at_once(how: Any) -> None:
    pair = Pair(Settings(host="127.0.0.1", port=free_ports(1)[0], plain_pika=PLAIN))
    watch = Stopwatch()
    errors = outcomes([trying(how, pair, message(n), limit=SOON) for n in range(100)], SOON)

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


@pytest.mark.parametrize("wait", WAITS)
def test_when_our_side_closes_all_who_wait_hear_it_at_once(wait: str) -> None:
    taker = Taker(*WAITS[wait])
    with pair_with(taker) as pair:
        runs = [trying(publish_confirmed, pair, message(n), limit=60) for n in range(100)]
        wait_until(lambda: taker.answered_by == WAITS[wait] or len(taker.ids) > 2, SOON)
        gevent.sleep(1.0 if wait == "between two tries" else 0.1)  # the pauses have grown by then
        assert not any(run.dead for run in runs)
        watch = Stopwatch()
        pair.close(0.05)
        errors = outcomes(runs, SOON)

    assert {type(error) for error in errors} == {ConnectionClosed}
    assert watch.own < GRACE


def test_a_timeout_of_the_callers_own_is_the_callers() -> None:
    with pair_with(Taker("declare")) as pair:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.1) as over:
            publish_confirmed(pair, message(), limit=SOON)
        assert caught.value is over


def test_one_who_is_killed_while_all_wait_harms_nobody() -> None:
    taker = Taker(ignore, ack)
    with pair_with(taker) as pair:
        runs = [trying(publish_confirmed, pair, message(n), limit=SOON) for n in range(10)]
        wait_until(lambda: len(taker.published) == 10, SOON)
        runs[0].kill()
        taker.peers[0].send(FORCED)
        assert outcomes(runs[1:], SOON) == [None] * 9

    assert sorted(taker.ids[1]) == [str(n) for n in range(1, 10)]


def test_a_message_that_is_too_large_is_refused_and_disturbs_nobody() -> None:
    def judge(taker: Taker, peer: Peer, channel: int, tag: int) -> None:
        too_large = "message size 9 is larger than configured max size 5"
        large = taker.published[-1] == "99"
        (close_channel(406, too_large) if large else ack)(taker, peer, channel, tag)

    taker = Taker(judge)
    with pair_with(taker) as pair:
        large = message(99)._replace(body=b"too large")
        runs = [trying(publish_confirmed, pair, message(n), limit=SOON) for n in range(20)]
        runs.append(trying(publish_confirmed, pair, large, limit=SOON))
        *others, refused = outcomes(runs, SOON)

    assert others == [None] * 20
    assert (type(refused), refused.code) == (ChannelRefused, 406)
    assert taker.published.count("99") == 1


def test_what_others_do_wrong_again_and_again_ends_in_an_error_at_the_limit() -> None:
    with pair_with(Taker(close_channel(403, "access to exchange 'other' refused"))) as pair:
        watch = Stopwatch()
        run = trying(publish_confirmed, pair, message(), limit=0.5)
        [error] = in_time([run], 0.5, watch, earliest=0.5)

    assert type(error) is PublishFailed
    assert "what others publish is refused" in str(error)
    assert error.__cause__.code == 403


# --- without confirm


def test_without_confirm_it_waits_for_another_connection() -> None:
    taker = Taker(hang_up, "refuse", "refuse", ack)
    with pair_with(taker) as pair:
        publish(pair, message(1), limit=SOON)
        wait_until(lambda: pair.publishing.losses, SOON)
        publish(pair, message(2), limit=SOON)
        wait_until(lambda: len(taker.published) == 2, SOON)

    assert taker.ids == [["1"], [], [], ["2"]]


def test_without_confirm_what_was_written_is_not_sent_again() -> None:
    taker = Taker(hang_up, ack)
    with pair_with(taker) as pair:
        publish(pair, message(1), limit=SOON)
        wait_until(lambda: pair.publishing.losses, SOON)
        publish_confirmed(pair, message(2), limit=SOON)

    assert taker.ids == [["1"], ["2"]]


# --- on a real broker


@pytest.fixture
def queue(raw: Any, place: Place) -> str:
    """A queue that gets what is sent to `place`."""
    return listen(raw, place.exchange, place.key)


def behind(proxy: Proxy, env: Any, place: Place, **attributes: Any) -> Any:
    """Return a producer behind the *proxy*."""
    kind = type("Producer", (messaging.GenericProducer,), {"eks": place.eks, **attributes})
    return kind(hup={**env.hup, "port": proxy.port})


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("outage", [0.0, 0.5])
def test_a_producer_goes_on_after_a_lost_connection(
    proxy: Proxy, broker_env: Any, place: Place, raw: Any, queue: str, outage: float, confirm: bool
) -> None:
    producer = behind(proxy, broker_env, place, confirm=confirm)
    producer.message_before()
    assert take(raw, queue)["name"] == "before"
    if outage:
        proxy.refuse()
    proxy.cut()
    wait_until(lambda: pair_of(producer.settings).publishing.current is None, SOON)
    run = trying(producer.message_after)
    gevent.sleep(outage)
    proxy.accept()

    assert outcomes([run], SOON) == [None]
    assert take(raw, queue)["name"] == "after"


def test_under_cuts_every_message_arrives_at_least_once(
    proxy: Proxy, broker_env: Any, place: Place, raw: Any
) -> None:
    producer = behind(proxy, broker_env, place)
    queue = listen(raw, place.exchange, place.key)
    runs = [gevent.spawn(send_many, producer, sender, 40) for sender in range(25)]
    for _ in range(8):
        gevent.sleep(0.1)
        proxy.cut()
    gevent.joinall(runs, timeout=30, raise_error=True)
    assert all(run.dead for run in runs)

    sent = {f"{sender}-{number}" for sender in range(25) for number in range(40)}
    assert pair_of(producer.settings).publishing.losses > 1
    ids: dict[str, set[str]] = {}
    for _ in range(raw.count(queue)):
        taken = raw.take(queue)
        body = messaging.JsonEncoder.decode(taken.body)
        ids.setdefault(body["content"]["parameters"], set()).add(taken.properties.message_id)
    assert ids.keys() == sent
    assert all(len(known) == 1 for known in ids.values()), "who comes twice has the same id"


def send_many(producer: Any, sender: int, count: int) -> None:
    """Send *count* messages, each after the one before is confirmed."""
    for number in range(count):
        producer.message_hello(f"{sender}-{number}")
        gevent.sleep(0.02)


def test_a_broker_that_is_gone_too_long(proxy: Proxy, broker_env: Any, place: Place) -> None:
    producer = behind(proxy, broker_env, place, publish_timeout=1.0)
    producer.message_before()
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: pair_of(producer.settings).publishing.current is None, SOON)
    watch = Stopwatch()
    [error] = in_time([trying(producer.message_after)], 1.0, watch)

    assert type(error) is PublishFailed
    assert isinstance(error.__cause__, BrokerUnreachable)
    assert (error.exchange, error.key) == (place.exchange.name, "rk")
    assert "longer publish_timeout" in str(error)


def test_a_half_open_connection_is_an_error_at_the_limit(
    proxy: Proxy, broker_env: Any, place: Place
) -> None:
    producer = behind(proxy, broker_env, place, publish_timeout=1.0)
    producer.message_before()
    proxy.half_open()
    watch = Stopwatch()
    errors = in_time([trying(producer.message_after) for _ in range(50)], 1.0, watch)

    assert {type(error) for error in errors} == {PublishFailed}
    assert {type(error.__cause__) for error in errors} == {OperationTimeout}


def test_what_the_broker_forbids_is_an_error_at_once_and_disturbs_nobody(
    broker_env: Any, place: Place
) -> None:
    pair = pair_of(Settings.resolve())
    forbidden = exchange(place.sub("internal"))
    connection = pair.publishing.get()
    with connection.lease() as channel:
        channel.exchange_declare(**{**forbidden.parameters, "internal": True})
    # As declared by others: we may not publish to it, whoever we are.
    connection.declare(place.exchange)
    connection._declared[forbidden] = connection._declared[place.exchange]
    connection.forget(place.exchange)
    watch = Stopwatch()
    refused, *others = outcomes(
        [
            trying(publish_confirmed, pair, message(number, to), limit=5)
            for number, to in enumerate((forbidden, *[place.exchange] * 20))
        ],
        SOON,
    )

    assert (type(refused), refused.code) == (ChannelRefused, 403)
    assert others == [None] * 20
    assert watch.own < 2


def test_who_may_not_use_a_topic_disturbs_nobody_who_may(
    rabbitmq: Any, broker_env: Any, place: Place
) -> None:
    topic = exchange(place.sub("topic"), "topic")
    pair = pair_of(Settings.resolve())
    permissions = ("set_topic_permissions", "--vhost", broker_env.vhost, "guest", topic.name)
    connection = pair.publishing.get()
    connection.declare(topic)
    rabbitmq.ctl(*permissions, "^rk$", ".*")
    wrong = message(0, topic)._replace(key="secret")
    refused, *others = outcomes(
        [
            trying(publish_confirmed, pair, each, limit=5)
            for each in (wrong, *(message(number, topic) for number in range(20)))
        ],
        SOON,
    )

    assert (type(refused), refused.code) == (ChannelRefused, 403)
    assert others == [None] * 20


def test_an_exchange_that_was_made_otherwise_meanwhile_is_an_error_at_once(
    proxy: Proxy, broker_env: Any, place: Place, raw: Any
) -> None:
    producer = behind(proxy, broker_env, place)
    producer.message_before()
    raw.channel.exchange_delete(place.exchange.name)
    raw.channel.exchange_declare(place.exchange.name, "fanout", durable=True)
    proxy.cut()
    wait_until(lambda: pair_of(producer.settings).publishing.current is None, SOON)
    watch = Stopwatch()

    with pytest.raises(TopologyMismatch) as caught:
        producer.message_after()

    assert watch.own < 2
    assert (caught.value.flag, caught.value.ours, caught.value.theirs) == (
        "type",
        "direct",
        "fanout",
    )


def test_a_full_queue_takes_it_when_there_is_room(place: Place, raw: Any) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    messaging.GenericConsumer(place.at(({"name": place.queue, "flags": {"arguments": full}}, "rk")))
    producer = place.producer()
    producer.message_first()
    run = trying(producer.message_second)
    gevent.sleep(0.2)
    assert not run.dead
    assert take(raw, place.queue)["name"] == "first"

    assert outcomes([run], SOON) == [None]
    assert take(raw, place.queue)["name"] == "second"


# --- mandatory


def test_a_mandatory_message_for_nobody_is_an_error(place: Place, raw: Any, queue: str) -> None:
    producer = place.producer(mandatory=True)

    with pytest.raises(NoRoute, match="start its receiver") as caught:
        producer.message_hello(_key="nobody")

    assert (caught.value.exchange, caught.value.key) == (place.exchange.name, "nobody")
    producer.message_hello()
    assert take(raw, queue)["name"] == "hello"


def test_a_message_for_nobody_is_no_error_unless_it_is_mandatory(place: Place) -> None:
    place.producer().message_hello(_key="nobody")


@pytest.mark.parametrize("turn", range(3))
def test_of_many_at_once_those_for_nobody_fail_and_no_others(
    place: Place, raw: Any, queue: str, turn: int
) -> None:
    producer, lenient = place.producer(mandatory=True), place.producer()
    for each in (producer, lenient):
        each.message_first()
    take_all(raw, queue, 2)
    keys = [("rk", "nobody", "nowhere")[number % 3] for number in range(300)]
    runs = [trying(producer.message_hello, n, _key=key) for n, key in enumerate(keys)]
    runs += [trying(lenient.message_hello, n, _key=key) for n, key in enumerate(keys)]
    results = outcomes(runs, SOON)

    told = [result and (type(result), result.key) for result in results[:300]]
    assert told == [None if key == "rk" else (NoRoute, key) for key in keys]
    assert results[300:] == [None] * 300
    assert len(take_all(raw, queue, 200)) == 200


def test_what_an_alternate_exchange_takes_has_a_route(place: Place, raw: Any) -> None:
    lost = exchange(place.sub("lost"), "fanout")
    queue = listen(raw, lost, "")
    made = exchange(place.sub("made"), arguments={"alternate-exchange": lost.name})
    producer = place.producer(mandatory=True, eks=[(made, "nobody")])
    producer.message_hello()

    assert take(raw, queue)["name"] == "hello"


def test_without_confirm_those_for_nobody_are_logged_and_counted(place: Place, caplog: Any) -> None:
    producer = place.producer(mandatory=True, confirm=False)
    before = returned()
    for _ in range(25):
        producer.message_hello(_key="nobody")
    wait_until(lambda: returned() == before + 25, SOON)

    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(lines) <= 3, "not a line for each"
    assert all("'nobody'" in line for line in lines)


def returned() -> int:
    """Return how many messages came back on the channels there are."""
    return sum(c.returned for connection in green.statistics() for c in connection.channels)


def test_a_mandatory_message_is_sent_again_like_any_other(
    proxy: Proxy, broker_env: Any, place: Place, raw: Any, queue: str
) -> None:
    producer = behind(proxy, broker_env, place, mandatory=True)
    producer.message_before()
    take(raw, queue)
    proxy.cut()
    producer.message_after()
    with pytest.raises(NoRoute):
        producer.message_after(_key="nobody")

    assert take(raw, queue)["name"] == "after"
