"""The map of the shop, whose services run as processes, equals what customers do there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest

from postage import Exchange, GenericProducer
from postage.cli.console.poller import Poller
from postage.testing.polling import wait_until
from tests.console.shop_truth import CUSTOMERS, EDGES, SERVICES, SHOP, true_rates, wrong_rates
from tests.support.programs import ROOT, Program
from tests.support.raw import raw_to

QUEUES = (*SERVICES, "payments.parked", "payments.retry-1", "payments.retry-2")
SOON = 20.0
"""Seconds for a program to start, on a busy machine."""
LETTERS = 20.0
"""The letters a second of the fleet, which it sends with a pause after each."""


@pytest.fixture(scope="module")
def shop(broker_env: Any) -> Iterator[dict[str, Program]]:
    """Run each service in a process of its own, and the customers."""
    env = os.environ | {"SHOP_PORT": "0"}
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(Program("-m", "postage", "run", name, cwd=SHOP, env=env))
            for name in (*SERVICES, "web")
        }
        for each in programs.values():
            each.wait_for_line("Running 1 component", SOON)
        port = programs["web"].wait_for_line("the shop is open at", SOON).rpartition(":")[2]
        programs["customers"] = stack.enter_context(Program(CUSTOMERS, port.strip()))
        programs["customers"].wait_for_line(" 4 1", SOON)
        yield programs
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        for name in QUEUES:
            raw.channel.queue_delete(f"shop-{name}")


class Asked:
    """A console that asks, without its page."""

    def __init__(self) -> None:
        self.poller = Poller()

    @property
    def state(self) -> dict[str, Any]:
        return self.poller.state

    def rates(self) -> dict[str, float | None]:
        edges = self.state["edges"].items()
        return {id_: each["rate"] for id_, each in edges if "visitor" not in id_}

    def wait_for_edges(self) -> None:
        """Wait until the map has all edges of the shop, and no other."""
        try:
            wait_until(lambda: self.rates().keys() == EDGES, SOON, "all edges")
        except AssertionError:
            pytest.fail(f"{self.rates()} {self.state['about']} {[*self.state['components']]}")


@contextmanager
def asking() -> Iterator[Asked]:
    console = Asked()
    greenlet = gevent.spawn(console.poller.run)
    try:
        yield console
    finally:
        greenlet.kill()


FLEET = {
    "message letterbox>@generic-application-exchange",
    "message @generic-application-exchange>clerk",
    "message clerk>@generic-application-exchange",
    "message @generic-application-exchange>courier",
}


def test_the_map_of_the_fleet_has_its_clerks_and_couriers(broker_env: Any) -> None:
    with Program("demos/fleet/fleet.py", cwd=ROOT) as fleet, asking() as console:
        fleet.wait_for_line("the post office is open", SOON)
        sent = "message letterbox>@generic-application-exchange"

        wait_until(lambda: console.rates().keys() == FLEET, SOON, "all edges")
        wait_until(lambda: 0.8 * LETTERS < (console.rates()[sent] or 0) <= LETTERS, SOON)
        components = console.state["components"]
        kinds = {id_: each["kind"] for id_, each in components.items()}
        assert kinds == {"clerk": "application", "courier": "application", "letterbox": "program"}
        assert [len(components[each]["instances"]) for each in ("clerk", "courier")] == [3, 3]
        assert components["courier"]["groups"] == ["north", "south"]
        fleet.terminate()


def test_the_map_has_each_edge_of_the_shop_and_no_other(shop: Any) -> None:
    with asking() as console:
        console.wait_for_edges()

        wait_until(lambda: not wrong_rates(console.rates(), true_rates(shop["customers"])), SOON)
        assert console.rates().keys() == EDGES
        kinds = {id_: each["kind"] for id_, each in console.state["components"].items()}
        assert kinds.pop("web") == "program"
        assert kinds == dict.fromkeys(("stock", "orders", "payments", "shop-audit"), "service")
        assert [*console.state["exchanges"]] == ["shop-exchange"]


class ShopExchange(Exchange):
    name, passive = "shop-exchange", True


class Visitor(GenericProducer):
    eks = ((ShopExchange, "shop-stock"),)


def test_each_call_is_counted_while_the_console_asks(shop: Any) -> None:
    with asking() as console:
        console.wait_for_edges()
        visitor = Visitor({"name": "visitor"})
        for _ in range(500):
            visitor.call("left").unwrap()

        def counted() -> float:
            edges: dict[str, Any] = console.state["edges"]
            return float(edges.get("call visitor>stock", {}).get("total", 0))

        wait_until(lambda: counted() >= 500, SOON)
        assert counted() == 500, "although customers look at the stock meanwhile"


def test_a_service_that_is_killed_is_gone_within_5_seconds(shop: Any) -> None:
    with asking() as console:
        console.wait_for_edges()

        shop["payments"].kill()

        wait_until(lambda: console.state["components"]["payments"]["gone"], SOON)
        assert not [id_ for id_ in console.state["edges"] if "payments" in id_]
