"""The record of publishes without confirms: which are refused, and which are written again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.errors import ChannelRefused
from postage.green.amqp.codec import content_frames, publish_frame
from postage.green.amqp.properties import Properties
from postage.green.amqp.publish_record import PublishEntry, split
from tests.support.wire import beginning, short_strings, some_properties

LARGE = "PRECONDITION_FAILED - message size 30 is larger than configured max size 20"
TEXTS = {
    "size": (406, LARGE),
    "hard limit": (406, "PRECONDITION_FAILED - message size 30 is larger than max size 20"),
    "missing": (404, "NOT_FOUND - no exchange 'bad' in vhost 'bad'"),
    "denied": (403, "ACCESS_REFUSED - access to exchange 'bad' in vhost '/' refused for user 'ok'"),
    "internal": (403, "ACCESS_REFUSED - cannot publish to internal exchange 'bad' in vhost '/'"),
    "topic": (403, "ACCESS_REFUSED - access to topic 'k' in exchange 'bad' in vhost '/' refused"),
}


def frames(exchange: str = "ok", key: str = "k", size: int = 10, **properties: Any) -> bytes:
    """Return the frames of a publish."""
    content = content_frames(1, Properties(**properties).encode(), beginning(size), 4096)
    return publish_frame(1, exchange, key, True) + content


@given(
    exchange=short_strings,
    key=short_strings,
    properties=some_properties,
    size=st.sampled_from([0, 1, 4087, 4088, 4089, 10_000]),
    mandatory=st.booleans(),
)
def test_an_entry_is_what_was_published(
    exchange: str, key: str, properties: dict[str, Any], size: int, mandatory: bool
) -> None:
    content = content_frames(3, Properties(**properties).encode(), beginning(size), 4096)

    entry = PublishEntry.decode(publish_frame(3, exchange, key, mandatory) + content)

    assert entry[:2] == (exchange, key)
    assert entry.properties == Properties(**properties)
    assert (entry.body, entry.mandatory) == (beginning(size), mandatory)


@pytest.mark.parametrize("why", TEXTS)
@pytest.mark.parametrize("place", range(4))
def test_only_what_follows_the_refused_one_was_lost(why: str, place: int) -> None:
    is_large = "size" in TEXTS[why][1]
    bad = frames("ok", size=30) if is_large else frames("bad")
    written = [frames(message_id=str(n)) for n in range(3)]
    written.insert(place, bad)

    refused, others = split(written, ChannelRefused(*TEXTS[why]))

    assert [each.exchange for each in refused] == ["ok" if is_large else "bad"]
    assert [int(each.properties.message_id or 0) for each in others] == list(range(place, 3))


@pytest.mark.parametrize("why", TEXTS)
def test_what_would_be_refused_later_is_refused_at_once(why: str) -> None:
    bad = frames("bad", size=30)

    refused, others = split([frames(), bad, frames(), bad, frames()], ChannelRefused(*TEXTS[why]))

    assert (len(refused), len(others)) == (2, 2)


def test_replies_are_refused_by_the_name_of_the_default_exchange() -> None:
    text = "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'u'"

    refused, others = split([frames(), frames(""), frames()], ChannelRefused(403, text))

    assert ([each.exchange for each in refused], len(others)) == ([""], 1)


@pytest.mark.parametrize(
    "text", ["", "INTERNAL_ERROR", LARGE.replace("20", "100"), TEXTS["missing"][1].replace("d", "")]
)
def test_without_a_culprit_anything_may_be_lost(text: str) -> None:
    refused, others = split([frames(), frames("bad", size=30)], ChannelRefused(406, text))

    assert (refused, len(others)) == ([], 2)
