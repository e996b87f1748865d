"""The metrics of Postage in a registry of prometheus_client (extra ``metrics``).

A program that does not run under ``postage run`` shows them beside its own metrics::

    from prometheus_client import REGISTRY, start_http_server
    from postage.metrics import PostageCollector

    REGISTRY.register(PostageCollector([orders, payments]))

``postage run --health`` needs neither this module nor the extra: see docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from postage.errors import SettingsError
from postage.green.processor import MessageProcessor
from postage.metrics.measurements import Measurements

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["PostageCollector"]

_NOT_INSTALLED = (
    "PostageCollector needs prometheus_client: install it, or Postage with its extra `metrics`"
)


class PostageCollector:
    """Collects the metrics of *processors*, which may be a list that still grows, and of their hub.

    `collect` must run in the thread of that hub.  So serve the registry by a server of gevent, and
    not by ``start_http_server``, unless threads are patched (`green.patch_all`).

    Raises `SettingsError` if prometheus_client (the extra ``metrics``) is not installed.
    """

    def __init__(self, processors: Iterable[MessageProcessor]) -> None:
        try:
            # Here, because importing prometheus_client reads the environment.
            from prometheus_client.parser import (  # noqa: PLC0415 - see above
                text_string_to_metric_families,
            )
        except ImportError:
            raise SettingsError(_NOT_INSTALLED) from None

        self._processors, self._parse = processors, text_string_to_metric_families

    def describe(self) -> Iterable[Metric]:
        """Return nothing: otherwise registering would collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; never switches."""
        families = Measurements(self._processors).families()
        lines = (line for each in families if each is not None for line in each.lines())
        yield from self._parse("".join(lines))
