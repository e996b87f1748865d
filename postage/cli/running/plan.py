"""The plan of ``postage run``: what shall run, and how."""

from __future__ import annotations

import os
from dataclasses import dataclass

from postage.cli.running.targets import Target

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks for; None: it says nothing."""

    targets: tuple[Target, ...]
    embedded: bool = False
    wait: bool | None = None
    workers: int | None = None
    reload: bool = False
    concurrency: int | None = None
    shutdown_timeout: float | None = None
    health: int | None = None

    def use_settings(self) -> None:
        """Put what concerns the broker into the environment, where every component looks for it."""
        if self.embedded:
            os.environ["POSTAGE_URL"] = "embedded://"
        if self.wait is not None:
            os.environ["POSTAGE_WAIT_FOR_BROKER"] = "1" if self.wait else "0"
        os.environ.setdefault("POSTAGE_WAIT_FOR_BROKER", "1")
