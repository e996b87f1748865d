"""Hooks around the handling of messages, and what goes wrong in hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from postage import (
    Around,
    GenericApplication,
    Handled,
    MessageResult,
    MessageResultError,
    OutgoingMessage,
    ReceivedMessage,
    RejectMessage,
    SettingsError,
    green,
    messaging,
)
from postage.dispatch import HandlerKilled
from postage.testing.polling import wait_until
from tests.support.audit import Audit, Handling, Sending
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Server(messaging.MessageProcessor):
    """Its handlers end in every way."""

    seen: list[Any]

    def __init__(self, eqk: Any, around: Any, **attributes: Any) -> None:
        self.seen, self.gate = [], gevent.event.Event()
        super().__init__({"name": "server"}, eqk)
        self.around = around
        self.__dict__.update(attributes)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.seen.append(content["parameters"])

    @messaging.MessageHandler("command", "fail")
    def fail(self, content: Any) -> None:
        raise KeyError("failed")

    @messaging.MessageHandler("command", "fail")
    def reject(self, content: Any) -> None:
        raise RejectMessage("no")

    @messaging.MessageHandler("command", "wait")
    def wait(self, content: Any) -> None:
        self.seen.append("waits")
        self.gate.wait()

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> Any:
        answers = {
            "value": lambda: 7,
            "result": lambda: MessageResult(8),
            "error": lambda: MessageResultError("foreseen"),
            "raise": lambda: {}["missing"],
            "none": lambda: None,
            "unsendable": object,
            "later": lambda: gevent.spawn_later(0.01, reply.later(), "late") and None,
        }
        return answers[content["parameters"]]()


def handled_by(endpoint: Endpoint, *around: Around, send: Callable[[Any], object]) -> Server:
    """Return the server after it has handled what *send* sends."""
    server = Server(endpoint.eqk, around)
    with running(server):
        send(endpoint.producer())
        wait_until(lambda: server.counts["handled"] + server.counts["unhandled"], SOON)
    return server


# --- around handling


def test_the_first_hook_is_the_outermost(endpoint: Endpoint) -> None:
    log: list[Any] = []
    handled_by(endpoint, Audit("a", log), Audit("b", log), send=lambda p: p.message_note(1))

    assert log == [
        ("a", "before", "note"),
        ("b", "before", "note"),
        ("b", "after", "note"),
        ("a", "after", "note"),
    ]


def test_what_came_of_a_message(endpoint: Endpoint) -> None:
    audit = Audit()
    handled_by(endpoint, audit, send=lambda producer: producer.message_note(1))
    assert audit.outcomes == [Handled(1, ())]
    assert audit.outcomes[0].ok


def test_failures_of_handlers(endpoint: Endpoint) -> None:
    audit = Audit()
    server = handled_by(endpoint, audit, send=lambda producer: producer.message_fail())
    handled = audit.outcomes[0]

    assert [type(each) for each in handled.failures] == [KeyError, RejectMessage]
    assert (handled.handlers, handled.ok) == (2, False)
    assert server.counts["failed"] == 1


def test_a_message_without_a_handler(endpoint: Endpoint) -> None:
    audit = Audit()
    handled_by(endpoint, audit, send=lambda producer: producer.message_unknown())

    assert audit.outcomes == [Handled(0, ())]


@pytest.mark.parametrize(
    ("ask", "kind", "value", "failures"),
    [
        ("value", "success", 7, 0),
        ("result", "success", 8, 0),
        ("error", "error", None, 0),
        ("raise", "exception", "KeyError", 1),
        ("none", "exception", "NoReply", 0),
        ("unsendable", "exception", "EncodingError", 1),
    ],
    ids=lambda each: str(each),  # noqa: PLW0108 - str itself would be taken for a class of ids
)
def test_what_came_of_a_call(
    endpoint: Endpoint, ask: str, kind: str, value: Any, failures: int
) -> None:
    audit, client = Audit(), Audit()
    server = Server(endpoint.eqk, [audit])
    with running(server):
        caller: Any = endpoint.producer(around=[client])
        assert caller.rpc_ask(ask).kind == kind

    handled = audit.outcomes[0]
    assert (handled.result.kind, handled.result.value) == (kind, value)
    assert (len(handled.failures), handled.ok) == (failures, kind == "success")
    assert (client.outcomes[0].kind, client.outcomes[0].value) == (kind, value)


def test_a_reply_after_the_handler_is_not_known(endpoint: Endpoint) -> None:
    audit = Audit()
    with running(Server(endpoint.eqk, [audit])):
        assert endpoint.producer().rpc_ask("later").value == "late"

    assert audit.outcomes == [Handled(1, ())]


def test_a_with_statement_spans_the_handlers(endpoint: Endpoint) -> None:
    """Context variables and timeouts work as in the handler itself."""

    class Impatient(Around):
        def handle(self, message: ReceivedMessage) -> Handling:
            with gevent.Timeout(0.05):
                handled = yield
            outcomes.append(handled)

    outcomes: list[Handled] = []
    handled_by(endpoint, Impatient(), send=lambda producer: producer.message_wait())

    assert isinstance(outcomes[0].failures[0], gevent.Timeout)


def test_a_hook_sees_the_message_in_hand(endpoint: Endpoint) -> None:
    class Same(Around):
        def handle(self, message: ReceivedMessage) -> Handling:
            seen.append(message is green.message())
            yield
            seen.append(message is green.message())

    seen: list[bool] = []
    handled_by(endpoint, Same(), send=lambda producer: producer.message_note())

    assert seen == [True, True]


def test_generic_applications_have_hooks(broker_env: Any) -> None:
    audit = Audit()

    class Watched(GenericApplication):
        around = (audit,)

    class Caller(messaging.GenericProducer):
        eks = ((green.GenericApplicationExchange, "watched/rr"),)

    with running(Watched({"name": "watched"})):
        assert Caller().rpc_ping().value["name"] == "watched"

    assert audit.outcomes[0].result.value["name"] == "watched"


# --- errors of hooks


class Broken(Audit):
    """Fails at the place that the test says."""

    def __init__(self, place: str, error: BaseException) -> None:
        super().__init__()
        self.place, self.error = place, error

    def handle(self, message: ReceivedMessage) -> Handling:
        if self.place == "before":
            raise self.error
        yield
        if self.place == "after":
            raise self.error
        yield

    def send(self, message: OutgoingMessage) -> Sending:
        if self.place == "before":
            raise self.error
        yield
        if self.place == "after":
            raise self.error
        yield


ERRORS: list[BaseException] = [
    ValueError("oops"),
    RejectMessage("no"),
    StopIteration(),
    messaging.AckAndRestart(),
    SystemExit(3),
    gevent.GreenletExit(),
    gevent.Timeout(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["before", "after", "twice"])
def test_an_error_of_a_hook_changes_nothing(
    endpoint: Endpoint, raw: Raw, caplog: Any, place: str, error: BaseException
) -> None:
    outer, inner = Audit(), Audit()
    around = [outer, Broken(place, error), inner]
    server = Server(endpoint.eqk, around)
    with running(server):
        producer: Any = endpoint.producer()
        producer.message_note(1)
        assert producer.rpc_ask("value").value == 7
        wait_until(lambda: server.counts["handled"] == 2, SOON)

    assert server.seen == [1]
    assert (server.counts["failed"], raw.count(endpoint.queue)) == (0, 0)
    assert len(outer.outcomes) == len(inner.outcomes) == 2
    assert "Broken.handle" in caplog.text or "Broken" in caplog.text


@pytest.mark.parametrize("error", ERRORS[:4], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["before", "after", "twice"])
def test_an_error_of_a_sending_hook_changes_nothing(
    endpoint: Endpoint, raw: Raw, queue: str, place: str, error: BaseException
) -> None:
    audit = Audit()
    producer: Any = endpoint.producer(around=[audit, Broken(place, error)])
    producer.message_note(1)

    assert raw.take(queue).value["content"]["parameters"] == 1
    assert audit.outcomes == [None]


def test_the_end_of_a_greenlet_ends_its_sending(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    class Slow(Around):
        def send(self, message: OutgoingMessage) -> Sending:
            gevent.sleep(3600)
            yield

    audit = Audit()
    producer: Any = endpoint.producer(around=[audit, Slow()])
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        producer.message_note()

    assert isinstance(audit.outcomes[0], gevent.Timeout)
    assert raw.count(queue) == 0


def test_a_killed_handler_ends_its_hooks(endpoint: Endpoint, raw: Raw) -> None:
    class Deaf(Audit):
        def handle(self, message: ReceivedMessage) -> Handling:
            try:
                yield
            except HandlerKilled:
                self.outcomes.append("swallowed")

    audit, deaf = Audit(), Deaf()
    server = Server(endpoint.eqk, [audit, deaf], shutdown_timeout=0.3)
    with running(server):
        endpoint.producer().message_wait()
        wait_until(lambda: server.seen, SOON)
        server.stop(0.05)

    assert deaf.outcomes == ["swallowed"]
    assert [type(each) for each in audit.outcomes] == [HandlerKilled]
    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)  # it returns to its queue


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_that_is_killed(endpoint: Endpoint, raw: Raw, when: str) -> None:
    """Before the handlers its message returns to the queue, and no handler has seen it."""

    class Slow(Around):
        def handle(self, message: ReceivedMessage) -> Handling:
            if when == "before":
                begun.set()
                gevent.sleep(3600)
            yield
            begun.set()
            gevent.sleep(3600)

    begun = gevent.event.Event()
    server = Server(endpoint.eqk, [Slow()])
    with running(server):
        endpoint.producer().message_note(1)
        begun.wait()
        server.stop(0.05)

    assert server.seen == ([] if when == "before" else [1])
    assert server.counts["failed"] == 0
    if when == "before":
        wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)


# --- mistakes


class NoGenerator(Around):
    def handle(self, message: ReceivedMessage) -> Any:
        """Has no yield."""


class Async(Around):
    async def send(self, message: OutgoingMessage) -> Any:  # type: ignore[override]
        """Cannot run here."""


@pytest.mark.parametrize(
    "around",
    [5, None, "audit", Audit(), [Audit], [object()], [NoGenerator()], [Async()], {Audit(): 1}],
    ids=["number", "None", "text", "bare", "class", "object", "no yield", "async", "dict"],
)
@pytest.mark.parametrize("kind", [messaging.MessageProcessor, messaging.GenericProducer])
def test_mistakes_are_refused_when_it_is_made(endpoint: Endpoint, kind: Any, around: Any) -> None:
    with pytest.raises(SettingsError, match="around"):
        type("Wrong", (kind,), {"around": around})(None)
    component = kind(None)
    with pytest.raises(SettingsError, match="around"):
        component.around = around


def test_the_log_of_an_error_names_the_hook(endpoint: Endpoint, caplog: Any) -> None:
    caplog.set_level(logging.ERROR)
    handled_by(endpoint, Broken("before", ValueError("oops")), send=lambda p: p.message_note(1))

    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "Broken.handle failed" in errors[0].getMessage()
    assert "ValueError: oops" in str(errors[0].exc_text)
