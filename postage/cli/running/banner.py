"""What ``postage run`` logs when its components run: versions, the broker, and each component."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING

from postage._version import __version__
from postage.cli.running.inside import url_of_broker
from postage.log_records import logger_of
from postage.settings import Settings

if TYPE_CHECKING:
    from postage.green import MessageProcessor, MicroThread

__all__ = ["log_start"]

logger = logger_of(__name__)

NAMES_SHOWN = 10
"""How many components, queues of a component, and keys of a queue one record names."""
COMPONENTS_SHOWN = 100
"""How many components have a record of their own."""


def log_start(components: list[MicroThread]) -> None:
    """Log at INFO what runs and where; never switches."""
    from postage.green import MessageProcessor  # noqa: PLC0415 - after patching

    processors = [each for each in components if isinstance(each, MessageProcessor)]
    kind = "component" if len(components) == 1 else "components"
    names = _some(type(each).__name__ for each in components)
    logger.info("This is Postage %s, on Python %s.", __version__, platform.python_version())
    logger.info("Running %d %s: %s.", len(components), kind, names)
    for each in processors[:COMPONENTS_SHOWN]:
        _log_component(each)
    if len(processors) > COMPONENTS_SHOWN:
        logger.info("%d more take messages.", len(processors) - COMPONENTS_SHOWN)
    used = dict.fromkeys(each.consumer.settings for each in processors)
    for settings in used or [Settings.resolve()]:
        if url := url_of_broker(settings):
            logger.info("Others reach them with --url %s", url)
        else:
            hosts = ", ".join(f"{host}:{port}" for host, port in settings.addresses)
            logger.info("Their broker is %s, virtual host %r.", hosts, settings.vhost)
    for settings in used:
        _log_product(settings)


def _log_component(processor: MessageProcessor) -> None:
    queues: dict[str, list[str]] = {}
    for queue, key in processor.consumer.qk_list:
        queues.setdefault(queue, []).extend([str(key)] if key else [])
    told = _some(
        f"{queue!r} ({_some(keys)})" if keys else repr(queue) for queue, keys in queues.items()
    )
    name = processor.fingerprint["name"]
    component = f"{type(processor).__name__} {name!r}" if name else type(processor).__name__
    text = "%s takes up to %d messages at a time from %s."
    logger.info(text, component, processor.concurrency, told or "no queue")


def _log_product(settings: Settings) -> None:
    """Log what the broker says it is, if there is a connection."""
    from postage.green.runtime import runtime_of  # noqa: PLC0415 - after patching

    pair = runtime_of(settings).pair
    connection = pair.consuming.current or pair.publishing.current
    if connection is not None:
        logger.info("The broker is %s.", connection.product)


def _some(texts: Iterable[str]) -> str:
    """Return the first `NAMES_SHOWN` of *texts*, and dots if there are more."""
    found = list(texts)
    more = ["..."] if len(found) > NAMES_SHOWN else []
    return ", ".join(found[:NAMES_SHOWN] + more)
