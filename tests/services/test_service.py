"""Services beside classic components: what each side sends, gets and sees."""

from __future__ import annotations

from typing import Any

import pytest

from postage import (
    GenericProducer,
    MessageFilter,
    MessageHandler,
    MessageResult,
    MessageResultError,
    MessageStatus,
    Retry,
    RpcHandler,
    Service,
    command,
    event,
    events,
    green,
    rpc,
)
from postage.testing.polling import wait_until
from tests.services.shop import Ordered, OutOfStock, Reservation, placed, shouted
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Gone(OutOfStock):
    """The interface does not name it, but its base."""


class Stock(Service):
    """What is on the shelves."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation:
        self.seen.append((item, count))
        if count > 10:
            raise Gone("only", 10)
        if count < 0:
            raise OutOfStock({1, 2}, object())
        if count == 0:
            raise ValueError("nothing")
        return Reservation(item, count)

    @rpc(name="total")
    def total_of(self, numbers: list[int]) -> int:
        return sum(numbers)

    @rpc
    def nothing(self) -> None: ...

    @rpc
    def wrong(self) -> Reservation:
        return Reservation("bolt", "many")  # type: ignore[arg-type]

    @rpc
    def endless(self) -> float:
        return float("inf")

    @rpc
    def classic_result(self, kind: str) -> Any:
        return MessageResultError("no") if kind == "error" else MessageResult(1, "for people")

    @rpc
    @command
    def both(self, item: str) -> str:
        self.seen.append(item)
        return item

    @MessageFilter(shouted)
    @rpc
    def filtered(self, item: str) -> str:
        return item

    @command
    @green.retry(now=5)
    def restock(self, item: str, count: int) -> None:
        self.seen.append((item, count, green.message().name))
        if count == 13:
            raise ConnectionError("away")

    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None:
        self.seen.append(event)

    @RpcHandler("command", "classic")
    def classic(self, content, reply):
        return content["parameters"]

    @MessageHandler("status", "Ordered")
    def counted(self, content):
        self.seen.append(content)


def caller(endpoint: Endpoint, **attributes: Any) -> Any:
    known = {"eks": [(endpoint.exchange, endpoint.queue)], "rpc_timeout": 10, "max_retry": 0}
    return type("Caller", (GenericProducer,), known | attributes)()


def content(result: Any) -> tuple[str, Any, str]:
    return result.kind, result.value, result.message


def test_a_classic_caller_sends_its_three_shapes(endpoint):
    stock, classic = placed(Stock, endpoint)({"name": "stock"}), caller(endpoint)
    with running(stock):
        value = {"item": "bolt", "count": 1}
        assert content(classic.rpc_reserve("bolt")) == ("success", value, "")
        value["count"] = 3
        assert classic.rpc_reserve("bolt", 3).value == value
        assert classic.rpc_reserve("bolt", count=3).value == value
        assert classic.rpc_reserve(item="bolt", count=3).value == value
        assert classic.rpc_reserve(["bolt", 3]).value == value
        assert classic.rpc_total(1, 2, 3).value == 6
        assert classic.rpc_total([1, 2, 3]).value == 6
        assert classic.rpc_classic({"a": 1}).value == {"a": 1}
        assert classic.rpc_filtered(item="bolt").value == "BOLT"
    assert stock.seen == [("bolt", 1)] + [("bolt", 3)] * 4


def test_results_of_typed_handlers_are_classic_results(endpoint):
    stock, classic = placed(Stock, endpoint)({"name": "stock"}), caller(endpoint)
    with running(stock):
        assert content(classic.rpc_nothing()) == ("success", None, "")
        assert content(classic.rpc_classic_result("error")) == ("error", None, "no")
        assert content(classic.rpc_classic_result("other")) == ("success", 1, "for people")
        text = "item: Expected `str`, got `int`"
        assert content(classic.rpc_reserve(5)) == ("exception", "BadParameters", text)
        text = "'cuont': is no parameter: it takes item, count"
        refused = classic.rpc_reserve(item="bolt", cuont=3)
        assert content(refused) == ("exception", "BadParameters", text)
        kind, name, text = content(classic.rpc_reserve("bolt", 0))
        assert (kind, name, text) == ("exception", "ValueError", "nothing")
        kind, name, text = content(classic.rpc_wrong())
        assert (kind, name) == ("exception", "HandlerError")
        assert "Stock.wrong has returned what its hint does not allow: value.count" in text
        assert content(classic.rpc_endless())[:2] == ("exception", "EncodingError")
        assert classic.rpc_unknown().value == "UnknownCommand"
    assert stock.seen == [("bolt", 0)]


@pytest.mark.parametrize("exposure", ["text", "name", "id"])
def test_what_belongs_to_the_interface_is_told_in_full(endpoint, exposure):
    stock = placed(Stock, endpoint, expose_exceptions=exposure)({"name": "stock"})
    classic = caller(endpoint)
    with running(stock):
        gone = classic.rpc_reserve("bolt", 11)
        assert content(gone) == ("exception", "OutOfStock", "('only', 10)")
        assert content(classic.rpc_reserve("bolt", -1))[1] == "OutOfStock"
        refused = classic.rpc_reserve("bolt", "3")
        assert content(refused)[1:] == ("BadParameters", "count: Expected `int`, got `str`")
        unforeseen = content(classic.rpc_reserve("bolt", 0))
        assert ("nothing" in unforeseen[2]) == (exposure == "text")
    # What the interface declares is a result; what does not fit, and other errors, are failures.
    assert (stock.counts["handled"], stock.counts["failed"]) == (4, 2)


def test_commands_that_do_not_fit_are_parked_as_malformed(endpoint, raw: Raw):
    stock, classic = placed(Stock, endpoint)({"name": "stock"}), caller(endpoint)
    parked = f"{endpoint.queue}.parked"
    with running(stock):
        classic.message_restock("bolt", 5)
        classic.message_restock("bolt", "five")
        wait_until(lambda: raw.exists(parked), SOON)
        taken = raw.take(parked, SOON)
        headers = taken.properties.headers
        assert headers["x-postage-why"] == "malformed"
        assert headers["x-postage-exception"] == "postage.errors.BadParameters"
        assert headers["x-postage-text"] == "count: Expected `int`, got `str`"
        assert headers["x-postage-handler"] == "Stock.restock"
        assert taken.value["content"]["parameters"] == ["bolt", "five"]
        wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)
    assert stock.seen == [("bolt", 5, "restock")]
    assert stock.counts["retried"] == 0


def test_a_policy_of_a_typed_handler_counts(endpoint, raw: Raw):
    stock = placed(Stock, endpoint)({"name": "stock"})
    with running(stock):
        caller(endpoint).message_restock("bolt", 13)
        wait_until(lambda: stock.counts["parked"] == 1, SOON)
    assert len(stock.seen) == 6


def test_events_arrive_by_their_type(endpoint, raw: Raw):
    class Classic(GenericProducer):
        eks = ((endpoint.exchange, "Ordered"),)

        def build_message_ordered(self, content):
            message = MessageStatus("Ordered")
            message.body["content"] = content
            return message

    stock = placed(Stock, endpoint, concurrency=1)({"name": "stock"})
    with running(stock):
        events(endpoint.exchange).publish(Ordered("bolt", 2))
        wait_until(lambda: len(stock.seen) == 2, SOON)
        Classic().message_ordered({"item": "nut"})
        Classic().message_ordered({"count": 2})
        wait_until(lambda: stock.counts["parked"] == 1, SOON)
    assert stock.seen == [
        {"item": "bolt", "count": 2},
        Ordered("bolt", 2),
        {"item": "nut"},
        Ordered("nut"),
        {"count": 2},
    ]


def test_one_method_may_be_a_call_and_a_command(endpoint):
    stock, classic = placed(Stock, endpoint)({"name": "stock"}), caller(endpoint)
    with running(stock):
        classic.message_both("bolt")
        assert classic.rpc_both("nut").value == "nut"
        wait_until(lambda: len(stock.seen) == 2, SOON)
    assert sorted(stock.seen) == ["bolt", "nut"]


def test_a_method_of_a_service_stays_a_method(endpoint):
    stock = placed(Stock, endpoint)({"name": "stock"})
    assert stock.reserve("bolt", count=2) == Reservation("bolt", 2)
    assert Stock.reserve.__name__ == "reserve"


def test_failures_name_the_method_of_the_user(endpoint, caplog):
    caplog.set_level("INFO", "postage.dispatch")
    stock, classic = placed(Stock, endpoint)({"name": "stock"}), caller(endpoint)
    with running(stock):
        classic.rpc_reserve("bolt", 0)
        classic.rpc_reserve("bolt", "3")
    told = [record.getMessage() for record in caplog.records]
    assert "Stock.reserve failed on the message 'reserve'." in told
    assert "Stock.reserve refused the message 'reserve': count: Expected `int`, got `str`" in told


def test_a_retry_does_not_repeat_what_cannot_fit(endpoint):
    stock = placed(Stock, endpoint, retry=Retry(now=3, delays=(0.1,)))({"name": "stock"})
    with running(stock):
        caller(endpoint).message_both(5)
        wait_until(lambda: stock.counts["parked"] == 1, SOON)
    assert (stock.counts["retried"], stock.counts["delayed"]) == (0, 0)
