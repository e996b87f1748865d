"""Answers of processors to the query ``flows``, as a test needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from postage.cli.console.sightings import Sightings

Flows = Mapping[tuple[str, str, str], int]
"""Messages by sender, exchange and category."""


def processor(
    name: str,
    number: int = 0,
    *,
    instance: str = "a",
    uptime: float = 1,
    handlers: Mapping[str, Flows] | None = None,
    failed: int = 0,
    idle: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return what the processor *name* tells, after *uptime* seconds.

    The last message of each flow came *idle* seconds before; None: nobody knows when.
    """
    told = [
        {
            "handler": handler,
            "received": sum(flows.values()),
            "failed": failed,
            "p99": 0.01,
            "flows": [[*flow, count, failed, idle] for flow, count in flows.items()],
        }
        for handler, flows in (handlers or {}).items()
    ]
    total = sum(each["received"] for each in told)
    return {
        "fingerprint": {"name": name, "pid": "1", "host": "h"},
        "key": f"1-{number}@h",
        "kind": "service",
        "class": "m.C",
        "groups": [],
        "statistics": {"state": "consuming", "handled": total, "failed": failed},
        "inquiries": 0,
        "uptime": uptime,
        "in_flight": 0,
        "handlers": told,
        "instance": instance,
        **more,
    }


class Fleet:
    """Processors that are asked again and again, by a clock that tests move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sightings = Sightings(clock=lambda: self.now)

    def tell(self, answers: Iterable[dict[str, Any]], seconds: float = 2) -> None:
        """Take the *answers* of one round, *seconds* after the last one."""
        self.now += seconds
        self.sightings.update(answers)
