"""A look at a queue of dead letters tells all of it, and leaves it as it was."""

from __future__ import annotations

import pytest

from postage import GiveUp, Quorum, parking
from postage.errors import ChannelRefused, LookRefused, NoSuchMessage, SettingsError
from postage.parking import looking
from postage.parking.walk import arguments_of, connection_to, limit_of
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


def version(raw) -> tuple[int, ...]:
    """Return the version of RabbitMQ that the broker is, or is like."""
    told = raw.connection._impl.server_properties["version"]
    return tuple(map(int, str(told).split(".")[:2]))


def test_a_look_tells_what_is_there(places):
    places.park(3)

    found = parking.look(places.parked)

    assert [each.body for each in found] == [b"0", b"1", b"2"]
    assert [each.number for each in found] == [1, 2, 3]
    assert len({each.id for each in found}) == 3
    assert (found.more, found.consumers) == (0, 0)
    first = found[0]
    assert (first.queue, first.routing_key) == (places.parked, places.parked)
    assert (first.dossier.queue, first.dossier.exception) == (places.queue, "builtins.ValueError")
    assert first.properties.headers["x-tenant"] == "a"


def test_looks_at_parts_of_a_queue_keep_its_order(places):
    """Quorum queues keep returned messages apart, and deliver them first."""
    places.park(8)

    for limit in (3, 1, 5, 2, None, 4, 1):
        assert len(parking.look(places.parked, limit=limit)) == (limit or 8)
        assert parking.find(places.parked, "2").body == b"1"

    assert places.numbers(places.parked, 8) == [*range(8)]


def test_a_look_at_many_messages_keeps_their_order(places):
    """Before 4.3, the end of a channel gives back 10 before 2, and 100 in any order."""
    places.park(120)

    for limit in (115, 12, None):
        parking.look(places.parked, limit=limit)

    assert places.numbers(places.parked, 120) == [*range(120)]


def test_ids_stay_the_same_from_look_to_look(places):
    """Also those of messages without an id of their own, and of equal ones."""
    for body in (b"same", b"same", b"other", b"same"):
        places.raw.put(places.parked, body)
    places.wait(places.parked, 4)

    looks = [[each.id for each in parking.look(places.parked)] for _ in range(3)]

    assert looks[0] == looks[1] == looks[2]
    assert len(set(looks[0])) == 4


def test_a_look_ends_at_its_limit_and_says_what_is_left(places):
    places.park(5)

    found = parking.look(places.parked, limit=2)

    assert (len(found), found.more) == (2, 3)
    assert parking.look(places.parked, limit=0).more == 5


def test_a_look_ends_when_the_bodies_are_too_large(places, monkeypatch):
    monkeypatch.setattr(looking, "LARGEST_LOOK", 250)
    for _ in range(5):
        places.raw.put(places.parked, bytes(100))
    places.wait(places.parked, 5)

    found = parking.look(places.parked)

    assert (len(found), found.more) == (3, 2)


def test_a_body_of_many_frames_is_read(places):
    body = b"x" * 1_000_000
    places.raw.put(places.parked, body)
    places.wait(places.parked, 1)

    (found,) = parking.look(places.parked)

    assert found.body == body


def test_a_missing_queue_is_named(raw):
    with pytest.raises(ChannelRefused, match="no queue 'nothing-failed'"):
        parking.look("nothing-failed")


def test_consumers_are_counted(places):
    """What they hold cannot be seen."""
    places.park(2)
    raw = places.raw
    raw.channel.basic_qos(prefetch_count=1)
    tag = raw.channel.basic_consume(places.parked, lambda *_: None)
    places.wait(places.parked, 1)

    found = parking.look(places.parked)

    assert (len(found), found.consumers) == (1, 1)
    raw.channel.basic_cancel(tag)


def test_one_message_is_found_by_its_id_or_number(places):
    places.park(3)
    second = parking.look(places.parked)[1]

    for text in (second.id, second.id[:7], second.id.upper(), "2"):
        assert parking.find(places.parked, text).body == b"1", text


@pytest.mark.parametrize("text", ["4", "0", "zz", "", "-1", "2" * 5000, "\x1b[2J"])
def test_an_id_that_no_message_has_is_refused(places, text):
    places.park(3)

    with pytest.raises(NoSuchMessage) as caught:
        parking.find(places.parked, text)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_beginning_that_several_have_is_refused(places):
    places.park(20)
    ids = [each.id[0] for each in parking.look(places.parked)]
    common = next(each for each in ids if ids.count(each) > 1 and not each.isdigit())

    with pytest.raises(NoSuchMessage, match="several"):
        parking.find(places.parked, common)


