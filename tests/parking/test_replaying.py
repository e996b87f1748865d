"""A replay sends each message to the queue in which it failed, once, and loses none."""

from __future__ import annotations

import struct
import time
from contextlib import closing

import gevent
import pika
import pytest

from postage import GiveUp, green, parking
from postage.errors import NoRoute, NoSuchMessage, NotAcknowledged, ReplayStopped, SettingsError
from postage.green.amqp.properties import Properties, encoded_table
from postage.parking.walk import connection_to
from postage.testing import cut_connections
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


def test_all_are_replayed_in_their_order(places):
    places.park(20)

    done = parking.replay(places.parked)

    assert (done.count, done.left, done.refused) == (20, 0, 0)
    assert done.targets == {places.queue: 20}
    assert places.numbers(places.queue, 20) == [*range(20)]
    places.wait(places.parked, 0)


def test_a_copy_has_what_the_sender_wrote_and_nothing_of_ours(places):
    headers = places.headers(1, attempt=3, round=2, expiration="5000", **{"user-id": "guest"})
    theirs = {"x-tenant": "a", "CC": ["elsewhere"], "x-death": [], "n": 1}
    places.raw.put(
        places.parked, b"body", headers={**headers, **theirs}, message_id="m1", priority=3,
        correlation_id="c1", content_type="text/plain", app_id="shop", delivery_mode=2,
        expiration="600000", user_id="guest", timestamp=17, type="t", reply_to="r",
    )  # fmt: skip
    places.wait(places.parked, 1)

    parking.replay(places.parked)

    (found,) = places.take(places.queue, 1)
    told = found.properties
    assert (found.body, found.method.exchange, found.routing_key) == (b"body", "", places.queue)
    ours = {key: value for key, value in told.headers.items() if "count" not in key}
    origin = {"x-postage-exchange": "shop", "x-postage-routing-key": "order"}
    assert ours == {"x-tenant": "a", "n": 1, **origin}
    assert (told.message_id, told.correlation_id, told.priority) == ("m1", "c1", 3)
    assert (told.content_type, told.app_id, told.delivery_mode) == ("text/plain", "shop", 2)
    assert (told.timestamp, told.type, told.reply_to) == (17, "t", "r")
    assert (told.expiration, told.user_id) == (None, None)


def test_headers_are_copied_as_they_came(places):
    """pika decodes a float as an integer, and forgets the sizes of integers."""
    table = b"\x01fd" + struct.pack(">d", 1.5) + b"\x01nb\x07"
    fields = encoded_table([table], places.headers(1))
    properties = Properties(headers=fields)
    with closing(connection_to(None).open_channel(confirms=True)) as channel:
        channel.publish_confirmed("", places.parked, properties, b"1", limit=5)
    places.wait(places.parked, 1)

    parking.replay(places.parked)

    (found,) = parking.look(places.queue)
    assert table in found.header


def test_some_are_chosen_and_the_others_keep_their_order(places):
    places.park(10)
    ids = [each.id for each in parking.look(places.parked)]

    done = parking.replay(places.parked, [ids[3], ids[7][:8]])
    even = parking.replay(places.parked, lambda message: int(message.body) % 2 == 0)
    one = parking.replay(places.parked, ids[5])

    assert (done.count, done.left, even.count, one.left) == (2, 8, 5, 2)
    assert places.numbers(places.queue, 8) == [3, 7, 0, 2, 4, 6, 8, 5]
    assert places.numbers(places.parked, 2) == [1, 9]


def test_a_limit_ends_it(places):
    places.park(5)

    assert parking.replay(places.parked, limit=0).left == 5
    done = parking.replay(places.parked, limit=2)

    assert (done.count, done.left) == (2, 3)
    assert places.numbers(places.parked, 3) == [2, 3, 4]


def test_a_rate_slows_it_down(places):
    places.park(4)
    started = time.monotonic()

    parking.replay(places.parked, rate=20)

    assert time.monotonic() - started >= 0.19


def test_a_dry_run_changes_nothing(places):
    places.park(3)
    places.raw.put(places.parked, b"3", headers=places.headers(3, queue="gone"))
    places.wait(places.parked, 4)

    done = parking.replay(places.parked, dry_run=True)

    assert (done.count, done.left, done.refused) == (3, 4, 1)
    assert isinstance(*done.refusals.values(), NoRoute)
    assert places.numbers(places.parked, 4) == [0, 1, 2, 3]
    assert places.raw.count(places.queue) == 0


