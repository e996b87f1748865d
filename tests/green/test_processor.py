"""Processors: who handles a message, what its handlers may do, and what the broker is told."""

from __future__ import annotations

import json
import logging
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging, microthreads
from postage.errors import ExitScheduler
from postage.testing.waiting import wait_until
from tests.support.places import Place
from tests.support.running import SOON, running, text, value

pytestmark = pytest.mark.usefixtures("broker_env")

Handles = messaging.MessageHandler
Answers = messaging.RpcHandler


class Recorder(messaging.MessageProcessor):
    """Keeps what its handlers say in `seen`."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])


def at(place: Place, kind: type[Any] = Recorder, eqk: Any = None) -> Any:
    """Return a processor of *kind* at *place*."""
    return kind({"name": kind.__name__}, place.eqk if eqk is None else eqk, None, None)


def through(place: Place, processor: Any, send: Any) -> list[Any]:
    """Run *processor*, ``send(producer)``, and return what it saw, when all of it is handled."""
    processor.concurrency = 1
    processor.consumer.prefetch = 1
    producer = place.producer()
    with running(processor):
        send(producer)
        assert value(producer.rpc_echo("the end")) == "the end"
    seen: list[Any] = processor.seen
    return seen


# --- row 37: what a processor is


@pytest.mark.row(37)
def test_a_processor_is_a_microthread_with_a_consumer_and_a_fingerprint(place, broker_env):
    class OwnConsumer(messaging.GenericConsumer):
        pass

    class Own(messaging.MessageProcessor):
        consumer_class = OwnConsumer

    processor = Own({"name": "me"}, place.eqk, broker_env.hup, broker_env.vhost)

    assert isinstance(processor, microthreads.MicroThread)
    assert type(processor.consumer) is OwnConsumer
    assert processor.consumer.qk_list == [(place.queue, place.key)]
    assert processor.consumer.vhost == broker_env.vhost
    assert processor.fingerprint["name"] == "me"
    assert set(processor.fingerprint) == set(messaging.Fingerprint().as_dict())


@pytest.mark.row(12, 37)
def test_a_fingerprint_may_be_an_object_of_any_class_with_as_dict(place):
    processor = messaging.MessageProcessor(messaging.Fingerprint("me", "kind"), place.eqk)

    assert processor.fingerprint == messaging.Fingerprint("me", "kind").as_dict()


# --- row 38: decorators


class Decorated(Recorder):
    @Handles("command", "content")
    def content_only(self, content):
        self.seen.append(content)
        return "called"

    @messaging.MessageHandlerFullBody("status", "online")
    def whole(self, body):
        self.seen.append(body)

    @Answers("command", "answer")
    def answer(self, content, reply_func):
        self.seen.append(content)
        reply_func(messaging.MessageResult("answered"))


class Online(messaging.GenericProducer):
    def build_message_online(self):
        return messaging.MessageStatus("online")


@pytest.mark.row(38)
def test_a_handler_gets_the_content_or_the_whole_body(place):
    def send(producer: Any) -> None:
        producer.message_content([1])
        place.producer(Online).message_online()

    content, body = through(place, at(place, Decorated), send)

    assert content == {"parameters": [1]}
    assert (body["type"], body["name"], body["category"]) == ("status", "online", "message")
    assert body["fingerprint"]["pid"]


@pytest.mark.row(38)
def test_an_rpc_handler_gets_the_content_and_a_reply_function(place):
    seen = through(place, at(place, Decorated), lambda p: p.rpc_answer({"a": 1}))

    assert seen == [{"parameters": {"a": 1}}]


@pytest.mark.row(38)
def test_a_decorated_method_can_be_called_directly(place):
    processor = at(place, Decorated)
    replies: list[Any] = []

    assert processor.content_only("mine") == "called"
    processor.answer("yours", replies.append)

    assert processor.seen == ["mine", "yours"]
    assert replies == [messaging.MessageResult("answered")]


@pytest.mark.row(38)
def test_type_name_and_category_must_all_fit(place):
    def send(producer: Any) -> None:
        producer.message_answer()  # an RPC handler, not a message handler
        producer.message_online()  # a command, not a status
        producer.message_other()

    processor = at(place, Decorated)

    assert through(place, processor, send) == []
    assert processor.counts["unhandled"] == 3


# --- row 39: several handlers


class Several(Recorder):
    @Handles("command", "hello")
    def zulu(self, content):
        self.seen.append(("first", content["parameters"].copy()))
        content["parameters"].append("changed")

    @Handles("command", "hello")
    def alpha(self, content):
        self.seen.append(("second", content["parameters"].copy()))
        content["parameters"].append("changed")

    @messaging.MessageHandlerFullBody("command", "hello")
    def mike(self, body):
        self.seen.append(("third", body["content"]["parameters"]))

    @Answers("command", "who")
    def one(self, content, reply_func):
        self.seen.append("one")
        reply_func("one")

    @Answers("command", "who")
    def another(self, content, reply_func):
        self.seen.append("another")
        reply_func("another")


@pytest.mark.row(39)
def test_all_handlers_run_in_definition_order_each_with_a_copy_of_its_own(place):
    seen = through(place, at(place, Several), lambda p: p.message_hello(["x"]))

    assert seen == [("first", ["x"]), ("second", ["x"]), ("third", ["x"])]


@pytest.mark.row(39)
def test_of_several_rpc_handlers_the_last_one_defined_answers(place):
    answers: list[Any] = []

    seen = through(place, at(place, Several), lambda p: answers.append(p.rpc_who()))

    assert [value(answer) for answer in answers] == ["another"]
    assert seen == ["another"]


# --- row 40: whose handlers they are


class Parent(Recorder):
    @Handles("command", "hello")
    def hello(self, content):
        self.seen.append("parent's")

    @Handles("command", "bye")
    def bye(self, content):
        self.seen.append("parent's bye")


class Child(Parent):
    @Handles("command", "hello")
    def hello(self, content):
        self.seen.append("child's")


class Undecorated(Parent):
    def hello(self, content):
        self.seen.append("undecorated")


class Sibling(Recorder):
    @Handles("command", "hello")
    def hello(self, content):
        self.seen.append("sibling's")


def greet(producer: Any) -> None:
    producer.message_hello()
    producer.message_bye()


@pytest.mark.row(40)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Parent, ["parent's", "parent's bye"]),
        (Child, ["child's", "parent's bye"]),
        (Undecorated, ["undecorated", "parent's bye"]),
        (Sibling, ["sibling's"]),
    ],
)
def test_handlers_belong_to_their_class_and_its_subclasses(place, kind, expected):
    assert through(place, at(place, kind), greet) == expected


@pytest.mark.row(40)
def test_a_handler_can_be_added_to_a_class_whose_processors_run(place):
    class Open(Recorder):
        pass

    @Handles("command", "late")
    def late(self, content):
        self.seen.append("plugged in")

    def send(producer: Any) -> None:
        producer.message_late()
        assert value(producer.rpc_echo("handled")) == "handled"
        Open.late = late
        producer.message_late()

    assert through(place, at(place, Open), send) == ["plugged in"]


@pytest.mark.row(40)
@pytest.mark.parametrize("how", ["add_handler", "attribute"])
def test_a_handler_can_be_added_to_one_instance(place, how):
    @Handles("command", "late")
    def late(self, content):
        self.seen.append(content["parameters"])

    one, other = at(place), at(place, eqk=place.at((place.sub("other"), place.key)))
    if how == "add_handler":
        one.add_handler(late)
    else:
        one.late = late.__get__(one)
    with running(other):
        assert through(place, one, lambda p: p.message_late(1)) == [1]

    assert other.seen == []


# --- row 41: handlers that are classes


class WithClasses(Recorder):
    @Handles("command", "data")
    class Data(messaging.Handler):
        def call(self):
            self.processor.seen.append((self.data, self.reply_func))

    @messaging.MessageHandlerFullBody("command", "body")
    class Body(messaging.Handler):
        def call(self):
            self.processor.seen.append(self.data["name"])

    @Answers("command", "answer")
    class Answer(messaging.Handler):
        def call(self):
            self.reply_func(self.data["parameters"] * 2)


@pytest.mark.row(41)
def test_a_nested_class_handles_messages_and_calls(place):
    answers: list[Any] = []

    def send(producer: Any) -> None:
        producer.message_data(7)
        producer.message_body()
        answers.append(value(producer.rpc_answer(21)))

    seen = through(place, at(place, WithClasses), send)

    assert seen == [({"parameters": 7}, None), "body"]
    assert answers == [42]


# --- row 42: answering


class Answering(Recorder):
    @Answers("command", "after")
    def goes_on(self, content, reply_func):
        reply_func("answered")
        gevent.sleep(0.01)
        self.seen.append("code after the reply")

    @Answers("command", "result")
    def result(self, content, reply_func):
        reply_func(messaging.MessageResult([1], "well"))

    @Answers("command", "error")
    def error(self, content, reply_func):
        reply_func(messaging.MessageResultError("foreseen"))

    @Answers("command", "exception")
    def exception(self, content, reply_func):
        reply_func(messaging.MessageResultException("OSError", "gone"))

    @Answers("command", "value")
    def value(self, content, reply_func):
        reply_func({"bare": None})

    @Answers("command", "falsy")
    def falsy(self, content, reply_func):
        reply_func(None)

    @Answers("command", "raises")
    def raises(self, content, reply_func):
        raise ZeroDivisionError("by nought")

    @Answers("command", "silent")
    def silent(self, content, reply_func):
        self.seen.append("said nothing")

    @Answers("command", "later")
    def later(self, content, reply_func):
        gevent.spawn_later(0.05, reply_func.later(), "in my own time")
        self.seen.append("returned")


RESULTS = {
    "after": ("success", "answered", ""),
    "result": ("success", [1], "well"),
    "error": ("error", None, "foreseen"),
    "exception": ("exception", "OSError", "gone"),
    "value": ("success", {"bare": None}, ""),
    "falsy": ("success", None, ""),
    "raises": ("exception", "ZeroDivisionError", "by nought"),
    "silent": ("exception", "NoReply", "the handler of 'silent' did not reply"),
    "later": ("success", "in my own time", ""),
    "unknown": ("exception", "UnknownCommand", "nobody here handles 'unknown'"),
}


@pytest.mark.row(42)
@pytest.mark.parametrize(("call", "expected"), RESULTS.items(), ids=RESULTS.keys())
def test_whatever_a_handler_does_its_caller_gets_one_result(place, call, expected):
    with running(at(place, Answering)):
        result = getattr(place.producer(), f"rpc_{call}")()

    content = result.body["content"]
    assert (content["type"], content["value"], content["message"]) == expected


@pytest.mark.row(42)
@pytest.mark.parametrize("call", ["after", "later"])
def test_code_after_the_reply_still_runs(place, call):
    processor = at(place, Answering)
    with running(processor):
        assert getattr(place.producer(), f"rpc_{call}")()
        wait_until(lambda: processor.seen, SOON)


@pytest.mark.row(42)
def test_processors_that_share_a_key_stay_silent_about_what_they_do_not_handle(place):
    """One of the two knows the command; the other one's silence leaves the answer to it."""

    class Quiet(Recorder):
        answer_unknown = False

    class Knows(Quiet):
        @Answers("command", "special")
        def special(self, content, reply_func):
            gevent.sleep(0.05)
            reply_func("I know")

    eqks = [place.at((place.sub(name), place.key)) for name in "ab"]
    quiet, knows = at(place, Quiet, eqks[0]), at(place, Knows, eqks[1])
    producer = place.producer()
    with running(quiet, knows):
        assert value(producer.rpc_special()) == "I know"
        assert value(producer.rpc_nobody(_timeout=0.2)) == "TimeoutError"

    assert quiet.counts["unhandled"] == 2


