"""Where tests find a virtual host of their own: on the embedded broker, on a node, on some URL."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar, Protocol
from urllib.parse import quote, unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from postage.broker import BrokerThread
    from postage.testing.rabbitmq import RabbitMQNode

__all__ = ["EmbeddedHome", "Home", "RabbitMQHome", "UrlHome", "chosen_broker"]


def chosen_broker(config: pytest.Config) -> str:
    """Return ``embedded``, ``rabbitmq`` or a URL: what the option says, or else the ini file."""
    chosen = str(config.getoption("--postage-broker") or config.getini("postage_broker"))
    if chosen not in ("embedded", "rabbitmq") and not chosen.startswith("amqp://"):
        raise pytest.UsageError(
            f"--postage-broker: embedded, rabbitmq or an amqp:// URL, not {chosen!r}"
        )
    return chosen


class Home(Protocol):
    """A broker that gives every test a virtual host."""

    def open_vhost(self) -> str:
        """Return the name of a virtual host that no other test uses."""

    def close_vhost(self, name: str) -> None:
        """The test with the virtual host *name* is over."""

    def url_of(self, vhost: str) -> str:
        """Return the ``amqp://`` URL of a virtual host."""


class EmbeddedHome:
    """Makes a virtual host in microseconds, and removes it with all that is in it."""

    def __init__(self, broker: BrokerThread) -> None:
        self._broker = broker
        self._numbers = itertools.count(1)

    def open_vhost(self) -> str:
        """Make a virtual host."""
        name = f"test-{next(self._numbers)}"
        self._broker.add_vhost(name)
        return name

    def close_vhost(self, name: str) -> None:
        """Remove it; connections to it are closed."""
        self._broker.remove_vhost(name)

    def url_of(self, vhost: str) -> str:
        """Return its URL."""
        return f"{self._broker.url}/{quote(vhost, safe='')}"


class RabbitMQHome:
    """Hands out the virtual hosts that the node has had from its start, and makes more when needed.

    Making one takes seconds, so what is left behind in them goes with the node.
    """

    NAMES: ClassVar[list[str]] = [f"test-{number}" for number in range(1, 41)]

    def __init__(self, node: RabbitMQNode) -> None:
        self._node = node
        self._free = iter(self.NAMES)
        self._numbers = itertools.count(len(self.NAMES) + 1)

    def open_vhost(self) -> str:
        """Return the next one."""
        name = next(self._free, None)
        if name is None:
            name = f"test-{next(self._numbers)}"
            self._node.ctl("add_vhost", name)
            self._node.ctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        return name

    def close_vhost(self, name: str) -> None:
        """Leave it behind."""

    def url_of(self, vhost: str) -> str:
        """Return its URL."""
        return f"amqp://guest:guest@{self._node.host}:{self._node.port}/{quote(vhost, safe='')}"


class UrlHome:
    """The virtual host of one URL, for all tests: nobody has told us how to make others."""

    def __init__(self, url: str) -> None:
        self._url = url

    def open_vhost(self) -> str:
        """Return the one there is."""
        return unquote(urlsplit(self._url).path[1:]) or "/"

    def close_vhost(self, name: str) -> None:
        """Leave it as it is."""

    def url_of(self, vhost: str) -> str:  # noqa: ARG002 - there is one
        """Return the URL."""
        return self._url
