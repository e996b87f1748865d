"""Discovery: each process answers for all its processors, in few bytes, and says good-bye."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from postage import GenericProducer, messaging
from postage.cli.fleet.descriptions import told
from postage.cli.fleet.flights import processes
from postage.discovery import (
    ASK,
    GOODBYE,
    LONGEST,
    LONGEST_FLOWS,
    LONGEST_RECORD,
    GenericApplicationExchange,
)
from postage.errors import RejectMessage, TimeoutError  # noqa: A004 - the classic name
from postage.flight_recorder import MOST, EventKind, flight_recorder
from postage.green.handling import presence
from postage.green.runtime import runtime_of
from postage.handler_statistics import Flow
from postage.message import RpcCommand
from postage.recoverability import Retry
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor


class Shop(messaging.Exchange):
    name = "discovery-shop"


class Clerk(messaging.MessageProcessor):
    """Sells.

    All day long.
    """

    park = None

    def __init__(self, name: str, settings: Settings | None = None) -> None:
        queue = {"name": f"discovery-{uuid.uuid4().hex}", "flags": {"exclusive": True}}
        super().__init__({"name": name}, [(Shop, [(queue, name)])], settings=settings)

    @messaging.MessageHandler("command", "sell")
    def sell(self, content: Any) -> None:
        """Sell one.

        Or more.
        """
        if content["parameters"] == "bad":
            raise RejectMessage("out \x1b[2J of stock" + 1000 * "!")


class Asker(GenericProducer):
    eks = ((GenericApplicationExchange, ASK),)

    def build_rpc_query(self, name: str, parameters: Any) -> RpcCommand:
        return RpcCommand(name, parameters)


class Customer(GenericProducer):
    eks = ((Shop, "clerk"),)


def values(query: str, to: Any = "*", wait: float = 0.5) -> list[Any]:
    """Return the values of the answers within *wait* seconds."""
    asker = Asker()
    queue = asker.rpc_query(query, {"to": to}, _queue_only=True)
    try:
        results = asker.consume_rpc(queue, 1000, timeout=wait)
    except TimeoutError as exc:
        results = list(exc.results)
    return [result.value for result in results if result]


def ask(query: str, to: Any = "*", wait: float = 0.5) -> list[dict[str, Any]]:
    """Return the descriptions that are answered within *wait* seconds."""
    return told(values(query, to, wait))


def found(query: str, to: str, enough: Callable[[list[dict[str, Any]]], bool]) -> list[Any]:
    """Ask until the answers are *enough*; return them."""
    answers: list[dict[str, Any]] = []

    def look() -> bool:
        answers[:] = ask(query, to)
        return enough(answers)

    wait_until(look, 20)
    return answers


def test_a_plain_processor_answers_to_its_keys(run_processor: RunProcessor) -> None:
    run_processor(Clerk, "clerk")
    (known,) = found("ping", "clerk", lambda answers: len(answers) == 1)
    pid, host = known["fingerprint"]["pid"], known["fingerprint"]["host"]

    for key in (f"@{host}", f"clerk@{host}", f"{pid}@{host}", known["key"], "*"):
        found("ping", key, lambda answers: known in answers)
    assert (known["kind"], known["fingerprint"]["name"]) == ("processor", "clerk")
    assert ask("ping", "nobody") == []


def test_info_tells_handlers_and_queues(run_processor: RunProcessor) -> None:
    run_processor(Clerk, "clerk")
    (known,) = found("info", "clerk", lambda answers: len(answers) == 1)

    assert known["doc"] == "Sells."
    assert [known["queues"][0][what] for what in ("key", "exchange")] == ["clerk", "discovery-shop"]
    assert known["handlers"][0] == {
        "category": "message",
        "type": "command",
        "name": "sell",
        "handler": "sell",
        "doc": "Sell one.",
    }


def test_stats_tell_what_each_handler_has_done(run_processor: RunProcessor) -> None:
    run_processor(Clerk, "clerk")
    customer = Customer({"name": "customer"})
    for parameters in ("good", "bad", "good"):
        customer.message_sell(parameters)

    (known,) = found(
        "stats", "clerk", lambda answers: bool(answers and answers[0]["statistics"]["handled"] == 3)
    )

    (handler,) = known["handlers"]
    assert (handler["received"], handler["failed"], known["in_flight"]) == (3, 1, 0)
    assert handler["senders"] == {"customer": 3}
    assert handler["last_error"].startswith("RejectMessage: out \\x1b[2J of stock!!!")
    assert 0 < handler["p50"] <= handler["p99"] < 10
    assert len(json.dumps(known)) <= LONGEST


class Manager(Clerk):
    """Sends clerks, by a producer that has no name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.customer = Customer()

    @messaging.MessageHandler("command", "tell")
    def tell(self, content: Any) -> None:
        """Let the clerk sell."""
        self.customer.message_sell(content["parameters"])


