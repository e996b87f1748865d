"""Services and typed clients in the pairings: with 1.2.1, the classic API, and `postage call`."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage import (
    Application,
    Exchange,
    MessageResult,
    MessageResultError,
    MessageResultException,
    RemoteError,
    Service,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    command,
    later,
    options,
    rpc,
)
from tests.classic import expected
from tests.classic.programs import events, program, table
from tests.support.running import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("classic", "broker_env"),
]


class Typed(Service):
    """Takes what server.py takes, as far as client.py sends it to typed handlers."""

    @rpc
    def sum(self, a: int, b: int) -> Any:
        return MessageResult(a + b, "done")

    @rpc
    def bare(self, value: Any) -> Any:
        return value

    @rpc
    def error(self) -> Any:
        return MessageResultError("it failed")

    @rpc
    def exception(self) -> Any:
        return MessageResultException("KeyError", "'missing'")

    @rpc
    def raising(self) -> None:
        raise ValueError("no good")

    @rpc
    def sleep(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return "slept"

    @command
    def filtered(self, text: str) -> None:
        self.texts = text

    @command
    def refuse(self, much: int) -> None:
        raise AssertionError


def placed(name: str, kind: Any = Typed) -> Any:
    """Return a class like *kind* at the exchange and the queue of the classic programs."""
    shared = type("Shared", (Exchange,), {"name": f"classic-{name}"})
    queue = {"name": f"classic-{name}", "flags": {"durable": False}}
    return type("Service", (kind,), {"exchange": shared, "queue": queue, "keys": ("rk",)})


def functions(name: str) -> Any:
    """Return a service at the same place as `placed`, made of functions that do the same."""
    typed = placed(name)
    app = Application("server", exchange=typed.exchange, queue=typed.queue, keys=("rk",))

    def filtered(text: str) -> None:
        made.texts = text

    for call in (add, bare, error, exception, raising, sleep):
        app.rpc(name="sum" if call is add else None, raises=(KeyError,))(call)
    for each in (filtered, refuse):
        app.command(each)
    made = app()
    return made


def add(a: int, b: int) -> Any:
    return MessageResult(a + b, "done")


def bare(value: Any) -> Any:
    return value


def error() -> Any:
    return MessageResultError("it failed")


def exception() -> None:
    raise KeyError("missing")


def raising() -> None:
    raise ValueError("no good")


def sleep(seconds: float) -> str:
    gevent.sleep(seconds)
    return "slept"


def refuse(much: int) -> None:
    raise AssertionError


SERVICES = {"class": lambda name: placed(name)({"name": "server"}), "functions": functions}


@pytest.mark.behaviour("other-languages")
@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_classic_client_uses_a_service(classic, broker_env, side, kind):
    name = f"typed-{kind}-{side}"
    server = SERVICES[kind](name)
    with running(server), program(side, "client.py", name) as calling:
        said = calling.wait(within=30)
    found = table(said)
    assert {call: found[call] for call in expected.RESULTS} == expected.RESULTS
    failed = {call: found[call]["value"] for call in expected.FAILURES["new"]}
    assert failed == expected.FAILURES["new"]
    assert said.code == 0
    assert server.texts == "quiet"
    assert server.counts["parked"] == 1


class Interface(Service):
    @rpc
    def sum(self, a: int, b: int) -> int: ...  # type: ignore[empty-body]

    @rpc
    def bare(self, value: Any, /) -> Any: ...

    @rpc
    def error(self) -> None: ...

    @rpc(raises=(KeyError,))
    def exception(self) -> None: ...

    @rpc
    def raising(self) -> None: ...

    @rpc
    def sleep(self, seconds: float, /) -> str: ...  # type: ignore[empty-body]

    @command
    def log(self, text: str, /) -> None: ...

    @command
    def quit(self) -> None: ...


@pytest.mark.behaviour("other-languages")
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_typed_client_calls_a_classic_server(classic, broker_env, side):
    name = f"typed-client-{side}"
    with program(side, "server.py", name) as serving:
        serving.wait_for_line('"ready"')
        interface = placed(name, Interface)
        interface.queue = None
        interface = type("Named", (interface,), {"queue": "rk"})  # a client sends by the key alone
        server = client(interface)
        assert server.sum(5, 6) == 11
        assert later(server.sum)(a=1, b=2).get() == 3
        assert server.bare([1, "a"]) == [1, "a"]
        # A classic reply has no arguments, so no exception class is made of it.
        for call, kind in (("error", ""), ("exception", "KeyError"), ("raising", "ValueError")):
            with pytest.raises(RemoteError) as raised:
                getattr(server, call)()
            assert raised.value.name == kind
        with options(server, timeout=0.3, max_retry=0), pytest.raises(TimeoutError):
            server.sleep(0.8)
        server.log("hello")
        server.quit()
        finished = serving.wait()
    logged = [each for each in events(finished) if each["event"] == "command"]
    assert [each["content"] for each in logged] == [{"parameters": "hello"}]
