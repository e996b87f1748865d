"""What is set on a service, or on its class, after the class was made.  No broker."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from postage import (
    HandlerError,
    MessageHandler,
    MessageProcessor,
    RpcHandler,
    Service,
    command,
    event,
    rpc,
)

TOLD = "is set after its class was made, so no message would reach it: define it in the class"


class Stock(Service):
    @rpc
    def reserve(self, item: str) -> str:
        return item


class Ordered:
    item: str


def typed() -> list[Any]:
    """Return new typed handlers of each kind."""

    def call(self, item: str) -> str: ...
    def order(self, item: str) -> None: ...
    def happened(self, item: Ordered) -> None: ...

    return [rpc(call), command(order), event(Ordered)(happened), rpc(name="other")(call)]


def classic() -> Any:
    @RpcHandler("command", "late")
    def late(self, content, reply): ...

    return late


def without_broker() -> Stock:
    return object.__new__(Stock)


@pytest.mark.parametrize("name", ["reserve", "late"])
@pytest.mark.parametrize("handler", typed(), ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    "owner", [Stock, MessageProcessor, without_broker()], ids=["class", "processor", "instance"]
)
def test_a_typed_handler_is_refused_after_its_class_was_made(owner, handler, name):
    before = vars(owner).get(name)
    with pytest.raises(HandlerError) as raised:
        setattr(owner, name, handler)
    assert TOLD in str(raised.value)
    assert "@RpcHandler" in str(raised.value)
    assert vars(owner).get(name) is before


def test_a_typed_handler_cannot_be_added():
    with pytest.raises(HandlerError, match="set after its class was made"):
        without_broker().add_handler(typed()[0])


def test_classic_handlers_are_served_as_in_other_processors():
    class Late(Service):
        pass

    Late.late = classic()  # type: ignore[attr-defined]
    assert ("late", "late") in {(route.name, name) for route, name in Late.route_table.entries}
    service = without_broker()
    service.added = MessageHandler("command", "added")(lambda content: None)  # type: ignore[attr-defined]
    assert service._routes.find("message", "command", "added")


def test_a_method_may_be_replaced_by_a_mock_and_come_back():
    service = without_broker()
    serve: Any = getattr(service, "reserve (rpc)")
    for target in (Stock, service):
        with mock.patch.object(target, "reserve", autospec=target is Stock) as replaced:
            replaced.return_value = "other"
            assert serve({"parameters": ["bolt"]}, None).value == "other"
        assert serve({"parameters": ["bolt"]}, None).value == "bolt"


def test_a_bound_method_may_be_kept_as_an_attribute():
    service = without_broker()
    service.callback = service.reserve  # type: ignore[attr-defined]
    assert service.callback("bolt") == "bolt"  # type: ignore[attr-defined]


def test_a_typed_handler_cannot_be_set_to_a_value():
    service: Any = without_broker()
    with pytest.raises(HandlerError, match=r"Stock.reserve is a handler, and cannot be set to 5"):
        service.reserve = 5