@pytest.mark.row(42)
def test_a_second_reply_is_counted_and_dropped(place):
    class Twice(Recorder):
        @Answers("command", "twice")
        def twice(self, content, reply_func):
            reply_func("first")
            reply_func("second")

    processor = at(place, Twice)
    with running(processor):
        producer = place.producer()
        assert [value(producer.rpc_twice()) for _ in range(3)] == ["first"] * 3
        wait_until(lambda: processor.counts["second_reply"] == 3, SOON)


# --- row 43: verdicts


class Failing(Recorder):
    concurrency = 1

    @Handles("command", "fail")
    def fails(self, content):
        raise ValueError("no good")

    @Handles("command", "fail")
    def runs_all_the_same(self, content):
        self.seen.append("ran")

    @Handles("command", "refuse")
    def refuses(self, content):
        raise messaging.RejectMessage("not for me")

    @Handles("command", "wait")
    def waits(self, content):
        self.seen.append("began")
        self.gate.wait()
        self.seen.append("ended")

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        super().__init__(*args, **kwds)


@pytest.fixture
def failing(place, raw):
    """A processor whose rejected messages can be counted, running, and a producer for it."""
    raw.declare(place.dead)
    processor = at(place, Failing, place.strict)
    with running(processor):
        yield processor, place.producer()


