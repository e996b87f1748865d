"""Bad replies: strays and doubles are dropped, and malformed ones are errors for their callers."""

from __future__ import annotations

import json

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.recovery import calls_of
from tests.support.running import SOON

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.fixture
def waiting(case):
    """A caller that waits on the shared reply queue, and the properties of its request."""
    case.assert_lives()  # now the caller knows that this destination echoes ids
    case.victim.stop_consuming()
    wait_until(lambda: case.raw.consumers(case.endpoint.queue) == 0, SOON)
    caller = gevent.spawn(case.producer.rpc_echo, "mine")
    request = case.raw.take(case.endpoint.queue)
    yield case, caller, request.properties
    caller.kill()


REPLY = json.dumps(messaging.MessageResult("mine").body).encode()


@pytest.mark.behaviour("rpc-timeout")
@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ({"correlation_id": "somebody else's"}, "late"),
        ({"correlation_id": ""}, "late"),
        ({"correlation_id": b"\xff"}, "late"),
    ],
    ids=["another id", "an empty id", "an id that is no text"],
)
@pytest.mark.parametrize(
    "stray",
    [REPLY.replace(b"mine", b"other"), b"", b"\xff" * 100],
    ids=["a reply", "an empty body", "no text"],
)
def test_a_reply_to_nobody_is_counted_and_dropped(waiting, ids, count, stray):
    case, caller, request = waiting
    before = calls_of(case.producer).counts[count]

    case.raw.put(request.reply_to, stray, **ids)
    wait_until(lambda: calls_of(case.producer).counts[count] == before + 1, SOON)
    assert not caller.dead
    case.raw.put(request.reply_to, REPLY, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).value == "mine"


@pytest.mark.behaviour("rpc-timeout")
def test_a_second_reply_to_the_same_call_is_dropped(waiting):
    case, caller, request = waiting
    before = calls_of(case.producer).counts["late"]
    for _ in range(2):
        case.raw.put(request.reply_to, REPLY, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).value == "mine"
    wait_until(lambda: calls_of(case.producer).counts["late"] == before + 1, SOON)


@pytest.mark.behaviour("rpc-queue-only")
@pytest.mark.parametrize(
    "reply", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"content": 7}']
)
def test_a_malformed_reply_is_an_error_for_its_caller_only(waiting, reply):
    case, caller, request = waiting
    other = gevent.spawn(case.producer.rpc_echo, "other")
    case.raw.put(request.reply_to, reply, correlation_id=request.correlation_id)

    assert caller.get(timeout=SOON).message.startswith("Malformed reply")
    other_request = case.raw.take(case.endpoint.queue).properties
    case.raw.put(other_request.reply_to, REPLY, correlation_id=other_request.correlation_id)
    assert other.get(timeout=SOON).value == "mine"
