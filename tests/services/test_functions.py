"""Services of plain functions: what is refused, how they run, and how they are called."""

from __future__ import annotations

import sys
import types
from functools import partial
from typing import Any, Protocol

import pytest

from postage import (
    EXCEPTION,
    Application,
    BadParameters,
    Exchange,
    GenericProducer,
    HandlerError,
    MessageFilter,
    MessageHandler,
    RpcCommand,
    SettingsError,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    command,
    events,
    green,
    later,
    options,
    rpc,
)
from postage.cli.running import targets
from postage.cli.running.targets import Target, load_objects, make_components
from postage.testing import handle
from postage.testing.polling import wait_until
from tests.services.shop import Ordered, OutOfStock, Reservation, shouted
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.running import SOON, running


class Shelves(Protocol):
    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation: ...

    @command
    def restock(self, item: str) -> None: ...


class Shop:
    """A service of functions, and what they have seen."""

    def __init__(self, **attributes: Any) -> None:
        self.seen = seen = list[Any]()
        self.app = app = Application("shop", **attributes)

        @app.rpc(raises=(OutOfStock,))
        def reserve(item: str, count: int = 1) -> Reservation:
            """Put some aside."""
            if count > 10:
                raise OutOfStock(item)
            return Reservation(item, count)

        @app.command
        @green.retry(now=2)
        def restock(item: str) -> None:
            seen.append(item)
            if item == "lead":
                raise ConnectionError

        @app.event(Ordered)
        def on_ordered(event: Ordered) -> None:
            seen.append(event)

        @app.rpc(name="both")
        @app.command
        def either(item: str) -> str:
            seen.append(item)
            return green.message().name

        @MessageFilter(shouted)
        @app.rpc
        def filtered(item: str) -> str:
            return item

        self.reserve, self.restock, self.either = reserve, restock, either


# --- without a broker


def test_a_decorated_function_stays_a_function():
    shop = Shop()
    assert type(shop.reserve) is types.FunctionType
    assert shop.reserve("bolt", count=3) == Reservation("bolt", 3)
    other = Application("other")
    assert other.rpc(shop.reserve) is shop.reserve


def test_several_services_may_have_one_function():
    one, other = Application("one"), Application("other")

    @one.rpc(name="here")
    @other.rpc(name="there")
    def reserve(item: str) -> str:
        return item

    for app, name in ((one, "here"), (other, "there")):
        handled = handle(app, RpcCommand(name, "bolt"))
        assert handled.result.value == "bolt"
    assert handle(one, RpcCommand("there", "bolt")).handlers == 0


def test_a_test_handles_one_message_without_a_broker():
    app = Shop().app
    assert handle(app, RpcCommand("reserve", "bolt")).result.value == {"item": "bolt", "count": 1}
    assert handle(app, RpcCommand("filtered", {"item": "bolt"})).result.value == "BOLT"
    with pytest.raises(BadParameters, match="count"):
        handle(app, RpcCommand("reserve", {"item": "bolt", "count": "3"}))


def test_the_class_of_the_service_has_all_functions():
    service = Shop(concurrency=3, keys=["more"]).app.service
    assert (service.__name__, service.__module__, service.concurrency) == ("shop", __name__, 3)
    assert list(service.signatures) == ["reserve", "restock", "on_ordered", "either", "filtered"]
    assert service.eqk == [(Exchange, [("shop", key) for key in ("shop", "more", "Ordered")])]
    assert service.reserve.__doc__ == "Put some aside."


def fresh(name: str = "sold", *, returns: Any = int) -> Any:
    """Return a function of its own."""

    def sold(item: str) -> Any: ...

    sold.__name__, sold.__annotations__["return"] = name, returns
    return sold


def test_signatures_are_refused_when_decorated():
    def any_number(*items: str) -> None: ...
    def hintless(item) -> None: ...
    def unresolved(item: Missing) -> None: ...  # noqa: F821 - its error is wanted
    def shared(items: list[str] = []) -> None: ...  # noqa: B006 - its error is wanted
    def method(self, item: str) -> None: ...
    async def lazy() -> None: ...
    def of_event(event: Reservation) -> None: ...

    for function, told in {
        any_number: "shop.any_number takes any arguments",
        hintless: "needs the type of its parameter 'item'",
        unresolved: "has a hint that cannot be resolved",
        shared: "that can be changed",
        method: "needs the type of its parameter 'self'",
        lazy: "is async",
        fresh(returns=Shop): "cannot be checked",
        fresh("counts"): "shop.counts hides",
        fresh("queue"): "shop.queue hides",
    }.items():
        app = Application("shop")
        for decorator in (app.rpc, app.command, app.rpc(name="other")):
            with pytest.raises(HandlerError) as raised:
                decorator(function)
            assert told in str(raised.value)
        assert repr(app) == "<Application 'shop': none yet>"
    with pytest.raises(HandlerError, match="must take one argument, annotated with Ordered"):
        app.event(Ordered)(of_event)