@pytest.mark.row(43)
def test_a_failed_message_is_rejected_not_requeued_and_logged_with_its_traceback(
    place, raw, failing, caplog
):
    processor, producer = failing
    producer.message_fail()

    dead = raw.take(place.dead)
    assert json.loads(dead.body)["name"] == "fail"
    assert dead.properties.headers["x-death"][0]["reason"] == "rejected"
    assert value(producer.rpc_echo("alive")) == "alive"
    assert (processor.seen, processor.counts["failed"]) == (["ran"], 1)
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "Failing.fails" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


@pytest.mark.row(43)
def test_reject_message_rejects_without_a_traceback(place, raw, failing, caplog):
    processor, producer = failing
    with caplog.at_level(logging.INFO, "postage"):
        producer.message_refuse()
        assert json.loads(raw.take(place.dead).body)["name"] == "refuse"
        assert value(producer.rpc_echo("alive")) == "alive"

    (record,) = [r for r in caplog.records if "not for me" in r.getMessage()]
    assert not record.exc_info
    assert processor.counts["failed"] == 1


@pytest.mark.row(43)
def test_an_unhandled_message_is_acknowledged(place, raw, failing):
    processor, producer = failing
    producer.message_nobody_handles_this()
    assert value(producer.rpc_echo("after it")) == "after it"

    assert processor.counts["unhandled"] == 1
    assert (raw.count(place.queue), raw.count(place.dead)) == (0, 0)