class Owner(GenericProducer):
    eks = ((Shop, "manager"),)


def flows_of(known: dict[str, Any], handler: str) -> list[Any]:
    """Return the flows of *handler* in what is *known* of its processor, without their times."""
    (flows,) = [each["flows"] for each in known["handlers"] if each["handler"] == handler]
    assert all(0 <= flow[5] < 60 for flow in flows)
    return [flow[:5] for flow in flows]


def test_flows_tell_who_sends_through_which_exchange(run_processor: RunProcessor) -> None:
    run_processor(Clerk, "clerk")
    run_processor(Manager, "manager")
    customer, owner = Customer({"name": "customer"}), Owner()
    for parameters in ("good", "bad", "good"):
        customer.message_sell(parameters)
    owner.message_tell("good")

    (known,) = found(
        "flows", "clerk", lambda found: bool(found and found[0]["statistics"]["handled"] == 4)
    )
    (manager,) = found("flows", "manager", lambda answers: len(answers) == 1)

    assert sorted(flows_of(known, "sell")) == [
        ["customer", "discovery-shop", "message", 3, 1],
        ["manager", "discovery-shop", "message", 1, 0],
    ]
    process = "{pid}@{host}".format_map(owner.fingerprint)
    assert flows_of(manager, "tell") == [[process, "discovery-shop", "message", 1, 0]]


class Stubborn(Clerk):
    """Fails, at once and again after a while."""

    retry = Retry(now=1, delays=(0.05,))

    def __init__(self) -> None:
        queue = f"discovery-{uuid.uuid4().hex}"  # not exclusive, as messages come back to it
        messaging.MessageProcessor.__init__(self, {"name": "clerk"}, [(Shop, [(queue, "clerk")])])

    @messaging.MessageHandler("command", "fail")
    def fail(self, content: Any) -> None:
        raise ConnectionError


def test_further_tries_are_no_further_messages(run_processor: RunProcessor) -> None:
    clerk = run_processor(Stubborn)
    ask("flows", "clerk")  # from now on each message is looked at
    for _ in range(3):
        Customer({"name": "customer"}).message_fail()

    wait_until(lambda: clerk.statistics().failed == 6, 20)
    (known,) = found("flows", "clerk", lambda answers: len(answers) == 1)

    assert flows_of(known, "fail") == [["customer", "discovery-shop", "message", 3, 6]]
    run_processor.errors.clear()


def test_the_largest_flows_fit(run_processor: RunProcessor) -> None:
    clerk = run_processor(Clerk, "clerk")
    tally = clerk._tallies["sell"]
    for number in range(200):
        flow = Flow(f"{number:03}" + 97 * "\N{SNOWMAN}", 100 * "\\", "message")
        tally._flows.add(flow, 1)
        tally.count_failed(flow)

    (known,) = found("flows", "clerk", lambda answers: len(answers) == 1)

    assert 2000 < len(json.dumps(known)) <= LONGEST_FLOWS


def test_there_is_one_queue_for_all_processors(run_processor: RunProcessor) -> None:
    clerks = [run_processor(Clerk, f"clerk {number}") for number in range(45)]
    answers = found("stats", "*", lambda answers: len(answers) >= 45)

    stations = {runtime_of(each.consumer.settings).station for each in clerks}
    assert len(stations) == 1
    assert len({each["key"] for each in answers}) == 45
    assert len({each["instance"] for each in answers}) == 1


@pytest.fixture
def empty_record() -> Iterator[None]:
    yield
    flight_recorder.clear()


def test_a_process_tells_its_flight_record_once(
    run_processor: RunProcessor, empty_record: None
) -> None:
    late = dataclasses.replace(Settings.resolve(), heartbeat=33)  # has a station of its own
    for name, settings in (("clerk", None), ("other", None), ("late", late)):
        run_processor(Clerk, name, settings)
    found("ping", "*", lambda answers: len(answers) == 3)
    for number in range(2 * MOST):
        for kind in EventKind:
            flight_recorder.note(kind, f"{number} " + 1000 * "\U0001f600")
    flight_recorder.note(EventKind.ALARM, "the last one")

    (record,), (late_record,), everybody = map(records_of, ("clerk", "late", "*"))

    assert len(json.dumps(record["flight"])) <= LONGEST_RECORD
    assert record["flight"][-1]["text"] == "the last one"
    assert record["left_out"] > 0
    assert record["fingerprint"]["name"] == "clerk"
    assert record["instance"] == late_record["instance"]
    assert len(list(processes(everybody, []))) == 1
    assert values("flight", "nobody") == []


