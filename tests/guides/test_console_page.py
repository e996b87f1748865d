"""The console as a person uses it, in a browser, beside the shop of demos/shop as six processes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

import pytest

from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.console.shop_truth import (
    CUSTOMERS,
    EDGES,
    SERVICES,
    SHOP,
    STEADY,
    true_rates,
    wrong_rates,
)
from tests.support.browser import SCREEN, browser, require_browser, show
from tests.support.guide import SOON
from tests.support.programs import Program

require_browser()

pytestmark = [pytest.mark.slow, pytest.mark.limit(240)]
LONGEST = 3.0
"""Seconds from the start of a console until its page shows what is true."""


def address_of(console: Program) -> str:
    """Return where *console* serves its page, as soon as it does."""
    told = console.wait_for_line("The console is at ", SOON)
    return told.partition("The console is at ")[2].partition(",")[0].strip()


class Shop:
    """The shop, its broker, and a console that may write, each a process of its own."""

    def __init__(self, stack: ExitStack) -> None:
        (self.broker_port,) = free_ports(1)
        self.env = os.environ | {
            "POSTAGE_URL": f"amqp://guest:guest@127.0.0.1:{self.broker_port}/",
            "SHOP_PORT": "0",
        }
        self._stack = stack
        self.start_broker()
        programs = {name: self.run("run", name) for name in (*SERVICES, "web")}
        for each in programs.values():
            each.wait_for_line("Running 1 component", SOON)
        told = programs["web"].wait_for_line("the shop is open at", SOON)
        self.port = int(told.rpartition(":")[2])
        self.customers = stack.enter_context(Program(CUSTOMERS, str(self.port)))
        self.customers.wait_for_line(" 4 1", SOON)
        self.address = address_of(self.run("web", "--port", "0", "--write"))

    def start_broker(self) -> None:
        self.broker = self.run("broker", "--port", str(self.broker_port))
        self.broker.wait_for_line("is ready", SOON)

    def program(self, *words: str) -> Program:
        """Return the program ``postage`` with these *words*."""
        return Program("-m", "postage", *words, cwd=SHOP, env=self.env)

    def run(self, *words: str) -> Program:
        """Run ``postage`` with these *words* until the end of the tests."""
        return self._stack.enter_context(self.program(*words))

    def order(self, customer: str) -> None:
        """Let *customer* order a screw."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        basket = f'{{"customer": "{customer}", "items": {{"screw": 1}}}}'
        connection.request("POST", "/orders", basket, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 201
        connection.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(stack)


class Page:
    """The page, as a person sees it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address.partition("#")[0]

    def go(self, fragment: str) -> None:
        self.driver.get(f"{self.address}#{fragment}")

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def values(self, attribute: str) -> set[str]:
        """Return the values of an *attribute* of all elements that have it."""
        script = "return [...document.querySelectorAll(`[${arguments[0]}]`)]"
        script += ".map((each) => each.getAttribute(arguments[0]))"
        return set(self.driver.execute_script(script, attribute))

    def text(self, selector: str = "main") -> str:
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        return str(self.driver.execute_script(script, selector))

    def press(self, name: str) -> None:
        """Press the button of this *name*, as soon as it is there and can be pressed."""
        script = """
            const found = [...document.querySelectorAll("button")].findLast((each) =>
                each.textContent.trim() === arguments[0] && !each.ariaDisabled && !each.disabled);
            found?.click();
            return Boolean(found);"""
        wait_until(lambda: self.driver.execute_script(script, name), SOON, f"a button {name!r}")

    def until(self, check: Callable[[], object], what: str) -> None:
        try:
            wait_until(check, SOON, what)
        except AssertionError:
            logged = self.driver.get_log("browser")
            pytest.fail(f"{what}: {self.text('body')[:2000]} {logged}", pytrace=False)


@pytest.fixture(scope="module")
def page(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("console")) as driver:
        show(driver, SCREEN)
        driver.get(shop.address)
        page = Page(driver, shop.address)
        page.until(lambda: "token" not in driver.current_url, "the token leaves the address")
        yield page


def test_the_map_is_that_of_the_shop(page: Page) -> None:
    page.go("/map")

    page.until(lambda: page.values("data-edge") == EDGES, "all edges")
    nodes = {"exchange:shop-exchange"} | {
        f"component:{name}" for name in ("web", "stock", "orders", "payments", "shop-audit")
    }
    assert page.values("data-node") == nodes


def since(began: float) -> float:
    """Return the seconds from *began* until now."""
    return time.monotonic() - began


def shown_rates(page: Page) -> dict[str, float | None]:
    """Return the rates that the map shows beside its edges."""
    script = """
        const labels = [...document.querySelectorAll(".map .label text")];
        return [...document.querySelectorAll(".map [data-edge]")].map((each, at) =>
            [each.getAttribute("data-edge"), labels[at]?.textContent ?? ""]);"""
    shown = {id_: re.match(r"([\d.]+)/s", text) for id_, text in page.driver.execute_script(script)}
    return {id_: float(rate[1]) if rate else None for id_, rate in shown.items()}


def test_a_new_console_soon_shows_what_is_true(page: Page, shop: Shop) -> None:
    def seconds_until_true() -> float:
        began = time.monotonic()
        with shop.program("web", "--port", "0") as console:
            page.driver.get(address_of(console))

            def is_true() -> bool:
                rates, true = shown_rates(page), true_rates(shop.customers, since(began))
                return rates.keys() == EDGES and not STEADY & wrong_rates(rates, true).keys()

            page.until(is_true, "all edges, with the rates of the steady ones")
            return since(began)

    # On a busy machine a program takes longer to start.
    taken = []
    for _ in range(8):
        taken.append(seconds_until_true())
        if taken[-1] <= LONGEST:
            break
    else:
        pytest.fail(f"a console took {taken} s")


def test_a_click_shows_a_component(page: Page) -> None:
    page.go("/map")
    page.until(lambda: page.all('[data-node="component:stock"]'), "the node")

    page.all('[data-node="component:stock"]')[0].click()

    page.until(lambda: "reserve" in page.text(".panel"), "the handlers of the component")
    assert "shop-stock" in page.text(".panel")


def test_a_filter_finds_a_component(page: Page) -> None:
    page.go("/components")
    page.until(lambda: len(page.values("data-id")) >= 5, "all rows")

    page.all("input[name=filter]")[0].send_keys("paym")

    page.until(lambda: page.values("data-id") == {"payments"}, "one row")
    page.all("input[name=filter]")[0].send_keys(4 * "\b")
    page.until(lambda: len(page.values("data-id")) >= 5, "all rows again")


def test_a_handler_is_called_by_its_form(page: Page) -> None:
    page.go("/try/stock/reserve")
    page.until(lambda: "item" in page.text("form"), "the form")

    item, count = page.all("form input")
    item.send_keys("screw")
    count.send_keys("0")
    page.press("Call")
    page.until(lambda: "BadParameters" in page.text(), "the count is refused")
    count.send_keys("\b2")
    page.press("Call")

    page.until(lambda: re.search(r'"item":\s*"screw"', page.text()), "the answer")


def test_a_parked_group_is_replayed(page: Page, shop: Shop) -> None:
    shop.order("nobody")
    page.go("/failed")
    page.until(lambda: "shop-payments.parked" in page.text(), "the parking queue")
    page.go("/failed/shop-payments.parked")
    page.until(lambda: "LookupError" in page.text(), "the group")

    page.press("Replay group")
    page.press("Replay")

    page.until(lambda: "1 replayed" in page.text(), "the replay has ended")


def test_the_broker_is_lost_and_found_again(page: Page, shop: Shop) -> None:
    page.go("/map")
    page.until(lambda: page.values("data-edge") >= EDGES, "all edges")

    shop.broker.kill()
    page.until(lambda: "The broker does not answer" in page.text("body"), "the loss is shown")
    shop.start_broker()

    page.until(lambda: "The broker does not answer" not in page.text("body"), "it is over")
    page.until(lambda: page.values("data-edge") >= EDGES, "all edges again")


def test_nothing_was_refused_by_the_policy(page: Page) -> None:
    refused = [each for each in page.driver.get_log("browser") if "Content Security" in str(each)]

    assert not refused
