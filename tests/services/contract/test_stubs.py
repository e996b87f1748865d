"""Stubs: modules with interfaces that type checkers accept, and by which clients call services."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pytest

from postage import (
    BadParameters,
    Service,
    SettingsError,
    client,
    command,
    event,
    events,
    rpc,
)
from postage.services.contract.document import Served, document_of
from postage.services.contract.model import Contract
from postage.services.contract.stubs import stubs_of
from postage.services.service import examined
from postage.testing.polling import wait_until
from tests.support.contracts import Classic, Sink, as_json
from tests.support.endpoints import Endpoint
from tests.support.programs import run_program
from tests.support.running import SOON, running


def contract_of(*kinds: type) -> Contract:
    return Contract.of(as_json(document_of(map(Served.of, kinds), title="shop")))


def module_of(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module that *text* is."""
    module: Any = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # where hints are looked up
    exec(compile(text, f"{name}.py", "exec"), vars(module))  # noqa: S102 - it is what is tested
    return module


class OutOfStock(Exception):
    """There are not enough of them."""


@dataclass
class Reservation:
    item: str
    count: int
    at: dt.datetime
    price: Decimal = Decimal("0.5")
    tags: list[str] = field(default_factory=list)


class Ordered(msgspec.Struct):
    item: str


class Stock(Service):
    """What is on the shelves."""

    left = 10
    seen: Any = None

    @rpc(raises=(OutOfStock, KeyError))
    def reserve(
        self,
        item: str,
        count: Annotated[int, msgspec.Meta(ge=1)] = 1,
        *,
        of: uuid.UUID | None = None,
    ) -> Reservation:
        """Reserve some."""
        if count > self.left:
            raise OutOfStock(item, self.left)
        if item == "nut":
            raise KeyError(item)
        return Reservation(item, count, dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc))

    @command(name="re-stock")
    def restock(self, item: str, /, count: int) -> None:
        type(self).seen = (item, count)

    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None:
        type(self).seen = event.item


def test_a_client_of_stubs_calls_the_service(
    endpoint: Endpoint, broker_env: Any, monkeypatch: pytest.MonkeyPatch
):
    places = {"exchange": endpoint.exchange, "queue": endpoint.queue}
    served = type("Stock", (Stock,), places)
    stub = module_of(stubs_of(contract_of(served)), "stock_stubs", monkeypatch)
    with running(served()):
        stock = client(stub.Stock)

        made = stock.reserve("bolt", count=3)
        assert type(made) is stub.Reservation
        assert (made.item, made.count, made.price) == ("bolt", 3, Decimal("0.5"))
        assert made.at == dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc)
        with pytest.raises(stub.OutOfStock) as caught:
            stock.reserve("bolt", 11, of=uuid.uuid4())
        assert caught.value.args == ("bolt", 10)
        with pytest.raises(KeyError):
            stock.reserve("nut")
        with pytest.raises(BadParameters):
            stock.reserve("bolt", 0)  # the limit is in the stub, too
        stock.restock("nut", 5)
        wait_until(lambda: served.seen == ("nut", 5), SOON)
        events(endpoint.exchange).publish(stub.Ordered("nail"))
        wait_until(lambda: served.seen == "nail", SOON)


CALLER = """
from stubs import Line, Order, Sink
from postage import client

sink = client(Sink)
page = sink.order(Order([Line("bolt", 2)]))
total: int = page.total + sink.total([1, 2])
names: list[str] = [each.item for each in page.items]
sink.placed(1, c="x")
"""
WRONG = """
from stubs import Sink
from postage import client

sink = client(Sink)
sink.totl([1])
sink.total(["a"])
sink.numbers()
page: str = sink.nothing
"""


def test_mypy_accepts_stubs_and_finds_mistakes(tmp_path: Path):
    pytest.importorskip("mypy", reason="mypy is in the dependency group `dev`")
    (tmp_path / "stubs.py").write_text(stubs_of(contract_of(Sink, Classic)))
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "wrong.py").write_text(WRONG)
    cache = f"--cache-dir={Path.cwd() / '.mypy_cache'}"

    ended = run_program(
        "-m", "mypy", "--strict", cache, "stubs.py", "caller.py", "wrong.py", cwd=tmp_path
    )

    lines = [line for line in ended.stdout.splitlines() if ": error:" in line]
    assert {line.partition(":")[0] for line in lines} == {"wrong.py"}, ended
    assert {line.split(":")[1] for line in lines} == {"6", "7", "8", "9"}


def test_stubs_of_every_sort_of_hint_can_be_used(monkeypatch: pytest.MonkeyPatch):
    stub = module_of(stubs_of(contract_of(Sink)), "sink_stubs", monkeypatch)
    again, first = examined(stub.Sink)[1], Sink.signatures
    typed = {name for name in first if name != "on_order"}
    assert again.keys() == typed
    for name in typed:
        kinds = [(each.name, each.kind, each.is_required) for each in again[name].parameters]
        assert kinds == [(e.name, e.kind, e.is_required) for e in first[name].parameters]
    assert again["limits"].parameters[1].default == "abc"
    assert again["texts"].parameters[3].default is stub.Color.RED


def renamed(what: str, to: str) -> Contract:
    """Return the contract of a service, in which every *what* is *to*, as others may write it."""
    text = msgspec.json.encode(document_of([Served.of(Stock)], title="x"))
    return Contract.of(
        msgspec.json.decode(text.replace(what.encode(), msgspec.json.encode(to)[1:-1]))
    )


HOSTILE = [
    'a"""\nimport os',
    "import",
    "3",
    "é\u202e",
    "print",
    "Any",
    "None",
    "a b",
    "x'\\",
    "__init__",
]


@pytest.mark.parametrize("index", range(len(HOSTILE)))
@pytest.mark.parametrize(
    "what", ["Reservation", "OutOfStock", "restock", "tags", "shelves", "re-stock"]
)
def test_odd_names_become_names_of_python(what: str, index: int, monkeypatch: pytest.MonkeyPatch):
    text = stubs_of(renamed(what, HOSTILE[index]))

    assert text.replace("\n", "").isprintable()
    names = set(vars(module_of(text, "odd_stubs", monkeypatch)))
    assert "os" not in names
    assert "Stock" in names


def test_a_parameter_that_python_cannot_name_is_refused():
    with pytest.raises(
        SettingsError, match=r"Stock\.reserve has a parameter 'class', no name in Python"
    ):
        stubs_of(renamed("count", "class"))


def test_without_a_typed_call_there_are_no_stubs():
    with pytest.raises(SettingsError, match="has no call and no command with types"):
        stubs_of(contract_of(Classic))