@pytest.mark.row(43)
def test_a_body_that_is_no_message_is_rejected_counted_and_logged(place, raw, failing, caplog):
    processor, producer = failing
    raw.put(place.queue, b"no message")

    assert raw.take(place.dead).body == b"no message"
    assert value(producer.rpc_echo("alive")) == "alive"
    assert processor.counts["malformed"] == 1
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "no message" in record.getMessage()


@pytest.mark.row(43)
def test_a_message_is_acknowledged_after_its_handlers(place, raw):
    """While its handler runs, a message still belongs to the queue: it comes back if we vanish."""
    processor = at(place, Failing)
    processor.shutdown_timeout = 0.05
    place.producer().message_wait()
    with running(processor):
        wait_until(lambda: processor.seen == ["began"], SOON)
        assert raw.count(place.queue) == 0

    assert raw.count(place.queue) == 1
    processor.gate.set()
    with running(processor):
        wait_until(lambda: processor.counts["handled"] == 1, SOON)
    assert raw.count(place.queue) == 0
    assert processor.seen == ["began", "began", "ended"]


# --- row 44: endings (whole programs: test_quit_and_restart.py)


def in_scheduler(*processors: Any) -> Any:
    """Run a scheduler with *processors* and return its greenlet."""
    scheduler = microthreads.MicroScheduler()
    for processor in processors:
        scheduler.add_microthread(processor)
    return gevent.spawn(lambda: [None for _ in scheduler.main()])


