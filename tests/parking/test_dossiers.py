"""Dossiers, ids and groups, from headers that anybody may have written.  Pure."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.errors import MalformedMessage
from postage.green.amqp.delivery import Delivery, UnreadableDelivery
from postage.green.amqp.properties import Properties
from postage.parking import FailedMessage, groups
from postage.parking.failed import Dossier

TRACEBACK = """Traceback (most recent call last):
  File "/site-packages/postage/dispatch.py", line 236, in dispatch
    returned = handler(message)
  File "/shop/orders.py", line 10, in order
    send()
  File "/site-packages/postage/green/publishing.py", line 5, in publish
    raise error
ValueError: no"""


def delivery(body: bytes = b"1", header: bytes | None = None, **values: Any) -> Delivery:
    made = Delivery("", 1, False, "", "orders.parked", 0.0)
    made.body = body
    if header is None:
        made._properties = Properties(**values)
    else:
        made.header = header
    return made


def message(number: int = 1, **headers: Any) -> FailedMessage:
    named = {f"x-postage-{name.replace('_', '-')}": value for name, value in headers.items()}
    return FailedMessage.of("orders.parked", number, delivery(headers=named))


FULL = {
    "why": "failed",
    "exception": "builtins.ValueError",
    "text": "no",
    "traceback": TRACEBACK,
    "handler": "Orders.order",
    "queue": "orders",
    "attempt": 3,
    "round": 1,
    "first_failed_ms": 1500,
    "parked_ms": 2500,
}


def test_a_dossier_is_read_from_our_headers():
    about = message(**FULL).dossier

    assert (about.why, about.exception, about.text) == ("failed", "builtins.ValueError", "no")
    assert (about.attempts, about.rounds, about.first_failed, about.parked) == (3, 1, 1.5, 2.5)
    assert (about.queue, about.handler, about.host) == ("orders", "Orders.order", "")


def test_the_place_is_the_innermost_outside_of_postage():
    assert message(**FULL).dossier.place == "/shop/orders.py:10"
    assert Dossier(traceback="").place == ""
    assert Dossier(traceback="no traceback").place == ""
    only_ours = 'File "/a/postage/dispatch.py", line 1, in dispatch'
    assert Dossier(traceback=only_ours).place == "/a/postage/dispatch.py:1"


@pytest.mark.parametrize("bad", [None, True, -1, 2**63, 1.5, b"\xff", [1], {"a": 1}])
def test_headers_of_a_wrong_type_count_as_absent(bad):
    odd = dict.fromkeys(("exception", "queue", "attempt", "parked_ms", "handler", "text"), bad)

    about = message(why="failed", **odd).dossier

    assert (about.exception, about.queue, about.attempts, about.parked) == ("", "", 0, None)


def death(**values: Any) -> dict[str, Any]:
    time = datetime(2026, 1, 2, tzinfo=timezone.utc)
    told = {"queue": "orders", "reason": "rejected", "exchange": "shop", "routing-keys": ["order"]}
    return {"count": 2, "time": time, **told, **values}


def of_broker(deaths: Any) -> Dossier:
    return FailedMessage.of("dead", 1, delivery(headers={"x-death": deaths})).dossier


def test_what_the_broker_wrote_is_read_from_x_death():
    about = of_broker([death()])

    assert (about.why, about.queue, about.exchange) == ("rejected", "orders", "shop")
    assert (about.routing_key, about.attempts) == ("order", 2)
    assert about.parked == datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp()


def test_the_queue_that_rejected_is_meant_not_one_of_waiting():
    assert of_broker([death(queue="waiting", reason="expired"), death()]).queue == "orders"
    assert of_broker([death(queue="late", reason="expired")]).queue == "late"


@pytest.mark.parametrize(
    "deaths", [None, 1, "x", [], [1, None], {}, [{}], [death(queue=1, time=1, count="x")]]
)
def test_an_odd_x_death_does_no_harm(deaths):
    assert of_broker(deaths).queue == ""


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.text(max_size=9)
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
names = st.sampled_from(
    ["x-death", *(f"x-postage-{name.replace('_', '-')}" for name in FULL), "x-postage-send-id"]
)


@given(st.dictionaries(names | st.text(max_size=9), json_like), st.binary())
def test_no_header_and_no_body_makes_it_raise(headers, body):
    found = FailedMessage.of("dead", 1, delivery(body, headers=headers))

    assert len(found.id) == 12
    assert len(found.group) == 6
    json.dumps(found.as_dict())
    assert groups([found])[0].count == 1


@pytest.mark.parametrize("header", [b"", b"\x00", b"\xff\xff", b"\x20\x00\x00\x00\x00\x09abc"])
def test_damaged_properties_are_told(header):
    found = FailedMessage.of("dead", 1, delivery(header=header))

    assert found.damaged
    assert found.body == b"1"
    json.dumps(found.as_dict())


def test_a_delivery_that_cannot_be_read_is_told():
    unread = UnreadableDelivery(delivery(), "it is cut short")
    with pytest.raises(MalformedMessage):
        _ = unread.body

    assert FailedMessage.of("dead", 1, unread).damaged == "it is cut short"


def test_the_name_is_that_of_a_message_of_postage():
    body = b'{"type": "command", "name": "order"}'

    assert FailedMessage.of("dead", 1, delivery(body)).name == "command order"
    for other in (b"", b"{", b"[1]", b'{"type": 1, "name": "x"}', b"\xff", b"[" * 5000):
        assert FailedMessage.of("dead", 1, delivery(other)).name == ""


def test_counts_of_the_broker_do_not_change_the_id():
    ids = {
        FailedMessage.of("q", 1, delivery(headers={"a": 1, **counts})).id
        for counts in ({}, {"x-delivery-count": 1}, {"x-delivery-count": 2, "x-acquired-count": 2})
    }

    assert len(ids) == 1


def test_different_messages_have_different_ids():
    made = [
        delivery(b"1"), delivery(b"2"), delivery(b"1", headers={"a": 1}),
        delivery(b"1", headers={"a": "1"}), delivery(b"1", message_id="x"),
        delivery(headers={"x-postage-send-id": "x"}), delivery(headers={"x-postage-send-id": "y"}),
    ]  # fmt: skip

    assert len({FailedMessage.of("q", 1, each).id for each in made}) == len(made)


def test_groups_are_by_exception_place_and_handler():
    same = [message(n, **{**FULL, "text": str(n), "parked_ms": n * 1000}) for n in (3, 1, 2)]
    others = [
        message(9, **{**FULL, "exception": "builtins.KeyError"}),
        message(9, **{**FULL, "handler": "Orders.cancel"}),
        message(9, **{**FULL, "traceback": TRACEBACK.replace("line 10", "line 11")}),
    ]

    found = groups([*others, *same])

    assert [each.count for each in found] == [3, 1, 1, 1]
    first = found[0]
    assert (first.exception, first.place) == ("builtins.ValueError", "/shop/orders.py:10")
    assert (first.oldest, first.newest, first.first) == (1.0, 3.0, same[0].id)
    assert first.id == same[0].group
    assert len({each.id for each in found}) == 4


def test_no_messages_have_no_groups():
    assert groups([]) == []


def test_numbers_that_json_lacks_are_texts():
    odd = {"a": float("nan"), "b": [float("inf"), {"c": float("-inf")}], "d": 1.5}
    told = FailedMessage.of("orders.parked", 1, delivery(headers=odd)).as_dict()

    text = json.dumps(told["properties"]["headers"], allow_nan=False)
    assert json.loads(text) == {"a": "nan", "b": ["inf", {"c": "-inf"}], "d": 1.5}
