"""Queues as values: what each type accepts, and what it declares."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage import Classic, Quorum, SettingsError, Stream, green
from postage.addressing import queue_name_and_flags
from postage.queues import (
    DEFAULT_LIMIT,
    DELIVERY_LIMIT,
    limit_may_miss,
    unmet,
    with_limit,
    without_limit,
)
from postage.typed_queue import ConsumerOptions, TypedQueue

Make = Callable[..., TypedQueue]

TYPES = (Classic, Quorum, Stream)
#: Fields with the argument that they declare.
DECLARED: list[tuple[Make, dict[str, Any], dict[str, Any]]] = [
    (Quorum, {"delivery_limit": 5}, {"x-delivery-limit": 5}),
    (Quorum, {"delivery_limit": -1}, {"x-delivery-limit": -1}),
    (Quorum, {"delivery_limit": 0}, {"x-delivery-limit": 0}),
    (Quorum, {"message_ttl": 1.5, "expires": 60}, {"x-message-ttl": 1500, "x-expires": 60_000}),
    (Quorum, {"message_ttl": 0}, {"x-message-ttl": 0}),
    (Quorum, {"expires": 0.0001}, {"x-expires": 1}),
    (
        Quorum,
        {"max_length": 0, "max_length_bytes": 10},
        {"x-max-length": 0, "x-max-length-bytes": 10},
    ),
    (Quorum, {"overflow": "reject-publish"}, {"x-overflow": "reject-publish"}),
    (Quorum, {"dead_letter_exchange": ""}, {"x-dead-letter-exchange": ""}),
    (
        Quorum,
        {"dead_letter_exchange": "d", "dead_letter_routing_key": "k"},
        {"x-dead-letter-exchange": "d", "x-dead-letter-routing-key": "k"},
    ),
    (
        Quorum,
        {
            "dead_letter_strategy": "at-least-once",
            "dead_letter_exchange": "d",
            "overflow": "reject-publish",
        },
        {
            "x-dead-letter-strategy": "at-least-once",
            "x-dead-letter-exchange": "d",
            "x-overflow": "reject-publish",
        },
    ),
    (
        Quorum,
        {"delayed_retry": "failed", "delayed_retry_min": 0.5, "delayed_retry_max": 2},
        {
            "x-delayed-retry-type": "failed",
            "x-delayed-retry-min": 500,
            "x-delayed-retry-max": 2000,
        },
    ),
    (Quorum, {"consumer_timeout": 90.0}, {"x-consumer-timeout": 90_000}),
    (Quorum, {"initial_group_size": 3}, {"x-quorum-initial-group-size": 3}),
    (Quorum, {"leader_locator": "balanced"}, {"x-queue-leader-locator": "balanced"}),
    (Quorum, {"single_active_consumer": True}, {"x-single-active-consumer": True}),
    (Quorum, {"arguments": {"x-new": 1}}, {"x-new": 1}),
    (Classic, {"max_priority": 9}, {"x-max-priority": 9}),
    (Classic, {"mode": "lazy", "version": 2}, {"x-queue-mode": "lazy", "x-queue-version": 2}),
    (Classic, {"overflow": "reject-publish-dlx"}, {"x-overflow": "reject-publish-dlx"}),
    (Stream, {"max_age": 3600}, {"x-max-age": "3600s"}),
    (Stream, {"max_age": "7D"}, {"x-max-age": "7D"}),
    (Stream, {"max_length_bytes": 1 << 40}, {"x-max-length-bytes": 1 << 40}),
    (Stream, {"max_segment_size": 1000}, {"x-stream-max-segment-size-bytes": 1000}),
    (Stream, {"initial_cluster_size": 1}, {"x-initial-cluster-size": 1}),
]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
#: Where a stream begins, and the argument that says so.
OFFSETS: dict[Any, Any] = {
    **{text: text for text in ("first", "last", "next", "2h", "90s", "7D", "1Y", "3M", "5m")},
    **{number: number for number in (0, 1, 1 << 40)},
    NOON: NOON,
    timedelta(hours=1): "3600s",
}
#: What is refused, and what the error says.
REFUSED: list[tuple[Make, dict[str, Any], str]] = [
    (Quorum, {"exclusive": True}, "Classic(name, exclusive=True)"),
    (Quorum, {"auto_delete": True}, "expires=seconds"),
    (Quorum, {"durable": False}, "always durable"),
    (Quorum, {"durable": True}, "leave durable out"),
    (Quorum, {"max_priority": 5}, "Classic(name, max_priority=n)"),
    (Quorum, {"mode": "lazy"}, "it is of Classic"),
    (Quorum, {"max_age": 5}, "it is of Stream"),
    (Quorum, {"delivery_limits": 5}, "delivery_limit"),
    (Quorum, {"overflow": "reject-publish-dlx"}, "'reject-publish'"),
    (Quorum, {"delivery_limit": -2}, "from -1"),
    (Quorum, {"delivery_limit": True}, "an int"),
    (Quorum, {"delivery_limit": 2.0}, "an int"),
    (Quorum, {"message_ttl": -1}, "seconds"),
    (Quorum, {"message_ttl": "60"}, "seconds"),
    (Quorum, {"message_ttl": math.inf}, "finite"),
    (Quorum, {"expires": 0}, "> 0 seconds"),
    (Quorum, {"expires": 1e9}, "at most 315360000"),
    (Quorum, {"max_length": -1}, "at least 0"),
    (Quorum, {"dead_letter_routing_key": "k"}, "needs a dead_letter_exchange"),
    (Quorum, {"dead_letter_strategy": "at-least-once"}, 'overflow="reject-publish"'),
    (
        Quorum,
        {"dead_letter_strategy": "at-least-once", "dead_letter_exchange": "d"},
        'overflow="reject-publish"',
    ),
    (Quorum, {"delayed_retry": "all"}, "needs a delayed_retry_min"),
    (Quorum, {"delayed_retry": "some", "delayed_retry_min": 1}, "'all' or 'failed'"),
    (Quorum, {"delayed_retry_min": 1}, "need delayed_retry"),
    (Quorum, {"delayed_retry": "disabled", "delayed_retry_max": 1}, "need delayed_retry"),
    (
        Quorum,
        {"delayed_retry": "all", "delayed_retry_min": 2, "delayed_retry_max": 1},
        "at most delayed_retry_max",
    ),
    (Quorum, {"initial_group_size": 0}, "at least 1"),
    (Quorum, {"leader_locator": "random"}, "'client-local' or 'balanced'"),
    (Classic, {"exclusive_consumer": True, "single_active_consumer": True}, "choose one"),
    (Quorum, {"exclusive_consumer": True}, "single_active_consumer=True"),
    (Quorum, {"consumer_priority": 1 << 31}, "an int"),
    (Quorum, {"consumer_priority": "high"}, "an int"),
    (Quorum, {"passive": True, "delivery_limit": 5}, "leave delivery_limit out"),
    (Quorum, {"passive": True, "arguments": {"x-new": 1}}, "leave arguments out"),
    (Quorum, {"arguments": {"x-delivery-limit": 5}}, "write delivery_limit=..."),
    (Quorum, {"arguments": {"x-max-age": "1h"}}, "that is of Stream"),
    (Quorum, {"arguments": {"x-queue-type": "classic"}}, "its type is quorum"),
    (Quorum, {"arguments": {"x-new": object()}}, "an int of 64 bits"),
    (Quorum, {"arguments": 5}, "a dictionary"),
    (Classic, {"delivery_limit": 5}, "Quorum(name, delivery_limit=n)"),
    (Classic, {"max_priority": 256}, "from 1 to 255"),
    (Classic, {"version": 3}, "from 1 to 2"),
    (Classic, {"mode": "eager"}, "'default' or 'lazy'"),
    (Classic, {"exclusive": "yes"}, "True or False"),
    (Classic, {"exclusive": 1}, "True or False"),
    (Classic, {"durable": "yes"}, "True or False"),
    (Classic, {"passive": True, "exclusive": True}, "leave exclusive out"),
    (Classic, {"passive": True, "durable": True}, "leave durable out"),
    (Stream, {"exclusive": True}, "belongs to no connection"),
    (Stream, {"auto_delete": True}, "max_age=seconds"),
    (Stream, {"durable": False}, "always durable"),
    (Stream, {"expires": 60}, "max_age=seconds"),
    (Stream, {"message_ttl": 60}, "max_age=seconds"),
    (Stream, {"max_length": 60}, "max_length_bytes=n"),
    (Stream, {"delivery_limit": 60}, "takes nothing back"),
    (Stream, {"dead_letter_exchange": "d"}, "stays in the stream"),
    (Stream, {"single_active_consumer": True}, "stream protocol"),
    (Stream, {"consumer_priority": 1}, "leave it out"),
    (Stream, {"exclusive_consumer": True}, "leave it out"),
    (Stream, {"overflow": "drop-head"}, "it is of Quorum and Classic"),
    (Stream, {"max_age": 0}, "whole seconds"),
    (Stream, {"max_age": 1.5}, "whole seconds"),
    (Stream, {"max_age": math.inf}, "whole seconds"),
    (Stream, {"max_age": "90"}, "7D"),
    (Stream, {"max_age": "0s"}, "7D"),
    (Stream, {"max_segment_size": 3_000_000_001}, "3000000000"),
    (Stream, {"match_unfiltered": True}, "needs a filter"),
    (Stream, {"filter": ()}, "a tuple of texts"),
    (Stream, {"filter": 5}, "a tuple of texts"),
    *(
        (Stream, {"offset": offset}, "Stream.offset must be")
        for offset in (True, -1, 1.5, "x", "1x", "3600", "", NOON.replace(tzinfo=None))
    ),
    *((Stream, {"offset": timedelta(seconds=s)}, "Stream.offset must be") for s in (0, -5, 1.5)),
]


@pytest.mark.parametrize(("kind", "given", "declared"), DECLARED)
def test_fields_are_arguments_of_the_declaration(
    kind: Make, given: dict[str, Any], declared: dict[str, Any]
) -> None:
    queue = kind("q", **given)

    arguments = queue.flags["arguments"]

    assert arguments == {"x-queue-type": kind.__name__.lower(), **declared}  # type: ignore[attr-defined]
    assert [type(each) for each in arguments.values()][1:] == [*map(type, declared.values())]


@pytest.mark.parametrize(("kind", "given", "told"), REFUSED)
def test_what_a_type_does_not_allow_is_refused(
    kind: Make, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        kind("q", **given)

    assert told in str(caught.value)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", [None, 5, b"q", "x" * 256, "\ud800"], ids=repr)
def test_the_name_is_a_short_text(kind: Make, name: Any) -> None:
    with pytest.raises(SettingsError, match=r"name must be a text"):
        kind(name)


def test_the_broker_names_classic_queues_only() -> None:
    assert Classic("").flags == {"arguments": {"x-queue-type": "classic"}}
    for kind in (Quorum, Stream):
        with pytest.raises(SettingsError, match="give it a name"):
            kind("")


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
def test_a_stream_begins_where_it_is_told(offset: Any) -> None:
    assert Stream("s", offset=offset).consumer == ConsumerOptions(
        arguments={"x-stream-offset": OFFSETS[offset]}, is_stream=True
    )


def test_the_options_of_consumers_are_not_declared() -> None:
    queue = Classic("q", consumer_priority=-5, exclusive_consumer=True)
    stream = Stream("s", filter=("a", "b"), match_unfiltered=True)

    assert queue.flags == Classic("q").flags
    assert queue.consumer == ConsumerOptions(
        exclusive=True, arguments={"x-priority": -5}, keeps_turn=True
    )
    assert stream.flags == Stream("s").flags
    assert stream.consumer.arguments == {
        "x-stream-filter": ["a", "b"],
        "x-stream-match-unfiltered": True,
    }


def test_flags_of_classic_queues() -> None:
    assert Classic("q", durable=False).flags["durable"] is False
    assert "durable" not in Classic("q").flags
    assert Classic("q", exclusive=True, auto_delete=True).flags == {
        "exclusive": True,
        "auto_delete": True,
        "arguments": {"x-queue-type": "classic"},
    }


@pytest.mark.parametrize("kind", TYPES)
def test_a_passive_queue_declares_nothing(kind: Make) -> None:
    assert queue_name_and_flags(kind("q", passive=True)) == ("q", {"passive": True})


EQUAL = [
    (Classic("q"), {"name": "q"}),
    (Classic("q"), {"name": "q", "flags": None}),
    (Classic("q"), {"name": "q", "flags": {"durable": True, "auto_delete": False}}),
    (Classic("q", exclusive=True), {"name": "q", "flags": {"exclusive": True, "durable": False}}),
    (Classic("q", durable=False), {"name": "q", "flags": {"durable": False}}),
    (Quorum("q"), {"name": "q", "flags": {"arguments": {"x-queue-type": "quorum"}}}),
    (
        Quorum("q", delivery_limit=5, message_ttl=2),
        {
            "name": "q",
            "flags": {
                "durable": True,
                "arguments": {
                    "x-message-ttl": 2000,
                    "x-queue-type": "quorum",
                    "x-delivery-limit": 5,
                },
            },
        },
    ),
    (Stream("q"), {"name": "q", "flags": {"arguments": {"x-queue-type": "stream"}}}),
]


@pytest.mark.parametrize(("queue", "dictionary"), EQUAL, ids=repr)
def test_equal_declarations_in_either_form_are_equal(queue: Any, dictionary: Any) -> None:
    assert queue == dictionary
    assert dictionary == queue
    for other, declared in EQUAL:
        assert (queue == other) == (queue is other or repr(queue) == repr(other))
        assert (queue == declared) == (queue == other)


def test_other_consumers_and_other_values_are_not_equal() -> None:
    assert Quorum("q") != Quorum("q", consumer_priority=1)
    assert Quorum("q", consumer_priority=1) != EQUAL[5][1]
    assert Quorum("q") != "q"
    assert Quorum("q") != {"name": "q", "flags": 5}
    assert Quorum("q") != {"name": "q", "flags": {"arguments": 5}}
    assert Quorum("q") != {}
    assert Stream("q", offset="first") != Stream("q")
    assert Quorum("q", arguments={"x-a": 1}) == Quorum("q", arguments={"x-a": 1})
    assert {Quorum("q", max_length=1), Quorum("q", max_length=1)} == {Quorum("q", max_length=1)}


@pytest.mark.parametrize(("kind", "given"), [each[:2] for each in DECLARED])
def test_values_can_be_copied_shown_and_not_changed(kind: Make, given: dict[str, Any]) -> None:
    queue = kind("q", **given)

    assert pickle.loads(pickle.dumps(queue)) == queue  # noqa: S301 - our own pickle
    assert copy.deepcopy(queue) == copy.copy(queue) == queue
    assert eval(repr(queue)) == queue  # noqa: S307 - our own text
    assert hash(copy.deepcopy(queue)) == hash(queue)
    with pytest.raises(AttributeError):
        queue.name = "other"  # type: ignore[misc]
    assert not hasattr(queue, "__dict__")


def test_later_changes_of_given_arguments_have_no_effect() -> None:
    arguments = {"x-new": 1}
    queue = Quorum("q", arguments=arguments)

    arguments["x-new"] = 2

    assert queue.flags["arguments"]["x-new"] == 1


ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
FIELDS = sorted({name for kind in TYPES for name in kind.__dataclass_fields__} - {"name"})


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4))
def test_any_values_are_taken_or_refused(kind: Any, fields: dict[str, Any]) -> None:
    try:
        queue = kind("q", **fields)
    except SettingsError:
        return
    assert queue_name_and_flags(queue) == ("q", queue.flags)
    assert queue == copy.deepcopy(queue)


# --- limits and versions


@pytest.mark.parametrize(
    ("most", "limit"),
    [
        (None, -1),
        (50, 50),
        (DEFAULT_LIMIT + 1, DEFAULT_LIMIT + 1),
        (DEFAULT_LIMIT, None),
        (5, None),
    ],
)
def test_a_processor_that_takes_more_gets_a_limit(most: int | None, limit: int | None) -> None:
    queue = with_limit(Quorum("q", message_ttl=5), most)

    assert queue == Quorum("q", message_ttl=5, delivery_limit=limit)
    assert limit_may_miss(queue, queue.flags)
    assert without_limit(queue.flags) == Quorum("q", message_ttl=5).flags


@pytest.mark.parametrize(
    "queue",
    [
        *("q", Classic("q"), Stream("q"), Quorum("q", passive=True), EQUAL[6][1], EQUAL[7][1]),
        *({"name": "q"}, {"name": "q", "flags": None}, {"name": "q", "flags": 5}, 5, None),
        {"name": "q", "flags": {"arguments": 5}},
        {"name": "q", "flags": {"passive": True, "arguments": {"x-queue-type": "quorum"}}},
    ],
    ids=repr,
)
def test_other_queues_get_no_limit(queue: Any) -> None:
    assert with_limit(queue, None) is queue


@pytest.mark.parametrize(("most", "limit"), [(None, -1), (50, 50)])
def test_a_dictionary_gets_the_same_limit(most: int | None, limit: int) -> None:
    given = {"name": "q", "flags": {"durable": True, "arguments": {"x-queue-type": "quorum"}}}
    before = copy.deepcopy(given)

    limited = with_limit(given, most)

    assert given == before
    assert limited["flags"] == {"durable": True, **Quorum("q", delivery_limit=limit).flags}
    assert queue_name_and_flags(limited) == ("q", limited["flags"])
    for queue in (given, limited):
        assert limit_may_miss(queue, queue["flags"])


def test_a_limit_of_its_own_stays() -> None:
    for limit in (-1, 0, 5):
        queue = Quorum("q", delivery_limit=limit)
        assert with_limit(queue, None) is queue
        assert limit_may_miss(queue, queue.flags) == (limit == -1)
        assert queue.flags["arguments"][DELIVERY_LIMIT] == limit


@pytest.mark.parametrize(
    ("queue", "version", "names"),
    [
        (Quorum("q", delayed_retry="all", delayed_retry_min=1), (4, 2, 9), "x-delayed-retry-type"),
        (Quorum("q", delayed_retry="all", delayed_retry_min=1), (4, 3, 0), ""),
        (Quorum("q", delayed_retry="all", delayed_retry_min=1), (), ""),
        (Quorum("q", consumer_timeout=5), (3, 10, 8), "x-consumer-timeout"),
        (Quorum("q", consumer_timeout=5), (3, 12), ""),
        (Stream("q", filter="a"), (3, 12, 1), "x-stream-filter"),
        (Stream("q", filter="a"), (3, 13, 0), ""),
        (Quorum("q", delivery_limit=5), (3, 10, 8), ""),
    ],
)
def test_arguments_that_a_broker_ignores_are_named(
    queue: Any, version: tuple[int, ...], names: str
) -> None:
    found = unmet(queue.flags, queue.consumer, version)

    assert [each.partition(" ")[0] for each in found][:1] == [*filter(None, [names])]


def test_they_are_exported() -> None:
    assert (green.Quorum, green.Classic, green.Stream) == (Quorum, Classic, Stream)
