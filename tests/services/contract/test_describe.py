"""Services tell their contract to those who ask: the call `describe`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from postage import GenericApplication, Service, client, rpc
from postage.services.contract.changes import breaking_changes
from postage.services.contract.document import Served, document_of
from postage.services.contract.model import Contract
from postage.services.contract.stubs import stubs_of
from tests.support.contracts import Sink, as_json
from tests.support.endpoints import Endpoint
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


class Tail(Service):
    """Counts."""

    @rpc
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


class Flat(Service):
    @rpc
    def count(self, to: int) -> int: ...


Flat.__qualname__ = "Tail"


def contract_of(kind: type) -> Contract:
    return Contract.of(as_json(document_of([Served.of(kind)], title="x")))


def test_a_service_tells_its_contract(endpoint: Endpoint):
    with running(Sink(eqk=endpoint.eqk)):
        producer = endpoint.producer()
        described = producer.call("describe").value
        brief = producer.call("describe", brief=True).value

    told = Contract.of(described["contract"])
    assert {each.name for each in told.operations} >= {"numbers", "Line", "classic"}
    places = [(each.queue, each.key) for each in told.services["Sink"].bindings]
    assert places == [(endpoint.queue, endpoint.key)]
    assert "contract" not in brief
    assert brief["class"] == "tests.support.contracts.Sink"


def test_a_generic_application_tells_both():
    class Both(Service, GenericApplication):
        @rpc
        def add(self, a: int) -> int: ...

    both = Both({"name": "contract-both"})
    described: Any = both.description()

    assert {"handlers", "queues", "statistics", "contract"} <= described.keys()
    assert "Both.add" in described["contract"]["operations"]


def test_a_service_may_have_a_describe_of_its_own(endpoint: Endpoint):
    class Own(Service):
        exchange, queue = endpoint.exchange, endpoint.queue

        @rpc
        def describe(self, what: str) -> str:
            return what.upper()

    with running(Own()):
        assert client(Own).describe("x") == "X"


def test_streams_are_told_and_compared():
    document = document_of([Served.of(Tail)], title="x")
    told = document["operations"]["Tail.count"]
    messages = [each["$ref"].rpartition("/")[2] for each in told["reply"]["messages"]]

    assert told["x-postage"]["streams"] is True
    assert messages[:2] == ["Tail.count.reply.part", "Tail.count.reply.end"]
    assert "def count(self, to: int) -> Iterator[int]: ..." in stubs_of(contract_of(Tail))
    found = breaking_changes(contract_of(Tail), contract_of(Flat))
    assert [each.text for each in found] == [
        "answered with a stream of parts, and answers with one reply"
    ]
