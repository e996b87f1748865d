"""Processors: which handlers get a message, and where processors listen."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import messaging, microthreads
from postage.testing.polling import wait_until
from tests.support.recorder import Answers, Handles, Recorder, at, through
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


# --- what a processor is


@pytest.mark.behaviour("processor-arguments")
def test_a_processor_is_a_microthread_with_a_consumer(endpoint, broker_env):
    class OwnConsumer(messaging.GenericConsumer):
        pass

    class Own(messaging.MessageProcessor):
        consumer_class = OwnConsumer

    processor = Own({"name": "me"}, endpoint.eqk, broker_env.hup, broker_env.vhost)

    assert isinstance(processor, microthreads.MicroThread)
    assert type(processor.consumer) is OwnConsumer
    assert processor.consumer.qk_list == [(endpoint.queue, endpoint.key)]
    assert processor.consumer.vhost == broker_env.vhost
    assert processor.fingerprint["name"] == "me"
    assert set(processor.fingerprint) == set(messaging.Fingerprint().as_dict())


@pytest.mark.behaviour("fingerprint-as-dictionary", "processor-arguments")
def test_any_object_with_as_dict_can_be_a_fingerprint(endpoint):
    processor = messaging.MessageProcessor(messaging.Fingerprint("me", "kind"), endpoint.eqk)

    assert processor.fingerprint == messaging.Fingerprint("me", "kind").as_dict()


# --- decorators


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


@pytest.mark.behaviour("handler-decorators")
def test_a_handler_gets_the_content_or_the_whole_body(endpoint):
    def send(producer: Any) -> None:
        producer.message_content([1])
        endpoint.producer(Online).message_online()

    content, body = through(endpoint, at(endpoint, Decorated), send)

    assert content == {"parameters": [1]}
    assert (body["type"], body["name"], body["category"]) == ("status", "online", "message")
    assert body["fingerprint"]["pid"]


@pytest.mark.behaviour("handler-decorators")
def test_an_rpc_handler_gets_the_content_and_a_reply_function(endpoint):
    seen = through(endpoint, at(endpoint, Decorated), lambda p: p.rpc_answer({"a": 1}))

    assert seen == [{"parameters": {"a": 1}}]


@pytest.mark.behaviour("handler-decorators")
def test_a_decorated_method_can_be_called_directly(endpoint):
    processor = at(endpoint, Decorated)
    replies: list[Any] = []

    assert processor.content_only("mine") == "called"
    processor.answer("yours", replies.append)

    assert processor.seen == ["mine", "yours"]
    assert replies == [messaging.MessageResult("answered")]


@pytest.mark.behaviour("handler-decorators")
def test_type_name_and_category_must_all_fit(endpoint):
    def send(producer: Any) -> None:
        producer.message_answer()  # an RPC handler, not a message handler
        producer.message_online()  # a command, not a status
        producer.message_other()

    processor = at(endpoint, Decorated)

    assert through(endpoint, processor, send) == []
    assert processor.counts["unhandled"] == 3


# --- several handlers


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


@pytest.mark.behaviour("several-handlers")
def test_all_handlers_run_in_definition_order_on_own_copies(endpoint):
    seen = through(endpoint, at(endpoint, Several), lambda p: p.message_hello(["x"]))

    assert seen == [("first", ["x"]), ("second", ["x"]), ("third", ["x"])]


@pytest.mark.behaviour("several-handlers")
def test_of_several_rpc_handlers_the_last_one_defined_answers(endpoint):
    answers: list[Any] = []

    seen = through(endpoint, at(endpoint, Several), lambda p: answers.append(p.rpc_who()))

    assert [answer.value for answer in answers] == ["another"]
    assert seen == ["another"]


# --- whose handlers they are


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


@pytest.mark.behaviour("handler-inheritance")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Parent, ["parent's", "parent's bye"]),
        (Child, ["child's", "parent's bye"]),
        (Undecorated, ["undecorated", "parent's bye"]),
        (Sibling, ["sibling's"]),
    ],
)
def test_handlers_belong_to_their_class_and_its_subclasses(endpoint, kind, expected):
    assert through(endpoint, at(endpoint, kind), greet) == expected


@pytest.mark.behaviour("handler-inheritance")
def test_a_handler_can_be_added_to_a_class_whose_processors_run(endpoint):
    class Open(Recorder):
        pass

    @Handles("command", "late")
    def late(self, content):
        self.seen.append("plugged in")

    def send(producer: Any) -> None:
        producer.message_late()
        assert producer.rpc_echo("handled").value == "handled"
        Open.late = late
        producer.message_late()

    assert through(endpoint, at(endpoint, Open), send) == ["plugged in"]


@pytest.mark.behaviour("handler-inheritance")
@pytest.mark.parametrize("how", ["add_handler", "attribute"])
def test_a_handler_can_be_added_to_one_instance(endpoint, how):
    @Handles("command", "late")
    def late(self, content):
        self.seen.append(content["parameters"])

    one, other = at(endpoint), at(endpoint, eqk=endpoint.at((endpoint.sub("other"), endpoint.key)))
    if how == "add_handler":
        one.add_handler(late)
    else:
        one.late = late.__get__(one)
    with running(other):
        assert through(endpoint, one, lambda p: p.message_late(1)) == [1]

    assert other.seen == []


# --- handlers that are classes


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


@pytest.mark.behaviour("handler-classes")
def test_a_nested_class_handles_messages_and_calls(endpoint):
    answers: list[Any] = []

    def send(producer: Any) -> None:
        producer.message_data(7)
        producer.message_body()
        answers.append(producer.rpc_answer(21).value)

    seen = through(endpoint, at(endpoint, WithClasses), send)

    assert seen == [({"parameters": 7}, None), "body"]
    assert answers == [42]


# --- more to listen to, and things to do later


@pytest.mark.behaviour("processor-timeouts")
def test_a_running_processor_can_listen_to_more_queues(endpoint):
    processor = at(endpoint)
    producer = endpoint.producer()
    with running(processor):
        assert producer.rpc_echo(1, _key="more", _timeout=5).value == "NoRoute"
        processor.add_eqk(endpoint.at((endpoint.sub("more"), "more")))
        assert producer.rpc_echo(2, _key="more").value == 2
        assert producer.rpc_echo(3).value == 3


@pytest.mark.behaviour("processor-timeouts")
def test_add_timeout_calls_back_later_from_a_handler_too(endpoint):
    class Timing(Recorder):
        @Answers("command", "remind")
        def remind(self, content, reply_func):
            self.add_timeout(0.05, lambda: self.seen.append("reminded"))
            reply_func(list(self.seen))

    processor = at(endpoint, Timing)
    with running(processor):
        assert endpoint.producer().rpc_remind().value == []
        wait_until(lambda: processor.seen == ["reminded"], SOON)


@pytest.mark.behaviour("processor-timeouts")
def test_add_timeout_without_a_callback_sleeps(endpoint):
    class Sleepy(Recorder):
        @Answers("command", "sleep")
        def sleep(self, content, reply_func):
            self.add_timeout(0.3)
            reply_func("slept")

    producer = endpoint.producer()
    with running(at(endpoint, Sleepy)):
        sleeping = gevent.spawn(producer.rpc_sleep)
        assert producer.rpc_echo("meanwhile").value == "meanwhile"
        assert not sleeping.dead
        assert sleeping.get(timeout=SOON).value == "slept"


# --- shared and private queues


class Counting(Recorder):
    @Handles("command", "hello")
    def hello(self, content):
        self.seen.append(content["parameters"])


@pytest.mark.behaviour("round-robin-and-fan-out")
def test_a_shared_queue_is_served_round_robin(endpoint, raw):
    three = [at(endpoint, Counting) for _ in range(3)]
    producer = endpoint.producer()
    with running(*three):
        wait_until(lambda: raw.consumers(endpoint.queue) == 3, SOON)
        for number in range(30):
            producer.message_hello(number)
        wait_until(lambda: sum(len(one.seen) for one in three) == 30, SOON)

    assert [len(one.seen) for one in three] == [10, 10, 10]
    assert sorted(number for one in three for number in one.seen) == list(range(30))


@pytest.mark.behaviour("round-robin-and-fan-out")
def test_private_queues_are_a_fan_out(endpoint):
    three = [
        at(endpoint, Counting, endpoint.at((endpoint.sub(name), endpoint.key))) for name in "abc"
    ]
    with running(*three):
        for number in range(5):
            endpoint.producer().message_hello(number)
        wait_until(lambda: all(len(one.seen) == 5 for one in three), SOON)

    assert [sorted(one.seen) for one in three] == [list(range(5))] * 3