@pytest.mark.row(44)
def test_quit_stops_one_processor_and_the_loop_ends_with_the_last(place):
    one, other = (at(place, eqk=place.at((place.sub(key), key))) for key in "ab")
    producer = place.producer(eks=[(place.exchange, "a")])
    loop = in_scheduler(one, other)

    producer.message_quit()
    assert value(producer.rpc_echo("alive", _key="b")) == "alive"
    wait_until(lambda: "idle" in repr(one), SOON)
    assert not loop.dead
    producer.message_quit(_key="b")

    loop.get(timeout=SOON)


@pytest.mark.row(44)
def test_remote_control_false_refuses_quit_and_restart(place, caplog):
    class Deaf(Recorder):
        remote_control = False

    def send(producer: Any) -> None:
        producer.message_quit()
        producer.message_restart()

    processor = at(place, Deaf)
    through(place, processor, send)

    assert processor.counts["handled"] == 3
    refusals = [record.getMessage() for record in caplog.records]
    assert [("quit" in text, "restart" in text) for text in refusals] == [
        (True, False),
        (False, True),
    ]


class Ending(Recorder):
    @Handles("command", "stop")
    def stop(self, content):
        raise StopIteration

    @Handles("command", "exit")
    def exit(self, content):
        raise ExitScheduler

    @Handles("command", "work")
    def work(self, content):
        self.seen.append("began")
        gevent.sleep(content["parameters"])
        self.seen.append("ended")


@pytest.mark.row(44)
def test_stop_iteration_from_a_handler_ends_this_processor_alone(place, raw):
    one, other = (at(place, Ending, place.at((place.sub(key), key))) for key in "ab")
    producer = place.producer(eks=[(place.exchange, "a")])
    loop = in_scheduler(one, other)

    producer.message_stop()
    wait_until(lambda: one.counts["handled"] and "idle" in repr(one), SOON)
    assert value(producer.rpc_echo("alive", _key="b")) == "alive"
    assert raw.count(place.sub("a")) == 0  # acknowledged

    assert not loop.dead
    producer.message_exit(_key="b")
    loop.get(timeout=SOON)


@pytest.mark.row(44)
def test_exit_scheduler_from_a_handler_ends_all_and_the_others_finish_their_messages(place, raw):
    one, other = (at(place, Ending, place.at((place.sub(key), key))) for key in "ab")
    producer = place.producer(eks=[(place.exchange, "b")])
    loop = in_scheduler(one, other)
    for _ in range(5):
        producer.message_work(0.2)
    wait_until(lambda: other.seen == ["began"] * 5, SOON)

    producer.message_exit(_key="a")
    loop.get(timeout=SOON)

    assert other.seen == ["began"] * 5 + ["ended"] * 5
    assert raw.count(place.sub("b")) == 0


@pytest.mark.row(44)
def test_quit_lets_running_handlers_of_the_same_processor_finish(place, raw):
    processor = at(place, Ending)
    producer = place.producer()
    loop = in_scheduler(processor)
    producer.message_work(0.2)
    wait_until(lambda: processor.seen, SOON)

    producer.message_quit()
    loop.get(timeout=SOON)

    assert processor.seen == ["began", "ended"]
    assert raw.count(place.queue) == 0


@pytest.mark.row(44)
def test_what_a_stopping_processor_has_not_begun_goes_back_to_its_queue(place, raw):
    class OneByOne(Ending):
        concurrency = 1
        prefetch = 10

    processor = at(place, OneByOne)
    producer = place.producer()
    for _ in range(5):
        producer.message_work(0.2)
    loop = in_scheduler(processor)
    wait_until(lambda: processor.seen == ["began"], SOON)

    processor.stop_consuming()
    wait_until(lambda: "idle" in repr(processor), SOON)

    assert processor.seen == ["began", "ended"]
    assert raw.count(place.queue) == 4
    loop.kill()


