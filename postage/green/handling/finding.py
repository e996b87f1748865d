"""Finds the handlers of a message, bound to their processor, each with what counts its runs."""

from __future__ import annotations

import types
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from postage.dispatch import Bound
from postage.green.amqp.hub_logging import HubLogger
from postage.handler_statistics import HandlerStatistics, HandlerTallies
from postage.handlers import HandlerOwner, RouteTable

__all__ = ["BoundHandlers", "HandlerFinder"]

logger = HubLogger(__name__)


class HandlerFinder(HandlerOwner):
    """The part of a processor that has handlers, and counts and times their runs."""

    answer_unknown: bool

    @cached_property
    def _tallies(self) -> HandlerTallies:
        return HandlerTallies()

    def handler_statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return a snapshot of each handler that has run; never switches."""
        return self._tallies.statistics()

    def _warn_of_unhandled(self, body: dict[str, Any]) -> None:
        category = body["category"]
        if category == "rpc" and not self.answer_unknown:
            return  # another processor on this key handles it
        remark = self._routes.remark_on(category, body["type"], body["name"])
        if remark is not None:
            logger.warning("%s %s.", type(self).__name__, remark)


class BoundHandlers(dict[tuple[str, str, str | None], Sequence[Bound]]):
    """The handlers of one processor by the category, type and name of a message.

    They are bound when the first such message arrives, because that costs more than a short
    handler.  They refer to their processor, which therefore forgets them at the end of its run.
    Names that no handler has are not kept: see `FoundHandlers`.
    """

    __slots__ = ("_processor", "_tallies", "table")

    def __init__(self, processor: object, table: RouteTable, tallies: HandlerTallies) -> None:
        super().__init__()
        self._processor, self._tallies = processor, tallies
        self.table = table
        """The handlers that these are bound from; another table makes these invalid."""

    def __missing__(self, key: tuple[str, str, str | None]) -> Sequence[Bound]:
        found = []
        for attribute, part in self.table.found[key]:
            handler = getattr(self._processor, attribute)
            if isinstance(handler, type):  # a `Handler` class
                handler = types.MethodType(handler, self._processor)
            found.append((handler, part, self._tallies[attribute]))
        if key in self.table.found:
            self[key] = found
        return found
