"""What 1.2.1 sent, byte for byte and with its properties, given to our processors and producers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import messaging, microthreads
from tests.classic.recorded import FINGERPRINT, REPLIES, SENT, RecordedExchange

pytestmark = pytest.mark.transient_queues

QUEUE = {"name": "recorded-queue", "flags": {"durable": False}}
QUIT = "command, generated, no arguments"
NO_MESSAGE = "forward, any object"
RPCS = ["rpc, _queue_only", "rpc, generated, _queue_only"]
MESSAGES = [case for case in SENT if case not in (NO_MESSAGE, QUIT, *RPCS)]


class Listener(messaging.MessageProcessor):
    """Keeps what it gets, whole."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__({}, [(RecordedExchange, [(QUEUE, "unused")])], None, None)
        self.seen: list[dict[str, Any]] = []

    @messaging.MessageHandlerFullBody("command", "echo")
    @messaging.MessageHandlerFullBody("command", "join_group")
    @messaging.MessageHandlerFullBody("command", "sum")
    @messaging.MessageHandlerFullBody("command", "x")
    @messaging.MessageHandlerFullBody("command", "fwd")
    @messaging.MessageHandlerFullBody("status", "online")
    @messaging.MessageHandlerFullBody("none", "none")
    def keep(self, body):
        self.seen.append(body)

    @messaging.RpcHandler("command", "sum")
    @messaging.RpcHandler("command", "echo")
    def answer(self, content, reply_func):
        reply_func(content["parameters"])


def served(replay, *cases: str, **properties: Any) -> Listener:
    """Run a processor on the recorded messages *cases*, until the recorded ``quit``."""
    listener = Listener()
    for case in (*cases, QUIT):
        replay.put_record(QUEUE["name"], SENT[case], **(properties if case != QUIT else {}))
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(listener)
    with gevent.Timeout(10):
        for _ in scheduler.main():
            pass
    return listener


def left_in(replay, queue: str) -> int:
    """Return how many messages are left in *queue*."""
    count: int = replay.channel.queue_declare(queue, passive=True).method.message_count
    return count


@pytest.mark.behaviour("other-languages", "handler-decorators", "quit-and-restart")
def test_every_recorded_message_reaches_its_handler(replay, broker_env):
    listener = served(replay, *MESSAGES)
    assert listener.seen == [json.loads(SENT[case]["body"]) for case in MESSAGES]
    assert left_in(replay, QUEUE["name"]) == 0


@pytest.mark.behaviour("message-outcomes")
def test_messages_after_a_malformed_body_are_served(replay, broker_env):
    listener = served(replay, NO_MESSAGE, MESSAGES[0])
    assert listener.seen == [json.loads(SENT[MESSAGES[0]]["body"])]
    assert left_in(replay, QUEUE["name"]) == 0


@pytest.mark.behaviour("other-languages", "consumer-operations", "rpc-handlers")
@pytest.mark.parametrize("case", RPCS)
def test_a_recorded_rpc_is_answered_in_the_form_of_1_2_1(replay, broker_env, case):
    replies = replay.listen()
    served(replay, case, reply_to=replies)
    answer = replay.take(replies).value
    recorded = json.loads(REPLIES["bare"][0]["body"])
    recorded["content"]["value"] = json.loads(SENT[case]["body"])["content"]["parameters"]
    assert answer.keys() == recorded.keys()
    assert answer == recorded | {"fingerprint": answer["fingerprint"]}


class Caller(messaging.GenericProducer):
    eks = [(RecordedExchange, "rk")]  # noqa: RUF012 - the classic form


RESULTS: dict[str, Callable[[], messaging.MessageResult]] = {
    "ok": lambda: messaging.MessageResult({"got": {"a": 1}}, "done"),
    "bare": lambda: messaging.MessageResult({"plain": 1}),
    "err": lambda: messaging.MessageResultError("it failed"),
    "exc": lambda: messaging.MessageResultException("KeyError", "'missing'"),
    "twice": lambda: messaging.MessageResult(1),
}


def test_every_recorded_reply_is_in_the_table():
    assert {case for case, replies in REPLIES.items() if replies} == RESULTS.keys()


@pytest.mark.behaviour("other-languages", "message-results", "rpc-call")
@pytest.mark.parametrize("case", RESULTS)
def test_a_recorded_reply_without_any_property_ends_the_call(replay, broker_env, case):
    requests = replay.listen("rk")
    call = gevent.spawn(Caller(FINGERPRINT).rpc_echo, "x", _timeout=5)
    reply_to = replay.take(requests).properties.reply_to
    for reply in REPLIES[case]:
        replay.put_record(reply_to, reply)
    result = call.get(timeout=10)
    assert type(result) is type(RESULTS[case]())
    assert result == RESULTS[case]()


@pytest.mark.behaviour("rpc-queue-only")
@pytest.mark.parametrize("case", RESULTS)
def test_recorded_replies_are_collected_from_their_queue(replay, broker_env, case):
    replay.listen("rk")
    caller, seen = Caller(FINGERPRINT), []
    queue = caller.rpc_echo("x", _queue_only=True)
    for reply in REPLIES[case]:
        replay.put_record(queue, reply)
    results = caller.consume_rpc(queue, len(REPLIES[case]), seen.append, timeout=5)
    assert seen == [json.loads(reply["body"]) for reply in REPLIES[case]]
    assert results[0] == RESULTS[case]()
    assert len(results) == len(seen)


@pytest.mark.behaviour("rpc-timeout")
def test_a_second_reply_does_not_answer_the_next_call(replay, broker_env):
    requests, caller = replay.listen("rk"), Caller(FINGERPRINT)
    for case, value in (("twice", 1), ("bare", {"plain": 1})):
        call = gevent.spawn(caller.rpc_echo, "x", _timeout=5)
        reply_to = replay.take(requests).properties.reply_to
        for reply in REPLIES[case]:
            replay.put_record(reply_to, reply)
        assert call.get(timeout=10).value == value
