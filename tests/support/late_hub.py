"""A hub that computes, and so reads late."""

from __future__ import annotations

import time


def hold_hub(seconds: float) -> None:
    """Compute for so many *seconds*."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
