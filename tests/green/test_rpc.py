"""Calls: their results, where they go, and their limits."""

from __future__ import annotations

import gc
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.green.rpc.replies import ReplyQueue
from postage.green.runtime import DECLARED_AT_ONCE
from postage.message import result_from
from postage.testing.polling import wait_until
from tests.support.answering import server
from tests.support.endpoints import exchange
from tests.support.running import SOON, consuming, running, warm
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")

#: Seconds that no test lasts, not even where rabbitmqctl takes half a minute.
AGES = 300.0


# --- results, and where a call goes


@pytest.fixture
def without_collector():
    """Let nothing but its last reference free an object."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("call", ["echo", "fail", "crash", "unknown"])
def test_a_call_leaves_no_cycles_to_be_collected(endpoint, without_collector, call):
    with running(server(endpoint.eqk)):
        producer = endpoint.producer()
        producer.call(call, 1)  # the first one makes the queue for replies
        gc.collect()
        for number in range(100):
            producer.call(call, number)
        assert gc.collect() < 100


@pytest.mark.behaviour("rpc-call")
@pytest.mark.parametrize(
    ("call", "kind", "said", "expected"),
    [
        ("echo", messaging.MessageResult, "as you said", {"a": [1, None, "é"]}),
        ("fail", messaging.MessageResultError, "foreseen", None),
        ("crash", messaging.MessageResultException, "'missing'", "KeyError"),
    ],
)
def test_each_kind_of_result_is_rebuilt_from_the_reply(endpoint, call, kind, said, expected):
    with running(server(endpoint.eqk)):
        result = getattr(endpoint.producer(), f"rpc_{call}")({"a": [1, None, "é"]})

    assert type(result) is kind
    assert (result.value, result.message) == (expected, said)
    assert bool(result) is (call == "echo")


@pytest.mark.behaviour("rpc-call")
def test_a_call_blocks_its_greenlet_and_no_other(endpoint):
    turns: list[int] = []

    def others() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.01)

    with running(server(endpoint.eqk)):
        other = gevent.spawn(others)
        assert endpoint.producer().rpc_slow({"seconds": 0.2, "answer": "done"}).value == "done"
        other.kill()

    assert len(turns) > 5


@pytest.fixture
def three(endpoint):
    """Three servers on keys of their own, one of them at another exchange, and a producer."""
    other = exchange(endpoint.sub("other"))
    servers = [
        server(endpoint.at((endpoint.sub("a"), "a"))),
        server(endpoint.at((endpoint.sub("b"), "b"))),
        server([(other, [(endpoint.sub("c"), "c")])]),
    ]
    producer = endpoint.producer(eks=[(endpoint.exchange, "a"), (other, "c")])
    with running(*servers):
        yield servers, producer, other


@pytest.mark.behaviour("rpc-call")
def test_a_call_goes_to_the_first_pair_alone(three):
    servers, producer, _ = three

    warm(producer)

    assert [s.ran for s in servers] == [["warm"], [], []]


@pytest.mark.behaviour("rpc-call")
def test_key_sends_a_call_to_the_first_exchange_with_that_key(three):
    servers, producer, _ = three

    assert producer.rpc_echo("x", _key="b").value == "x"

    assert [s.ran for s in servers] == [[], ["x"], []]


@pytest.mark.behaviour("rpc-call")
def test_eks_sends_a_call_to_its_first_pair_and_beats_key(three):
    servers, producer, other = three

    eks = [(other, "c"), *producer.eks]
    assert producer.rpc_echo("x", _eks=eks, _key="b").value == "x"

    assert [s.ran for s in servers] == [[], [], ["x"]]


# --- time


def requests_of(call: Any, endpoint: Any) -> list[Any]:
    """Return the requests that *call* sends if no reply arrives."""
    with consuming(messaging.GenericConsumer(endpoint.eqk)) as got:
        result = call()
        assert isinstance(result, messaging.MessageResultException)
        assert result.value == "TimeoutError"
    return got


@pytest.mark.behaviour("rpc-retries", "rpc-timeout")
def test_an_unanswered_call_is_retried_with_one_id(endpoint):
    producer = endpoint.producer(rpc_timeout=0.1, max_retry=2)

    sent = requests_of(lambda: producer.rpc_echo("x"), endpoint)

    assert len(sent) == 3
    assert len({header.correlation_id for _, _, header, _ in sent}) == 1
    assert sent[0][2].correlation_id
    assert len({body for _, _, _, body in sent}) == 1
    assert {header.expiration for _, _, header, _ in sent} == {"100"}


@pytest.mark.behaviour("rpc-retries")
def test_arguments_beat_the_attributes_for_timeout_and_retries(endpoint):
    producer = endpoint.producer(rpc_timeout=30, max_retry=4)
    watch = Stopwatch()

    sent = requests_of(lambda: producer.rpc_echo("x", _timeout=0.15, _max_retry=1), endpoint)

    first, second = (int(header.expiration) for _, _, header, _ in sent)
    assert first == 150 >= second  # less if this machine was slow
    assert watch.seconds >= 0.3
    assert watch.own < 5


@pytest.mark.behaviour("rpc-retries")
def test_the_default_timeout_and_retries():
    assert (messaging.GenericProducer.rpc_timeout, messaging.GenericProducer.max_retry) == (30, 4)


@pytest.mark.behaviour("rpc-retries")
def test_tries_on_the_shared_reply_queue_expire_with_one_id(endpoint):
    producer = endpoint.producer(rpc_timeout=0.1, max_retry=2)
    with running(server(endpoint.eqk)):
        warm(producer)

    sent = requests_of(lambda: producer.rpc_echo("x"), endpoint)

    assert len(sent) == 3
    assert len({(h.correlation_id, h.expiration, h.reply_to) for _, _, h, _ in sent}) == 1


@pytest.mark.behaviour("rpc-retries")
def test_a_late_server_does_not_run_expired_calls(endpoint, raw):
    late = server(endpoint.eqk)
    producer = endpoint.producer()
    result = producer.rpc_echo("nobody waits", _timeout=0.1, _max_retry=2)
    assert result.value == "TimeoutError"

    wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)  # the broker drops it when it expires
    with running(late):
        assert producer.rpc_echo("awaited").value == "awaited"

    assert late.ran == ["awaited"]


@pytest.mark.behaviour("rpc-retries")
def test_a_later_try_can_be_answered(endpoint):
    """The first request expires unread; a later one finds a server."""
    late = server(endpoint.eqk)
    observer = messaging.GenericConsumer(endpoint.at((endpoint.sub("observer"), endpoint.key)))
    with consuming(observer) as requests:
        call = gevent.spawn(endpoint.producer().rpc_echo, "x", _timeout=0.3, _max_retry=10)
        wait_until(lambda: len(requests) == 3, SOON)  # so the first one has timed out
        with running(late):
            assert call.get(timeout=SOON).value == "x"

    assert 1 <= len(late.ran) < len(requests)


@pytest.mark.behaviour("rpc-retries")
def test_a_reply_to_an_earlier_try_answers_the_call(endpoint):
    slow = {"seconds": 0.4, "answer": "in the end"}

    with running(server(endpoint.eqk)):
        result = endpoint.producer().rpc_slow(slow, _timeout=0.25, _max_retry=3)

    assert result.value == "in the end"


@pytest.mark.behaviour("rpc-timeout")
@pytest.mark.parametrize("warmed", [False, True], ids=["first-call", "shared-reply-queue"])
def test_a_late_reply_never_reaches_another_call(endpoint, warmed):
    producer, processor = endpoint.producer(), server(endpoint.eqk)
    with running(processor):
        if warmed:
            warm(producer)
        late = producer.rpc_slow({"seconds": 0.3, "answer": "late"}, _timeout=0.1)
        assert late.value == "TimeoutError"
        assert "0.1 s" in late.message
        again = [producer.rpc_slow({"seconds": 0.05 * n, "answer": f"mine {n}"}) for n in range(5)]
        assert processor.consumer.consuming

    assert [result.value for result in again] == [f"mine {n}" for n in range(5)]


@pytest.mark.usefixtures("queues_for_replies")
def test_many_first_calls_are_answered_while_others_wait(endpoint, monkeypatch):
    keys = [f"key-{number}" for number in range(3 * DECLARED_AT_ONCE)]
    making: list[int] = []

    class Counted(ReplyQueue):
        def __init__(self, *args: Any) -> None:
            making.append(making[-1] + 1 if making else 1)
            super().__init__(*args)
            making.append(making[-1] - 1)

    monkeypatch.setattr("postage.green.rpc.calls.ReplyQueue", Counted)
    producer = endpoint.producer()
    with running(server(endpoint.at(*((endpoint.queue, key) for key in keys)))):
        calls = [gevent.spawn(producer.rpc_echo, key, _key=key) for key in keys]
        assert [call.get(timeout=SOON).value for call in calls] == keys
    assert len(making) == 2 * len(keys)
    assert max(making) <= DECLARED_AT_ONCE


# --- sending now, collecting later


@pytest.mark.behaviour("rpc-queue-only")
@pytest.mark.parametrize("form", ["argument", "name"])
def test_queue_only_returns_the_private_reply_queue(endpoint, form):
    producer = endpoint.producer()
    with running(server(endpoint.eqk)):
        if form == "argument":
            queue = producer.rpc_echo([1, 2], _queue_only=True)
        else:
            queue = producer.rpc_queue_echo([1, 2])
        results = producer.consume_rpc(queue)

    assert isinstance(queue, str)
    assert results == [messaging.MessageResult([1, 2], "as you said")]


@pytest.mark.behaviour("rpc-queue-only")
def test_the_answer_waits_in_its_queue_until_it_is_collected(endpoint):
    producer = endpoint.producer()
    with running(server(endpoint.eqk)):
        queues = [producer.rpc_queue_echo(number) for number in range(10)]
        assert producer.rpc_echo("after them").value == "after them"

    assert len(set(queues)) == 10
    for number in reversed(range(10)):
        assert producer.consume_rpc(queues[number])[0].value == number


@pytest.mark.behaviour("rpc-queue-only")
def test_consume_rpc_collects_replies_and_calls_the_callback(endpoint):
    """Two servers are bound to the same key, and both reply."""
    both = [server(endpoint.at((endpoint.sub(name), endpoint.key))) for name in "ab"]
    seen: list[Any] = []
    producer = endpoint.producer()

    with running(*both):
        queue = producer.rpc_queue_echo("x")
        results = producer.consume_rpc(queue, result_len=2, callback=seen.append)

    assert results == [messaging.MessageResult("x", "as you said")] * 2
    assert [result_from(reply) for reply in seen] == results
    assert {reply["type"] for reply in seen} == {"result"}


@pytest.mark.behaviour("rpc-queue-only")
def test_consume_rpc_raises_when_not_all_answers_came_in_time(endpoint):
    producer = endpoint.producer()
    with running(server(endpoint.eqk)):
        queue = producer.rpc_queue_echo("x")
        with pytest.raises(messaging.TimeoutError, match="1 of 2 replies") as late:
            producer.consume_rpc(queue, 2, timeout=0.3)

    assert [result.value for result in late.value.results] == ["x"]


@pytest.mark.behaviour("rpc-queue-only")
def test_consume_rpc_defaults_to_the_rpc_timeout(endpoint):
    producer = endpoint.producer(rpc_timeout=0.1)
    messaging.GenericConsumer(endpoint.eqk)  # a queue, so that the call is not returned

    with pytest.raises(messaging.TimeoutError, match=r"0 of 1 replies came within 0\.1 s"):
        producer.consume_rpc(producer.rpc_queue_echo("x"))


MALFORMED = {
    "no JSON": b"{",
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "not an object": b"[1]",
    "null": b"null",
    "a number": b"7",
    "no content": b"{}",
    "content null": b'{"content": null}',
    "content a list": b'{"content": []}',
    "no value": b'{"content": {"type": "success", "message": ""}}',
    "unknown type": b'{"content": {"type": "maybe", "value": 1, "message": ""}}',
    "type a list": b'{"content": {"type": [], "value": 1, "message": ""}}',
    "NaN": b'{"content": {"type": "success", "value": NaN, "message": ""}}',
    "10,000 levels deep": b'{"content": ' * 10_000 + b"1" + b"}" * 10_000,
}


@pytest.mark.behaviour("rpc-queue-only")
@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_reply_is_an_error_result(endpoint, raw, reply):
    producer = endpoint.producer()
    messaging.GenericConsumer(endpoint.eqk)
    queue = producer.rpc_queue_echo("x")
    raw.put(raw.take(endpoint.queue).properties.reply_to, reply)

    (result,) = producer.consume_rpc(queue)

    assert type(result) is messaging.MessageResultError
    assert result.message.startswith("Malformed reply ")


@pytest.mark.behaviour("rpc-call", "rpc-queue-only")
@pytest.mark.parametrize("warmed", [False, True], ids=["first-call", "shared-reply-queue"])
def test_a_malformed_reply_to_a_waiting_call_is_an_error(endpoint, raw, warmed):
    producer = endpoint.producer()
    raw.declare(endpoint.queue)
    if warmed:
        with running(server(endpoint.eqk)):
            warm(producer)
    messaging.GenericConsumer(endpoint.eqk)
    call = gevent.spawn(producer.rpc_echo, "x")
    request = raw.take(endpoint.queue).properties
    raw.put(request.reply_to, b"{", correlation_id=request.correlation_id)

    assert call.get(timeout=SOON).message.startswith("Malformed reply ")
