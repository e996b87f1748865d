"""A virtual host for each test: on the embedded broker, on a RabbitMQ node, or at a URL."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from postage.broker import BrokerThread
    from postage.testing.rabbitmq import RabbitMQNode


def chosen_broker(config: pytest.Config) -> str:
    """Return ``embedded``, ``rabbitmq`` or a URL, from the option or else from the ini file."""
    kind, _ = _chosen(config)
    return kind


def chosen_version(config: pytest.Config) -> str:
    """Return the version of RabbitMQ that the option or the ini file names; empty: any version.

    The embedded broker is to be like this version.
    """
    _, version = _chosen(config)
    return version


def _chosen(config: pytest.Config) -> tuple[str, str]:
    chosen = str(config.getoption("--postage-broker") or config.getini("postage_broker"))
    if chosen.startswith(("amqp://", "amqps://")):
        return chosen, ""
    if named := re.fullmatch(r"(embedded|rabbitmq)(?:-(\d+(?:\.\d+)*))?", chosen):
        return named[1], named[2] or ""
    raise pytest.UsageError(
        "--postage-broker: embedded, embedded-VERSION, rabbitmq, rabbitmq-VERSION (such as "
        f"rabbitmq-4.3) or an amqp:// URL, not {chosen!r}"
    )


class VhostProvider:
    """Gives each test a virtual host of the broker at *url*, which names none itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)

    def open_vhost(self) -> str:
        """Return the name of a virtual host that no other test uses."""
        raise NotImplementedError

    def close_vhost(self, name: str) -> None:
        """Take back the virtual host *name*: its test has ended."""

    def url_of(self, vhost: str) -> str:
        """Return the ``amqp://`` URL of a virtual host."""
        return f"{self._url}/{quote(vhost, safe='')}"


class EmbeddedVhosts(VhostProvider):
    """Makes virtual hosts on the embedded broker, in microseconds, and removes them."""

    def __init__(self, broker: BrokerThread) -> None:
        super().__init__(broker.url)
        self._broker = broker

    def open_vhost(self) -> str:
        """Make a virtual host and return its name."""
        name = f"test-{next(self._numbers)}"
        self._broker.add_vhost(name)
        return name

    def close_vhost(self, name: str) -> None:
        """Remove the virtual host with its queues; connections to it are closed."""
        self._broker.remove_vhost(name)


class RabbitMQVhosts(VhostProvider):
    """Gives out the virtual hosts that a node was started with, then makes as many more at once.

    One command takes seconds, for one virtual host or for many.  So none is deleted: the node takes
    them all with it.
    """

    NAMES: ClassVar[list[str]] = [f"test-{number}" for number in range(1, 41)]

    def __init__(self, node: RabbitMQNode) -> None:
        super().__init__(f"amqp://guest:guest@{node.host}:{node.port}")
        self._node = node

    def open_vhost(self) -> str:
        """Return the name of an unused virtual host."""
        number, many = next(self._numbers), len(self.NAMES)
        if number > many and number % many == 1:
            self._node.add_vhosts(f"test-{each}" for each in range(number, number + many))
        return f"test-{number}"


class UrlVhost(VhostProvider):
    """Gives all tests the virtual host of one URL: AMQP has no way to make another."""

    def open_vhost(self) -> str:
        """Return the name of the virtual host."""
        return unquote(urlsplit(self._url).path[1:]) or "/"

    def url_of(self, vhost: str) -> str:  # noqa: ARG002 - there is only one
        """Return the URL."""
        return self._url
