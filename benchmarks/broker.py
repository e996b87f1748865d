"""The broker of a run: the one that is named, or a private RabbitMQ node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote


@contextmanager
def broker_url(named: str | None) -> Iterator[str]:
    """Give the URL *named*, else what ``POSTAGE_*`` say, else that of a node just for the block."""
    known = named or from_environment()
    if known:
        yield known
        return
    from postage.testing.rabbitmq import RabbitMQNode  # noqa: PLC0415 - not needed above

    with RabbitMQNode() as node:
        yield f"amqp://guest:guest@{node.host}:{node.port}/%2F"


def from_environment() -> str | None:
    """Return the broker which the environment names, as Postage itself reads it; None for none."""
    if "POSTAGE_URL" in os.environ or "POSTAGE_HOST" not in os.environ:
        return os.environ.get("POSTAGE_URL")
    value = {
        name: quote(os.environ.get(f"POSTAGE_{name}", default), safe="")
        for name, default in DEFAULTS
    }
    return "amqp://{USER}:{PASSWORD}@{HOST}:{PORT}/{VHOST}".format(**value)


DEFAULTS = (
    *(("USER", "guest"), ("PASSWORD", "guest")),
    *(("HOST", "localhost"), ("PORT", "5672"), ("VHOST", "/")),
)