def records_of(to: str) -> list[Any]:
    """Ask for flight records until at least one is answered; return those answered together."""
    answers: list[Any] = []
    wait_until(lambda: bool(answers.extend(values("flight", to)) or answers), 20)
    return answers


def test_a_processor_that_ends_says_goodbye(run_processor: RunProcessor) -> None:
    clerk, _other = run_processor(Clerk, "clerk"), run_processor(Clerk, "other")
    (known,) = found("ping", "clerk", lambda answers: len(answers) == 1)
    heard: list[Any] = []
    listener = messaging.GenericConsumer([(GenericApplicationExchange, [("", GOODBYE)])])
    listener.start(lambda delivery: heard.append(json.loads(delivery.body)["content"]))

    wait_until(lambda: listener.consuming, 20)
    clerk.stop()
    wait_until(lambda: heard, 20)
    listener.stop()

    assert (heard[0]["key"], heard[0]["instance"]) == (known["key"], known["instance"])
    (left,) = found("ping", "*", lambda answers: len(answers) == 1)
    assert left["fingerprint"]["name"] == "other"


def test_the_last_processor_closes_the_station(run_processor: RunProcessor) -> None:
    clerk = run_processor(Clerk, "clerk")
    found("ping", "clerk", lambda answers: len(answers) == 1)

    clerk.stop()

    assert ask("ping") == []
    run_processor(Clerk, "clerk")
    found("ping", "clerk", lambda answers: len(answers) == 1)


def test_a_setting_switches_discovery_off(run_processor: RunProcessor) -> None:
    settings = dataclasses.replace(Settings.resolve(), discovery=False)
    clerk = run_processor(Clerk, "hidden", settings)

    assert runtime_of(clerk.consumer.settings).station is None


@pytest.mark.parametrize("to", [None, 5, ["*"], {"a": 1}, "", "*/rr"])
def test_an_odd_query_is_not_answered(run_processor: RunProcessor, to: Any) -> None:
    run_processor(Clerk, "clerk")
    found("ping", "clerk", lambda answers: len(answers) == 1)

    assert ask("ping", to, wait=0.2) == []
    assert ask("quit", "*", wait=0.2) == []
    found("ping", "*", lambda answers: len(answers) == 1)


def test_the_largest_description_fits(run_processor: RunProcessor) -> None:
    name = "\U0001f600<script>\x1b[2J" * 1000
    run_processor(Wordy, name)

    for query in ("ping", "info", "stats"):
        (known,) = found(query, "*", lambda answers: len(answers) == 1)
        assert len(json.dumps(known)) - len(known["instance"]) - 20 <= LONGEST
        assert name.startswith(known["fingerprint"]["name"])
    assert found("info", "*", bool)[0]["left_out"] > 0


class Wordy(Clerk):
    __doc__ = "\U0001f600" * 5000

    def __init__(self, name: str) -> None:
        queue = {"name": f"discovery-{uuid.uuid4().hex}", "flags": {"exclusive": True}}
        messaging.MessageProcessor.__init__(self, {"name": name}, [(Shop, [(queue, "wordy")])])


for _number in range(40):

    def _handler(self: Any, content: Any) -> None:
        pass

    _handler.__doc__ = "\U0001f600" * 5000
    _name = f"handler_{_number}_{'x' * 50}"
    setattr(Wordy, _name, messaging.MessageHandler("command", _name)(_handler))


def test_a_refused_queue_is_logged_once(
    run_processor: RunProcessor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Reserved(messaging.Exchange):
        name = "amq.reserved"  # as a user without rights, nobody may declare it

    class MissingExchange(Reserved):
        passive = True

    monkeypatch.setattr(presence, "GenericApplicationExchange", Reserved)
    monkeypatch.setattr(presence, "PassiveApplicationExchange", MissingExchange)
    caplog.set_level(logging.INFO, logger="postage")

    clerks = [run_processor(Clerk, name) for name in ("clerk", "other")]
    wait_until(lambda: "do not find the processors" in caplog.text, 20)
    Customer().message_sell("good")

    wait_until(lambda: clerks[0].counts["handled"] == 1, 20)
    assert caplog.text.count("do not find the processors") == 1
    for each in clerks:
        each.stop()
    gevent.sleep(0)
