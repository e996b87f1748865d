"""A broker, the proxy before it, and the environment that leads components through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    """Where a fault happens: on a RabbitMQ *node*, or on an embedded *broker*.

    Without a *proxy* components go straight to the broker, and nothing happens on their way.
    """

    def __init__(
        self,
        proxy: Proxy | None,
        vhost: str,
        *,
        node: RabbitMQNode | None = None,
        broker: BrokerThread | None = None,
    ) -> None:
        self._proxy, self.vhost = proxy, vhost
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
    def proxy(self) -> Proxy:
        """The proxy before the broker."""
        assert self._proxy is not None, "there is no proxy"
        return self._proxy

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 where the broker itself listens."""
        return self.broker.port if self._node is None else self.node.port

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of 127.0.0.1 by which components find the broker, through the proxy."""
        return (self.port if self._proxy is None else self._proxy.port,)

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
        hup = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
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
def on_node(node: RabbitMQNode, vhost: str, *, straight: bool = False) -> Iterator[Scene]:
    """Set the scene on a node that knows our `login`; *straight*: without a proxy before it."""
    with before(node.port, straight) as proxy, led(Scene(proxy, vhost, node=node)) as scene:
        yield scene


@contextmanager
def on_embedded(*, straight: bool = False) -> Iterator[Scene]:
    """Set the scene on an embedded broker of its own; *straight*: without a proxy before it."""
    with (
        BrokerThread(users={USER: PASSWORD}) as broker,
        before(broker.port, straight) as proxy,
        led(Scene(proxy, "/", broker=broker)) as scene,
    ):
        yield scene


def before(port: int, straight: bool) -> AbstractContextManager[Proxy | None]:
    """Return a proxy before *port*, or nothing for who goes *straight*."""
    return nullcontext() if straight else Proxy(port)