@pytest.mark.row(44)
def test_green_run_returns_when_the_last_processor_has_quit(place):
    processors = [at(place, eqk=place.at((place.sub(key), key))) for key in "abc"]
    run = gevent.spawn(green.run, *processors)
    for key in "abc":
        place.producer().message_quit(_key=key)

    run.get(timeout=SOON)


# --- row 45: more to listen to, and things to do later


@pytest.mark.row(45)
def test_a_running_processor_can_listen_to_more_queues(place):
    processor = at(place)
    producer = place.producer()
    with running(processor):
        assert value(producer.rpc_echo(1, _key="more", _timeout=5)) == "NoRoute"
        processor.add_eqk(place.at((place.sub("more"), "more")))
        assert value(producer.rpc_echo(2, _key="more")) == 2
        assert value(producer.rpc_echo(3)) == 3


@pytest.mark.row(45)
def test_add_timeout_calls_back_later_from_a_handler_too(place):
    class Timing(Recorder):
        @Answers("command", "remind")
        def remind(self, content, reply_func):
            self.add_timeout(0.05, lambda: self.seen.append("reminded"))
            reply_func(list(self.seen))

    processor = at(place, Timing)
    with running(processor):
        assert value(place.producer().rpc_remind()) == []
        wait_until(lambda: processor.seen == ["reminded"], SOON)


@pytest.mark.row(45)
def test_add_timeout_without_a_callback_sleeps_and_lets_others_run(place):
    class Sleepy(Recorder):
        @Answers("command", "sleep")
        def sleep(self, content, reply_func):
            self.add_timeout(0.3)
            reply_func("slept")

    producer = place.producer()
    with running(at(place, Sleepy)):
        sleeping = gevent.spawn(producer.rpc_sleep)
        assert value(producer.rpc_echo("meanwhile")) == "meanwhile"
        assert not sleeping.dead
        assert value(sleeping.get(timeout=SOON)) == "slept"


# --- row 46: shared and private queues


class Counting(Recorder):
    @Handles("command", "hello")
    def hello(self, content):
        self.seen.append(content["parameters"])


@pytest.mark.row(46)
def test_a_shared_queue_is_served_round_robin(place, raw):
    three = [at(place, Counting) for _ in range(3)]
    producer = place.producer()
    with running(*three):
        wait_until(lambda: raw.consumers(place.queue) == 3, SOON)
        for number in range(30):
            producer.message_hello(number)
        wait_until(lambda: sum(len(one.seen) for one in three) == 30, SOON)

    assert [len(one.seen) for one in three] == [10, 10, 10]
    assert sorted(number for one in three for number in one.seen) == list(range(30))


@pytest.mark.row(46)
def test_private_queues_are_a_fan_out(place):
    three = [at(place, Counting, place.at((place.sub(name), place.key))) for name in "abc"]
    with running(*three):
        for number in range(5):
            place.producer().message_hello(number)
        wait_until(lambda: all(len(one.seen) == 5 for one in three), SOON)

    assert [sorted(one.seen) for one in three] == [list(range(5))] * 3


# --- an exception of a handler reaches the caller whatever it is


@pytest.mark.row(42, 43)
def test_an_rpc_whose_handler_fails_is_answered_rejected_and_logged(place, raw, caplog):
    raw.declare(place.dead)
    processor = at(place, Answering, place.strict)
    with running(processor):
        result = place.producer().rpc_raises()
        assert (value(result), text(result)) == ("ZeroDivisionError", "by nought")
        assert json.loads(raw.take(place.dead).body)["name"] == "raises"

    assert processor.counts["failed"] == 1
    assert [r.exc_info is not None for r in caplog.records if r.levelno >= logging.ERROR] == [True]
