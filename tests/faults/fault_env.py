"""The environment of a fault: a broker, a proxy before it, and a login of its own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock
from urllib.parse import quote

from postage import green
from postage.broker import BrokerThread
from postage.testing.installations import VARIABLE, RabbitMQMissing, programs_of
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.broker_commands import control
from tests.support.proxy import Proxy
from tests.support.raw import Raw, raw_to

USER, PASSWORD = "faulty", "Kn0ck:Zebra/42%?"
"""Used nowhere else, so that a test sees where the password is shown."""
HEARTBEAT = 2


@dataclass
class FaultEnv:
    """Each of *brokers* is a `RabbitMQNode` or a `BrokerThread`.

    Components reach them through *proxies*, or directly if there are none.
    """

    brokers: list[Any]
    vhost: str
    proxies: list[Proxy]

    @property
    def broker(self) -> Any:
        """The first broker."""
        return self.brokers[0]

    @property
    def proxy(self) -> Proxy:
        """The first proxy."""
        return self.proxies[0]

    @property
    def ports(self) -> list[int]:
        """The ports of 127.0.0.1 through which components reach the broker."""
        return [each.port for each in self.proxies or self.brokers]

    @property
    def url(self) -> str:
        """The URL through which components reach the broker."""
        login, vhost = f"{USER}:{quote(PASSWORD, safe='')}", quote(self.vhost, safe="")
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"amqp://{login}@{hosts}/{vhost}?heartbeat={HEARTBEAT}"

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on the node; switches to the hub."""
        return control(self.broker, *arguments)

    @contextmanager
    def raw(self, broker: Any = None) -> Iterator[Raw]:
        """Open a connection of plain pika directly to *broker*, by default the first one."""
        port = (broker or self.broker).port
        hup = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD}
        with raw_to(hup, self.vhost) as raw:
            yield raw


@contextmanager
def on_brokers(*brokers: Any, vhost: str = "/", direct: bool = False) -> Iterator[FaultEnv]:
    """Let the process use *brokers*, which know `USER`; *direct*: without proxies."""
    with ExitStack() as stack:
        proxies = [] if direct else [stack.enter_context(Proxy(each.port)) for each in brokers]
        env = FaultEnv(list(brokers), vhost, proxies)
        stack.enter_context(mock.patch.dict(os.environ, POSTAGE_URL=env.url))
        stack.callback(green.close)
        yield env


def node_for(*vhosts: str, configuration: str = "") -> RabbitMQNode:
    """Return a node that is not started yet; `USER` has all rights in *vhosts*."""
    logins = {USER: (PASSWORD, ["/", *vhosts])}
    return RabbitMQNode(vhosts, logins, configuration=configuration)


@contextmanager
def on_rabbitmq(*, direct: bool = False) -> Iterator[FaultEnv]:
    """Use a RabbitMQ node of its own; *direct*: without a proxy."""
    with node_for() as node, on_brokers(node, direct=direct) as env:
        yield env


@contextmanager
def on_embedded(*, direct: bool = False) -> Iterator[FaultEnv]:
    """Use an embedded broker of its own; *direct*: without a proxy."""
    users = {USER: PASSWORD, "guest": "guest"}  # as a node has
    with BrokerThread(users=users) as broker, on_brokers(broker, direct=direct) as env:
        yield env


def add_broker_option(parser: argparse.ArgumentParser, *others: str) -> None:
    """Add ``--broker``: rabbitmq, a version of it such as rabbitmq-4.3, or one of *others*.

    The value has no version: all nodes of this process, and of its children, are of that version.
    """
    kinds = ["rabbitmq", *others]
    text = f"{', '.join(kinds)}, or rabbitmq-VERSION such as rabbitmq-4.3; default: rabbitmq"
    parser.add_argument("--broker", type=partial(_broker, kinds), default="rabbitmq", help=text)


def _broker(kinds: list[str], text: str) -> str:
    kind, _, version = text.partition("-")
    if kind not in kinds or (version and kind != "rabbitmq"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(kinds)}")
    try:
        if version:
            os.environ[VARIABLE] = str(programs_of(version))
    except RabbitMQMissing as missing:
        raise argparse.ArgumentTypeError(str(missing)) from None
    return kind