def test_progress_is_told_and_can_end_it(places):
    places.park(5)
    seen: list[tuple[int, int]] = []

    def progress(taken: int, size: int) -> None:
        seen.append((taken, size))
        if taken == 3:
            raise KeyError

    with pytest.raises(KeyError):
        parking.replay(places.parked, progress=progress)

    assert seen == [(1, 5), (2, 5), (3, 5)]
    assert places.numbers(places.parked, 2) == [3, 4]
    assert places.numbers(places.queue, 3) == [0, 1, 2]


def test_a_queue_that_is_gone_keeps_its_messages_only(places):
    places.park(2)
    places.raw.put(places.parked, b"2", headers=places.headers(2, queue="gone"))
    places.raw.put(places.parked, b"3", headers=places.headers(3))
    places.wait(places.parked, 4)

    done = parking.replay(places.parked)

    assert (done.count, done.left, done.refused) == (3, 1, 1)
    assert isinstance(*done.refusals.values(), NoRoute)
    assert places.numbers(places.parked, 1) == [2]
    assert places.numbers(places.queue, 3) == [0, 1, 3]


def test_a_queue_that_is_full_keeps_the_messages_here(places):
    full = f"{places.queue}-full"
    limits = {"x-max-length": 2, "x-overflow": "reject-publish", "x-queue-type": "classic"}
    places.raw.declare(full, arguments=limits)
    places.park(6)

    done = parking.replay(places.parked, to=full)

    assert (done.count, done.left, done.refused) == (2, 4, 4)
    assert all(isinstance(each, NotAcknowledged) for each in done.refusals.values())
    assert places.numbers(places.parked, 4) == [2, 3, 4, 5]


@pytest.mark.parametrize("queue", ["", None, 7])
def test_a_message_of_an_unknown_queue_needs_a_name(places, queue):
    places.raw.put(places.parked, b"1", headers=places.headers(1, queue=queue))
    places.wait(places.parked, 1)

    done = parking.replay(places.parked)

    assert "--to" in str(*done.refusals.values())
    assert parking.replay(places.parked, to=places.queue).count == 1


def test_a_message_is_not_replayed_to_the_queue_it_lies_in(places):
    """A peer can write any name into the header; the replay would never end."""
    places.raw.put(places.parked, b"1", headers=places.headers(1, queue=places.parked))
    places.wait(places.parked, 1)

    assert parking.replay(places.parked).refused == 1
    with pytest.raises(SettingsError, match="itself"):
        parking.replay(places.parked, to=places.parked)

    places.wait(places.parked, 1)


@pytest.mark.parametrize(
    "options",
    [
        *({"rate": each} for each in (0, -1, float("nan"), "5")),
        *({"limit": each} for each in (-1, 1.5, "1")),
        *({"to": each} for each in ("", "x" * 256, 5)),
        {"chosen": [5]},
    ],
    ids=str,
)
def test_odd_options_are_refused(places, options):
    with pytest.raises(SettingsError):
        parking.replay(places.parked, **options)


@pytest.mark.parametrize("text", ["", "1", "12345", "zzzzzz"])
def test_an_id_must_name_one_message(places, text):
    """A number of a place is none: it changes with each replay."""
    places.park(2)

    with pytest.raises(NoSuchMessage):
        parking.replay(places.parked, text)

    places.wait(places.parked, 2)


def test_two_replays_at_once_send_each_message_once(places):
    places.park(60)

    greenlets = [gevent.spawn(parking.replay, places.parked) for _ in range(2)]
    gevent.joinall(greenlets, timeout=30, raise_error=True)

    assert sum(each.get().count for each in greenlets) >= 60 - 2
    parking.replay(places.parked)  # each had one in hand when the other found the queue empty
    assert sorted(places.numbers(places.queue, 60)) == [*range(60)]


