"""The environment of a fault: a broker, a proxy before it, and a login of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote

from postage import green
from postage.broker import BrokerThread
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.broker_commands import control
from tests.support.proxy import Proxy
from tests.support.raw import Raw, raw_to

USER, PASSWORD = "faulty", "Kn0ck:Zebra/42%?"
"""Used nowhere else, so that a test sees where the password is shown."""
VHOSTS = [f"f{number}" for number in range(60)]
LOGINS = {USER: (PASSWORD, VHOSTS)}
HEARTBEAT = 2


class FaultEnv:
    """A RabbitMQ *node* or an embedded *broker*.

    Components reach it through *proxies*, or directly if there are none.
    """

    def __init__(
        self,
        proxies: list[Proxy],
        vhost: str,
        *,
        node: RabbitMQNode | None = None,
        broker: BrokerThread | None = None,
    ) -> None:
        self.vhost = vhost
        self.node: Any = node
        self.broker: Any = broker
        self.kind = "embedded" if node is None else "rabbitmq"
        self._proxies = proxies

    @property
    def proxy(self) -> Proxy:
        """The first proxy."""
        return self._proxies[0]

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of 127.0.0.1 through which components reach the broker."""
        return tuple(each.port for each in self._proxies or [self.node or self.broker])

    @property
    def url(self) -> str:
        """The URL through which components reach the broker."""
        login, vhost = f"{USER}:{quote(PASSWORD, safe='')}", quote(self.vhost, safe="")
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"amqp://{login}@{hosts}/{vhost}?heartbeat={HEARTBEAT}"

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process that uses this broker."""
        return os.environ | {"POSTAGE_URL": self.url}

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on the node; switches to the hub."""
        return control(self.node, *arguments)

    @contextmanager
    def raw(self) -> Iterator[Raw]:
        """Open a connection of plain pika directly to the broker."""
        port = (self.node or self.broker).port
        hup = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD}
        with raw_to(hup, self.vhost) as raw:
            yield raw

    @contextmanager
    def entered(self) -> Iterator[FaultEnv]:
        """Make this the broker of the process; close the proxies and our connections at the end."""
        before = os.environ.get("POSTAGE_URL")
        os.environ["POSTAGE_URL"] = self.url
        try:
            yield self
        finally:
            green.close()
            del os.environ["POSTAGE_URL"]
            if before is not None:
                os.environ["POSTAGE_URL"] = before
            for proxy in self._proxies:
                proxy.close()


@contextmanager
def on_node(node: RabbitMQNode, vhost: str, *, direct: bool = False) -> Iterator[FaultEnv]:
    """Use a node that knows `LOGINS`; *direct*: without a proxy."""
    with FaultEnv([] if direct else [Proxy(node.port)], vhost, node=node).entered() as env:
        yield env


@contextmanager
def on_embedded(*, direct: bool = False) -> Iterator[FaultEnv]:
    """Use an embedded broker of its own; *direct*: without a proxy."""
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerThread(users={USER: PASSWORD}))
        proxies = [] if direct else [Proxy(broker.port)]
        yield stack.enter_context(FaultEnv(proxies, "/", broker=broker).entered())
