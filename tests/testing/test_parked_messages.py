"""`postage_parked`: what a component has parked, and why, on every broker."""

from __future__ import annotations

from typing import Any, ClassVar

import pika
import pytest

from postage import (
    Exchange,
    GenericProducer,
    MessageHandler,
    MessageProcessor,
    Quorum,
    green,
    parking,
)


class Shop(Exchange):
    name = "shop-parked"


class Client(GenericProducer):
    eks: ClassVar[Any] = [(Shop, "order")]


class Orders(MessageProcessor):
    eqk: ClassVar[Any] = [(Shop, [("orders-parked", "order")])]

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[Any] = []

    @MessageHandler("command", "order")
    def order(self, content: Any) -> None:
        if content["parameters"] == "bolts" and not self.handled:
            raise ConnectionError("the bank is away")
        self.handled.append(content["parameters"])

    @MessageHandler("command", "cancel")
    def cancel(self, _content: Any) -> None:
        raise green.GiveUp("nobody has ordered it")


class Durable(Orders):
    eqk: ClassVar[Any] = [(Shop, [(Quorum("orders-durable"), "order")])]


class Elsewhere(Orders):
    park = "errors"


@pytest.mark.parametrize(
    ("processor", "queue", "options"),
    [
        (Orders, "orders-parked", {}),
        (Durable, "orders-durable", {}),
        (Elsewhere, "orders-parked", {"park": "errors"}),
    ],
)
def test_it_tells_what_was_parked_and_why(
    run_processor: Any, postage_parked: Any, processor: Any, queue: str, options: Any
) -> None:
    run_processor(processor)
    parked = postage_parked(queue, **options)
    assert parked.wait(0) == []

    Client().message_order("bolts")
    (order,) = parked.wait()
    Client().message_cancel("nuts")
    _, cancel = parked.wait(2)

    assert (order.name, b"bolts" in order.body, order.dossier.why) == (
        *("command order", True, "failed"),
    )
    assert (order.dossier.exception, order.dossier.text) == (
        *("builtins.ConnectionError", "the bank is away"),
    )
    assert order.dossier.handler.endswith("Orders.order")
    assert (cancel.name, cancel.dossier.why) == ("command cancel", "gave-up")
    run_processor.errors.clear()


def test_the_messages_stay_and_can_be_replayed(run_processor: Any, postage_parked: Any) -> None:
    orders = run_processor(Orders)
    parked = postage_parked("orders-parked")
    Client().message_order("bolts")
    (order,) = parked.wait()
    (again,) = parked.wait()
    assert order.id == again.id

    orders.handled.append("the bank is back")
    parking.replay(parked.queue, order.id)

    assert parked.wait(0) == []
    run_processor.errors.clear()


@pytest.mark.parametrize("count", [0, 2, 3])
def test_another_number_is_an_error_that_shows_them(
    run_processor: Any, postage_parked: Any, count: int
) -> None:
    run_processor(Orders)
    Client().message_cancel("nuts")
    parked = postage_parked("orders-parked")
    parked.wait()

    with pytest.raises(AssertionError) as raised:
        parked.wait(count, within=0.05)

    text = str(raised.value)
    assert f"more than {count}" in text if count < 1 else f"not {count} after 0.05 s" in text
    assert "1 in 'orders-parked.parked'" in text
    assert "gave-up, Orders.cancel, postage.errors.GiveUp: nobody has ordered it" in text
    assert '"nuts"' in text
    run_processor.errors.clear()


def test_odd_messages_are_shown_on_one_line(
    run_processor: Any, postage_parked: Any, postage_url: str
) -> None:
    run_processor(Orders)
    with pika.BlockingConnection(pika.URLParameters(postage_url)) as connection:
        connection.channel().basic_publish("", "orders-parked", b"\x1b[2J\n\xff")
    parked = postage_parked("orders-parked")

    (odd,) = parked.wait()
    with pytest.raises(AssertionError) as raised:
        parked.wait(0)

    assert (odd.body, odd.dossier.why) == (b"\x1b[2J\n\xff", "malformed")
    assert "\x1b" not in str(raised.value)
    run_processor.errors.clear()


def test_a_queue_that_parks_nothing_has_nothing(postage_parked: Any) -> None:
    parked = postage_parked("nowhere")
    assert parked.wait(0) == []
    with pytest.raises(AssertionError, match=r"^0 in 'nowhere\.parked': not 1 after 0\.01 s"):
        parked.wait(within=0.01)
