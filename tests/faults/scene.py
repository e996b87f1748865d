"""A broker, the proxy before it, and the environment that leads components through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import gevent

from postage import green
from postage.broker import BrokerThread
from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.attendant import Attendant
from tests.faults.login import PASSWORD, USER
from tests.faults.proxy import Proxy
from tests.support.broker_commands import control
from tests.support.raw import Raw, raw_to

HEARTBEAT = 2


attendant = Attendant()
"""Who starts nodes, and ends them."""


class Scene:
    """Where a fault happens: on a RabbitMQ *node*, or on an embedded *broker*."""

    def __init__(
        self,
        proxy: Proxy,
        vhost: str,
        *,
        node: RabbitMQNode | None = None,
        broker: BrokerThread | None = None,
    ) -> None:
        self.proxy, self.vhost = proxy, vhost
        self._node, self._broker = node, broker

    @property
    def kind(self) -> str:
        """``rabbitmq`` or ``embedded``."""
        return "rabbitmq" if self._node is not None else "embedded"

    @property
    def node(self) -> RabbitMQNode:
        """The node."""
        assert self._node is not None, "not on the embedded broker"
        return self._node

    @property
    def broker(self) -> BrokerThread:
        """The embedded broker."""
        assert self._broker is not None, "not on RabbitMQ"
        return self._broker

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of 127.0.0.1 by which components find the broker, through the proxy."""
        return (self.proxy.port,)

    @property
    def url(self) -> str:
        """The same as a URL."""
        login, vhost = f"{USER}:{quote(PASSWORD, safe='')}", quote(self.vhost, safe="")
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"amqp://{login}@{hosts}/{vhost}?heartbeat={HEARTBEAT}"

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process that shall come here."""
        return os.environ | {"POSTAGE_URL": self.url}

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on the node, while greenlets go on."""
        return control(self.node, *arguments)

    @contextmanager
    def raw(self) -> Iterator[Raw]:
        """Open a connection of plain pika to the broker itself, past the proxy."""
        hup = {"host": "127.0.0.1", "port": self.proxy.target, "user": USER, "password": PASSWORD}
        with raw_to(hup, self.vhost) as raw:
            yield raw


def lasting(seconds: float) -> None:
    """Let the trouble last; everybody else goes on."""
    gevent.sleep(seconds)


@contextmanager
def led(scene: Scene) -> Iterator[Scene]:
    """Lead this process to *scene*; at the end its connections are closed."""
    before = os.environ.get("POSTAGE_URL")
    os.environ["POSTAGE_URL"] = scene.url
    try:
        yield scene
    finally:
        green.close()
        del os.environ["POSTAGE_URL"]
        if before is not None:
            os.environ["POSTAGE_URL"] = before


@contextmanager
def on_node(node: RabbitMQNode, vhost: str) -> Iterator[Scene]:
    """Set the scene on a node that knows our `login`."""
    with Proxy(node.port) as proxy, led(Scene(proxy, vhost, node=node)) as scene:
        yield scene


@contextmanager
def on_embedded() -> Iterator[Scene]:
    """Set the scene on an embedded broker of its own."""
    with (
        BrokerThread(users={USER: PASSWORD}) as broker,
        Proxy(broker.port) as proxy,
        led(Scene(proxy, "/", broker=broker)) as scene,
    ):
        yield scene
