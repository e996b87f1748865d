"""The order of the rows of ``postage top``: by any column, as the user chooses.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from postage.cli.fleet.descriptions import COLUMNS, COUNTED, AppRow, handled, number_at, row

__all__ = ["BUSIEST", "Order"]

BUSIEST = "MSG/S"
"""The column by which rows are sorted unless the user chooses another."""


def _count_of(name: str) -> Callable[[AppRow], float | None]:
    return lambda app: number_at(app.description, "statistics", name)


NUMBERS: dict[str, Callable[[AppRow], float | None]] = {
    BUSIEST: lambda app: round(app.rate, 1),  # so that equals do not change places all the time
    "HANDLED": lambda app: handled(app.description),
    "FLIGHT": lambda app: number_at(app.description, "in_flight"),
    **{name.upper(): _count_of(name) for name in COUNTED},
    "P99": lambda app: number_at(app.description, "p99"),
    "UPTIME": lambda app: number_at(app.description, "uptime"),
}
"""The columns that are sorted by a number, the highest first; others are sorted by their text."""


@dataclass(frozen=True)
class Order:
    """By which column rows are sorted, and whether the other way round."""

    column: str = BUSIEST
    is_reversed: bool = False

    def beside(self, distance: int) -> Order:
        """Return the order by the column that is *distance* places to the right, in a circle."""
        place = (COLUMNS.index(self.column) + distance) % len(COLUMNS)
        return Order(COLUMNS[place])

    def reversed(self) -> Order:
        """Return the same order the other way round."""
        return replace(self, is_reversed=not self.is_reversed)

    def of(self, apps: Iterable[AppRow]) -> list[AppRow]:
        """Return *apps* in this order, equals as they were; those with an unknown number last."""
        apps, number = list(apps), NUMBERS.get(self.column)
        if number is None:
            place = COLUMNS.index(self.column)
            return sorted(
                apps, key=lambda app: str(row(app.description)[place]), reverse=self.is_reversed
            )
        known = [(value, app) for app in apps if (value := number(app)) is not None]
        known.sort(key=lambda each: each[0], reverse=not self.is_reversed)
        return [app for _, app in known] + [app for app in apps if number(app) is None]