@pytest.mark.parametrize("limit", [None, 2, -1])
def test_no_look_drops_a_message_of_a_quorum_queue(raw, limit):
    """Each return counts before RabbitMQ 4.3: a look is refused where there is a limit."""
    name, is_counted = f"looked-{limit}", version(raw) < (4, 3)
    given = {} if limit is None else {"x-delivery-limit": limit}
    # Other arguments come first among the differences that the broker names.
    arguments = {"x-queue-type": "quorum", "x-max-length-bytes": 10**6, **given}
    raw.declare(name, arguments=arguments)
    for number in range(3):
        raw.put(name, b"%d" % number)
    wait_until(lambda: raw.count(name) == 3)

    for _ in range(5):
        if is_counted and limit is not None:
            with pytest.raises(LookRefused, match="anyway"):
                parking.look(name)
        else:
            assert [each.body for each in parking.look(name)] == [b"0", b"1", b"2"]

    wait_until(lambda: raw.count(name) == 3)


def test_a_look_that_counts_can_be_had_anyway(raw):
    raw.declare("anyway", arguments={"x-queue-type": "quorum", "x-delivery-limit": 5})
    raw.put("anyway", b"1")
    wait_until(lambda: raw.count("anyway") == 1)

    for _ in range(3):
        assert len(parking.look("anyway", anyway=True)) == 1


def test_an_exclusive_queue_of_another_is_refused(raw):
    name = raw.declare("", durable=False, exclusive=True)

    with pytest.raises(ChannelRefused, match="405"):
        parking.look(name)


def test_a_quorum_queue_with_one_active_consumer_is_refused(raw):
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    raw.declare("single", arguments=arguments)
    raw.put("single", b"1")
    wait_until(lambda: raw.count("single") == 1)

    with pytest.raises(ChannelRefused, match="405"):
        parking.look("single")

    assert raw.count("single") == 1


def test_the_parking_queue_of_a_queue_is_found(places):
    assert parking.existing_queue(places.queue) == places.parked
    assert parking.existing_queue(places.parked) == places.parked
    places.raw.channel.queue_delete(places.parked)
    assert parking.existing_queue(places.queue) == places.queue
    with pytest.raises(ChannelRefused, match="no queue"):
        parking.existing_queue(places.parked)


def test_a_url_names_another_broker(places, broker_env, monkeypatch):
    monkeypatch.setenv("POSTAGE_VHOST", "no such vhost")
    places.park(1)

    assert len(parking.look(places.parked, url=broker_env.url)) == 1


def test_what_a_broker_has_dead_lettered_is_told(raw):
    raw.declare("foreign-dead")
    to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "foreign-dead"}
    raw.declare("foreign", arguments=to_dead)
    raw.put("foreign", b"\xff\x00 no text", headers={"theirs": [1, {"a": None}]})
    tag = raw.channel.basic_get("foreign")[0].delivery_tag
    raw.channel.basic_reject(tag, requeue=False)
    wait_until(lambda: raw.count("foreign-dead") == 1)

    (found,) = parking.look("foreign-dead")

    about = found.dossier
    assert (about.why, about.queue, about.routing_key) == ("rejected", "foreign", "foreign")
    assert about.parked is not None
    assert found.kind == ("rejected", "foreign", "")
    assert found.as_dict()["base64"]
    assert found.name == ""
    assert found.properties.headers["theirs"] == [1, {"a": None}]


def test_a_parking_queue_of_ours_has_no_delivery_limit(raw):
    """Its messages may be looked at as often as one likes."""

    class Failing(Recorder):
        @Handles("command", "work")
        def work(self, content):
            raise GiveUp("never")

    endpoint = Endpoint("unlimited")
    server = at(endpoint, Failing, endpoint.at((Quorum("unlimited"), endpoint.key)))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: server.counts["parked"] == 1)

    connection = connection_to(None)
    known = arguments_of(connection, "unlimited.parked")
    assert known["x-queue-type"] == "quorum"
    assert limit_of(connection, known) is None
    assert len(parking.look("unlimited.parked")) == 1


def test_odd_arguments_of_a_look_are_refused(places):
    places.park(2)
    for limit in (-1, 1.5, "1"):
        with pytest.raises(SettingsError, match="limit must be an int of at least 0"):
            parking.look(places.parked, limit=limit)
    with pytest.raises(SettingsError, match="id must be a text"):
        parking.find(places.parked, 1)
