"""What ``postage top`` shows, as text of as many lines as there is room for."""

from __future__ import annotations

from rich.text import Text

from postage.cli.commands.ps import HEAD, row
from postage.cli.fleet.roster import Entry
from postage.cli.fleet.watching import Watch
from postage.cli.output import shown, table

__all__ = ["picture"]

WIDEST = 60
"""Characters of a cell at most: what others send may be of any length."""
GONE = "gone"
UPTIME = HEAD.index("UPTIME")


def picture(watch: Watch, height: int) -> Text:
    """Return *height* lines, or fewer: a summary, the trouble there is, and the table."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{_summary(watch)}\n")
    text.append(f"{shown(_trouble(watch))}\n", style="bold")
    entries = watch.roster.present + watch.roster.gone
    room = height - 3
    fitting = entries if len(entries) <= room else entries[: max(0, room - 1)]
    head, *rows = table(HEAD, list(map(_cells, fitting)))
    text.append(head, style="reverse")
    for entry, line in zip(fitting, rows, strict=True):
        text.append(f"\n{line}", style="" if entry.gone_since is None else "dim")
    if len(fitting) < len(entries):
        text.append(f"\n... and {len(entries) - len(fitting)} more")
    return text


def _summary(watch: Watch) -> str:
    present, gone = watch.roster.present, len(watch.roster.gone)
    if not watch.as_of:
        return f"postage top {shown(watch.key)}: asking ..."
    total = sum(each.rate for each in present)
    here = f"{len(present)} here, {gone} gone, {total:.1f} messages a second"
    return f"postage top {shown(watch.key)}: {here}, as of {watch.as_of} (q: end)"


def _trouble(watch: Watch) -> str:
    return f"Trying again: {watch.trouble}" if watch.trouble else ""


def _cells(entry: Entry) -> list[str]:
    cells = [str(cell)[:WIDEST] for cell in row(entry.description)]
    if entry.gone_since is not None:
        cells[UPTIME] = GONE
    return cells