def test_odd_uses_of_the_decorators_are_refused():
    app = Application("shop")
    app.rpc(fresh())
    for decorate, told in {
        partial(app.rpc, 5): "is no plain function",
        partial(app.rpc, staticmethod(fresh())): "is no plain function",
        partial(app.command, partial(fresh())): "is no plain function",
        partial(app.command, Shop): "is no plain function",
        partial(app.rpc, name=5): "takes the name of its messages as text",
        partial(app.rpc, raises=ValueError): "must be a tuple of exception classes",
        partial(app.event, fresh()): "takes the class of the event",
        partial(app.rpc, fresh()): "shop.fresh.<locals>.sold is the second function of this name",
        partial(app.rpc(name="sold"), fresh("more")): "and sold both take the call 'sold'",
        partial(app.rpc, rpc(fresh("a"))): "has a decorator for methods, too",
        partial(app.rpc, MessageHandler("command", "a")(fresh("a"))): "for methods, too",
        partial(app.client, fresh()): "has no function",
        partial(app.client, None): "has no function",
    }.items():
        with pytest.raises(SettingsError) as raised:
            decorate()
        assert told in str(raised.value)
    assert repr(app) == "<Application 'shop': sold>"


def test_options_are_refused_where_they_are_given():
    for options_of_it, told in {
        ("concurency",): "has no concurency: it may have answer_unknown, around, concurrency",
        ("eqk",): "has no eqk",
        ("concurrency",): "shop.concurrency must be",
        ("retry",): "shop.retry must be",
    }.items():
        with pytest.raises(SettingsError) as raised:
            Application("shop", **dict.fromkeys(options_of_it, "many"))
        assert told in str(raised.value)
    for name in ("", 5, None):
        with pytest.raises(SettingsError, match="the name of an Application"):
            Application(name)


def test_a_service_without_functions_is_refused():
    with pytest.raises(SettingsError, match=r"Application\('shop'\) has no functions"):
        Application("shop")()


def test_a_function_that_comes_too_late_is_refused():
    app = Shop().app
    assert app.service is app.service
    with pytest.raises(HandlerError, match="comes too late, as 'shop' has been made"):
        app.rpc(fresh())


FILES = {
    "shop_defining": "from postage import Application; app = same = Application('shop')",
    "shop_using": "from shop_defining import app; rpc = app.rpc\n@rpc\ndef a() -> None: ...",
}


def test_postage_run_finds_services_where_they_are_made(postage_url, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(targets, "prepare_imports", lambda: None)  # it would patch the suite
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert load_objects(Target("shop_using")) == []
    for target in (Target("shop_defining"), Target("shop_using", "app")):
        (found,) = load_objects(target)
        (made,) = make_components(found, target)
        assert type(made) is found.service
        assert made.fingerprint["name"] == "shop"


# --- on a broker


@pytest.fixture
def shop(broker_env, endpoint: Endpoint) -> Shop:
    """A service of functions at an exchange and a queue of its own."""
    return Shop(exchange=endpoint.exchange, queue=endpoint.queue)


def test_functions_are_called_by_typed_and_classic_clients(shop, endpoint):
    class Caller(GenericProducer):
        eks = ((endpoint.exchange, endpoint.queue),)

    with running(shop.app()):
        shelves = client(Shelves, exchange=endpoint.exchange, queue=endpoint.queue)
        assert shelves.reserve("bolt", count=2) == Reservation("bolt", 2)
        with pytest.raises(OutOfStock, match="bolt"):
            shelves.reserve("bolt", 11)
        shelves.restock("nut")
        result = Caller().rpc_reserve("bolt", count="3")
        assert (result.kind, result.value) == (EXCEPTION, "BadParameters")
        assert Caller().rpc_both("nail").value == "both"
        Caller().message_either("screw")
        events(endpoint.exchange).publish(Ordered("bolt"))
        wait_until(lambda: len(shop.seen) == 4, SOON)
    assert sorted(map(str, shop.seen)) == ["Ordered(item='bolt', count=1)", "nail", "nut", "screw"]


def test_a_function_is_called_where_the_service_runs(shop):
    reserve, restock = shop.app.client(shop.reserve), shop.app.client(shop.restock)
    with running(shop.app()):
        assert reserve("bolt", count=2) == Reservation("bolt", 2)
        with pytest.raises(OutOfStock):
            reserve("bolt", 11)
        with pytest.raises(BadParameters, match="count"):
            reserve("bolt", count="3")
        waiting = [later(reserve)("nut", count) for count in (1, 2)]
        assert [each.get().count for each in waiting] == [1, 2]
        restock("lead")
        wait_until(lambda: shop.seen == ["lead"] * 3, SOON)  # its policy tries it twice more


def test_options_may_be_given_to_one_call(shop, endpoint):
    service = shop.app()  # which makes the queue; nobody takes from it
    shelves = client(Shelves, exchange=endpoint.exchange, queue=endpoint.queue)
    with (
        options(shelves, timeout=30, max_retry=0),
        options(shelves.reserve, timeout=0.1),
        pytest.raises(TimeoutError),
    ):
        shelves.reserve("bolt")
    service.stop()


PROGRAM = """
from postage import Application
app = Application("functions-run")
@app.rpc
def double(number: int) -> int:
    return 2 * number
if __name__ == "__main__":
    app.run()
"""


@pytest.mark.parametrize("target", [(), ("doubling:app",)], ids=len)
def test_a_program_runs_its_functions(broker_env, tmp_path, target):
    (tmp_path / "doubling.py").write_text(PROGRAM)
    arguments = ("-m", "postage", "run", *target) if target else ("doubling.py",)

    class Caller(GenericProducer):
        eks = ((Exchange, "functions-run"),)
        max_retry = 0

    caller = Caller()
    with Program(*arguments, cwd=tmp_path) as program:
        wait_until(lambda: caller.rpc_double(21, _timeout=5).value == 42, 20)
        ended = program.terminate()
    assert ended.code == 0, ended
