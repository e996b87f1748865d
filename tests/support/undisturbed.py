"""A processor that a test must not disturb, beside what it does wrong."""

from __future__ import annotations

from typing import Any

from postage import messaging
from postage.green.runtime import runtime_of
from tests.support.endpoints import Endpoint
from tests.support.running import running


class Bystander(messaging.MessageProcessor):
    """Another processor of the process, which must not be disturbed."""

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Undisturbed:
    """Runs a bystander during a block; asserts that it keeps its channels and connections."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = Endpoint(endpoint.sub("bystander"))
        self._bystander = Bystander({}, self._endpoint.eqk)
        self._producer = self._endpoint.producer()
        self._running = running(self._bystander)

    def __enter__(self) -> None:
        self._running.__enter__()
        assert self._producer.rpc_echo(1).value == 1
        self._producer.message_hello()
        self._before = self._shared()

    def __exit__(self, *error: object) -> None:
        assert self._shared() == self._before, "a channel that others use has ended"
        assert self._producer.rpc_echo(2).value == 2
        self._running.__exit__(*error)
        assert not {"lost", "cancelled", "missing"} & self._bystander.consumer.counts.keys()

    def _shared(self) -> list[Any]:
        pair = runtime_of(self._producer.settings).pair
        connection = pair.publishing.current
        assert connection is not None
        shared = [connection.confirming.current, connection.calling.current]
        return [*shared, pair.publishing.losses, pair.consuming.losses]
