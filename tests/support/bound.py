"""Handlers as `dispatch` takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postage.dispatch import Bound
from postage.handler_statistics import HandlerTally


def bound(handler: Callable[..., Any], part: str | None = "content") -> Bound:
    """Return *handler* with a tally of its own; it gets this *part* of the body, or None: all."""
    return handler, part, HandlerTally()
