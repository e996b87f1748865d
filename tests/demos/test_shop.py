"""The shop of demos/shop: its services run as its README says, and customers use its web front."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

from postage.testing.polling import wait_until
from tests.support.programs import ROOT, Program, run_program
from tests.support.raw import raw_to

SHOP = ROOT / "demos" / "shop"
SERVICES = ("stock", "orders", "payments", "audit")
SOON = 20.0
"""Seconds for a program to start, and for a payment to be tried three times."""


class Front:
    """A customer of the web front that *program* runs."""

    def __init__(self, program: Program) -> None:
        line = program.wait_for_line("the shop is open at http://127.0.0.1:", SOON)
        self.port = int(line.rpartition(":")[2])

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the JSON of the answer; a *body* is posted."""
        status, text = self.read(path, body)
        return status, json.loads(text)

    def read(self, path: str, body: Any = None) -> tuple[int, str]:
        """Return the status and the text of the answer."""
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SOON)) as connection:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def order(self, customer: Any, **items: Any) -> tuple[int, Any]:
        return self.ask("/orders", {"customer": customer, "items": items})


@pytest.fixture(autouse=True)
def _no_queues(broker_env: Any) -> Iterator[None]:
    """Delete the queues of the shop, with the events that nobody has taken."""
    yield
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        for name in (*SERVICES, "payments.parked"):
            raw.channel.queue_delete(f"shop-{name}")


@contextmanager
def run(*modules: str) -> Iterator[Program]:
    env = os.environ | {"SHOP_PORT": "0"}
    with Program("-m", "postage", "run", *modules, cwd=SHOP, env=env) as program:
        program.wait_for_line(f"Running {len(modules)} component", SOON)
        yield program
        ended = program.terminate()
    assert ended.code == 0, ended


def test_customers_order_pay_and_see_the_trail(broker_env):
    with run(*SERVICES, "web") as program:
        front = Front(program)
        status, ordered = front.order("alice", bolt=3, nut=2)
        assert (status, ordered["customer"], ordered["total"]) == (201, "alice", 19)
        told = front.read(f"/orders/{ordered['order']}/news")  # which ends when it is paid
        assert told == (200, "alice ordered for 19\npaid\n")
        assert front.ask(f"/orders/{ordered['order']}") == (200, ["alice ordered for 19", "paid"])

        # All of a basket, or nothing of it.
        assert front.order("bob", bolt=98, nut=2) == (409, {"error": "('bolt', 97)"})
        left = (200, {"bolt": 97, "nut": 98, "screw": 100})
        wait_until(lambda: front.ask("/stock") == left, SOON)
        assert front.order("bob", bolt=97)[0] == 201

        # What is no basket runs no handler.
        for customer, items, told in (
            ("bob", {"bolt": -1}, "basket.items[...]: Expected `int` >= 1"),
            ("bob", {"bolt": "2"}, "basket.items[...]: Expected `int`, got `str`"),
            ("bob", {}, "basket.items: Expected `object` of length >= 1"),
            (5, {"bolt": 1}, "basket.customer: Expected `str`, got `int`"),
        ):
            assert front.order(customer, **items) == (400, {"error": told})
        assert front.ask("/orders", [])[0] == 400
        assert front.ask("/orders/unheard-of") == (404, {"error": "unheard-of"})
        assert front.ask("/orders/unheard-of/news")[0] == 404


def test_a_payment_that_fails_for_good_is_parked(broker_env):
    with run(*SERVICES, "web") as program:
        assert Front(program).order("nobody", screw=1)[0] == 201
        program.wait_for_line("LookupError: 'nobody' has no account, and owes 4", SOON)
    listed = run_program("-m", "postage", "dlq", "ls", "shop-payments")
    assert (listed.code, "builtins.LookupError" in listed.stdout) == (0, True), listed


def test_services_run_apart_and_the_command_line_calls_them(broker_env):
    with run("web") as program:
        status, told = Front(program).order("alice", bolt=1)
        assert (status, "shop-orders" in told["error"]) == (503, True)
        with run("stock"), run("orders"):
            assert Front(program).order("alice", bolt=1)[0] == 201
            shop = ("shop-exchange", "shop-stock")
            sent = run_program("-m", "postage", "send", *shop, "restock", "bolt", "11")
            assert sent.code == 0, sent
            called = run_program("-m", "postage", "call", *shop, "reserve", "bolt", "count=110")
            assert json.loads(called.stdout) == {"item": "bolt", "count": 110, "price": 550}
            called = run_program("-m", "postage", "call", *shop, "reserve", "bolt", "1")
            assert (called.code, "OutOfStock: ('bolt', 0)" in called.stderr) == (4, True)


def test_the_shop_is_checked_without_a_broker():
    checked = run_program("-m", "postage", "check", *SERVICES, "web", cwd=SHOP)
    assert checked.code == 0, checked
