"""Bad bodies: none ends a processor or hurts another message."""

from __future__ import annotations

import json
import logging

import pytest

from postage.testing.polling import wait_until
from tests.support.bad_bodies import BAD, ODD, body
from tests.support.bad_errors import RAISERS
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")


def test_the_table_is_as_long_as_promised():
    assert len(BAD) + len(ODD) + len(RAISERS) >= 70


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_malformed_body_is_rejected_counted_and_logged_once(case, data):
    case.put(data)
    case.assert_rejected(data)

    case.assert_lives()
    assert case.victim.counts["malformed"] == 1
    (record,) = case.logged()
    assert record.levelno == logging.ERROR
    assert len(record.getMessage()) < 500
    assert case.victim.seen == [{"parameters": "alive"}]


@pytest.mark.behaviour("other-languages", "message-outcomes")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "utf-16", "%s" * 100])
def test_the_encoding_of_a_malformed_body_is_named(case, encoding):
    case.put(b"\x1b\x07\x00\xf8", content_encoding=encoding)
    case.assert_rejected(b"\x1b\x07\x00\xf8")

    (record,) = case.logged()
    assert f"its content_encoding is {encoding[:40]!r}" in record.getMessage()


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_an_odd_message_is_handled_or_ignored(case, data):
    case.put(data)

    case.assert_lives()
    wait_until(lambda: case.victim.counts.total() == 2, SOON)
    expected = json.loads(data)
    taken = (expected["type"], expected["name"]) == ("command", "note")
    assert case.victim.seen == [expected["content"]] * taken + [{"parameters": "alive"}]
    assert case.victim.counts["unhandled"] == (not taken)
    texts = [record.getMessage() for record in case.logged()]
    assert len(texts) == (not taken)
    assert all("has no handler" in text and len(text) < 500 for text in texts)
    assert all(text.isprintable() for text in texts)


@pytest.mark.behaviour("other-languages", "message-outcomes")
@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/octet-stream", "content_encoding": "gzip"},
        {"content_type": ""},
        {"content_type": "x" * 255},
        {"content_type": b"\xff\xfe"},
        {"headers": {"a": {"b": [1, None, {"c": "d" * 1000}]}}},
        {"message_id": b"\xff\xfe", "type": "\u20ac", "app_id": "%s"},
        {"timestamp": 2**63},
        {"priority": 255},
        {"expiration": "60000", "reply_to": "nobody asked", "correlation_id": "x"},
    ],
    ids=repr,
)
def test_odd_properties_do_not_matter(case, properties):
    case.put(body(), **properties)

    case.assert_lives()
    wait_until(lambda: {"parameters": "good"} in case.victim.seen, SOON)
    assert case.logged() == []


@pytest.mark.behaviour("message-outcomes")
def test_a_flood_of_bad_bodies_does_not_hold_the_good_ones_up(case):
    small = [data for data in BAD.values() if len(data) < 10_000]
    for data in small:
        case.put(data)
        case.put(body())
    wait_until(lambda: case.victim.counts["malformed"] == len(small), SOON)
    wait_until(lambda: case.raw.count(case.endpoint.dead) == len(small), SOON)

    assert case.producer.rpc_echo("alive").value == "alive"
    assert case.victim.seen.count({"parameters": "good"}) == len(small)