def test_others_that_consume_lose_nothing(places):
    """Each message goes to one of the two: to the consumer, or back to its queue."""
    places.park(20)
    raw, taken = places.raw, []
    raw.channel.basic_qos(prefetch_count=3)
    tag = raw.channel.basic_consume(places.parked, lambda *message: taken.append(message))
    places.wait(places.parked, 17)

    done = parking.replay(places.parked)

    assert done.count == 17
    raw.channel.basic_cancel(tag)
    raw.channel.close()
    assert sorted(places.numbers(places.parked, 3) + places.numbers(places.queue, 17)) == [
        *range(20)
    ]


def test_a_message_that_fails_again_is_not_replayed_forever(broker_env, raw):
    class Failing(Recorder):
        @Handles("command", "work")
        def work(self, content):
            self.seen.append(green.message().exchange)
            raise GiveUp("never")

    endpoint = Endpoint("fails-again")
    server, parked = at(endpoint, Failing), "fails-again.parked"
    with running(server):
        for number in range(5):
            endpoint.producer().message_work(number)
        wait_until(lambda: server.counts["parked"] == 5)

        done = parking.replay(parked)

        wait_until(lambda: server.counts["parked"] == 10)
    assert done.count == 5
    assert set(server.seen) == {endpoint.exchange.name}  # where it was sent first
    assert [each.dossier.attempts for each in parking.look(parked)] == [1] * 5
    assert {each.dossier.exchange for each in parking.look(parked)} == {endpoint.exchange.name}


def test_what_the_broker_dead_lettered_goes_back(raw):
    raw.declare("dead")
    to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    raw.declare("alive", arguments=to_dead)
    raw.put("alive", b"1", headers={"a": 1})
    raw.channel.basic_reject(raw.channel.basic_get("alive")[0].delivery_tag, requeue=False)
    wait_until(lambda: raw.count("dead") == 1)

    assert parking.replay("dead").targets == {"alive": 1}

    found = raw.take("alive")
    assert found.properties.headers == {"a": 1}  # no x-death, by which others would count it


def test_a_lost_connection_stops_it_and_says_how_far_it_came(places):
    places.park(5)

    def cut(taken: int, _size: int) -> None:
        if taken == 2:
            assert cut_connections("publishing") == 1

    with pytest.raises(ReplayStopped, match="after 2 messages"):
        parking.replay(places.parked, progress=cut)

    left = places.raw.count
    wait_until(lambda: left(places.parked) + left(places.queue) >= 5)
    assert left(places.queue) in (2, 3)


def test_another_body_takes_the_place_of_a_message(places):
    places.park(3)
    places.raw.declare(f"{places.queue}-kept")
    old = parking.look(places.parked)[1]

    new = parking.replace(places.parked, old.id, b"17", kept_in=f"{places.queue}-kept")

    found = parking.find(places.parked, new)
    assert (found.body, found.number, found.dossier) == (b"17", 3, old.dossier)
    assert found.properties.headers["x-tenant"] == "a"
    assert places.numbers(f"{places.queue}-kept", 1) == [1]
    assert places.numbers(places.parked, 3) == [0, 2, 17]


def test_a_message_is_kept_if_its_copy_cannot_be(places):
    places.park(2)
    first = parking.look(places.parked)[0]

    with pytest.raises(NoRoute):
        parking.replace(places.parked, first.id, b"17", kept_in="nowhere")

    assert places.numbers(places.parked, 2) == [0, 1]


def test_headers_that_are_too_large_are_refused(places):
    """The limit of the broker's frames is 128 KiB, and brokers add to what was published."""
    places.park(1)
    headers = {**places.headers(7), "large": "x" * 120_000}
    places.raw.channel.basic_publish(
        "", places.parked, b"7", pika.BasicProperties(headers=headers), mandatory=True
    )
    places.wait(places.parked, 2)

    done = parking.replay(places.parked)

    assert done.count + done.refused == 2


def test_beside_an_exclusive_consumer_nothing_is_lost(places):
    """What it holds stays with it; the look says that there is one."""
    places.park(5)
    raw, taken = places.raw, []
    raw.channel.basic_qos(prefetch_count=2)
    raw.channel.basic_consume(places.parked, lambda *message: taken.append(message), exclusive=True)
    places.wait(places.parked, 3)

    assert parking.look(places.parked).consumers == 1
    assert parking.replay(places.parked).count == 3

    raw.channel.close()
    assert sorted(places.numbers(places.parked, 2) + places.numbers(places.queue, 3)) == [*range(5)]
