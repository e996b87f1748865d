"""What ``postage top`` shows: the table of processors, and the page of help."""

from __future__ import annotations

from rich.text import Text

from postage.cli.fleet.descriptions import COLUMNS, AppRow, number_at, row
from postage.cli.fleet.ordering import Order
from postage.cli.fleet.query import FleetPoller
from postage.cli.output import sanitized, table

__all__ = ["help_page", "overview"]

WIDEST = 60
"""The most characters of a cell: the answers of other programs may be of any length."""
UPTIME = COLUMNS.index("UPTIME")
WARNED = {"FAILED": "red", "PARKED": "red", "RETRIED": "yellow", "DELAYED": "yellow"}
"""The colours of counts above 0."""
WELL = "consuming"
"""The state that needs no colour."""

HELP = """\
Keys
  < >   sort by the column to the left, to the right
  r     the other way round
  q     end; so does Ctrl-C
  ?     this page; any key leaves it

Columns
  MSG/S    messages handled in a second, since the last refresh
  HANDLED  messages handled, since the start
  FLIGHT   runs of handlers that have not ended
  FAILED   messages that failed after all tries at once
  RETRIED  runs that were tries at once
  DELAYED  messages that wait on the broker for a later try
  PARKED   messages that were put into a parking queue
  P99      the time within which 99 % of the runs end
  UPTIME   since the start, or "gone\""""


def help_page(height: int) -> Text:
    """Return at most *height* lines of help."""
    return Text("\n".join(HELP.splitlines()[:height]), no_wrap=True, overflow="ellipsis")


def overview(poller: FleetPoller, order: Order, height: int) -> Text:
    """Return at most *height* lines: a summary, the current problem, and the table in *order*."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{_summary(poller)}\n")
    problem = f"Trying again: {poller.problem}" if poller.problem else ""
    text.append(f"{sanitized(problem)}\n", style="bold red")
    apps = order.of(poller.apps.present) + poller.apps.gone
    room = height - 3
    fitting = apps if len(apps) <= room else apps[: max(0, room - 1)]
    head, *lines = table(COLUMNS, list(map(_cells, fitting)))
    places = _places(head)
    text.append(_head(head, *places[order.column]))
    for app, line in zip(fitting, lines, strict=True):
        text.append("\n")
        text.append(_line(app, line, places))
    if len(fitting) < len(apps):
        text.append(f"\n... and {len(apps) - len(fitting)} more")
    return text


def _summary(poller: FleetPoller) -> str:
    key = sanitized(poller.key)
    if not poller.as_of:
        return f"postage top {key}: asking ..."
    present, gone = poller.apps.present, len(poller.apps.gone)
    total = sum(each.rate for each in present)
    here = f"{len(present)} here, {gone} gone, {total:.1f} messages a second"
    return f"postage top {key}: {here}, as of {poller.as_of} (?: help, q: end)"


def _cells(app: AppRow) -> list[str]:
    cells = [str(cell)[:WIDEST] for cell in row(app.description)]
    if app.gone_since is not None:
        cells[UPTIME] = "gone"
    return cells


def _places(head: str) -> dict[str, tuple[int, int]]:
    """Return where each column begins, and where it ends at the latest."""
    begins, at = [], 0
    for name in COLUMNS:
        at = head.index(name, at)
        begins.append(at)
        at += len(name)
    ends = [begin - 1 for begin in begins[1:]] + [begins[-1] + WIDEST]
    return dict(zip(COLUMNS, zip(begins, ends, strict=True), strict=True))


def _head(head: str, begin: int, end: int) -> Text:
    """Return the head of the table, in which the column of the order is underlined."""
    text = Text(head, style="reverse")
    text.stylize("bold underline", begin, min(end, len(head.rstrip())))
    return text


def _line(app: AppRow, line: str, places: dict[str, tuple[int, int]]) -> Text:
    """Return a row; what deserves a look has a colour."""
    if app.gone_since is not None:
        return Text(line, style="dim")
    text = Text(line)
    for column, colour in WARNED.items():
        if number_at(app.description, "statistics", column.lower()):
            text.stylize(colour, *places[column])
    if app.rate:
        text.stylize("green", *places["MSG/S"])
    statistics = app.description.get("statistics")
    if isinstance(statistics, dict) and statistics.get("state", WELL) != WELL:
        text.stylize("yellow", *places["STATE"])
    return text
