"""The ledger of handlers in other processes, and the counts of ``/metrics`` that follow from it.

`tests.faults.programs.failing_worker` writes it: one file for each process, with a line for each
run of a handler, and lines for each copy of a message that is delayed or parked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.metrics_pages import Series

Line = dict[str, Any]


class Ledger:
    """The files in *folder*; `lines` are those that were read so far, by the process."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._read = folder, Counter[str]()
        self.lines: defaultdict[int, list[Line]] = defaultdict(list)

    def read(self) -> list[Line]:
        """Read what has been written meanwhile; return the new lines."""
        found = []
        for file in self._folder.glob("worker-*"):
            with file.open("rb") as opened:
                opened.seek(self._read[file.name])
                whole, end, _ = opened.read().rpartition(b"\n")
            self._read[file.name] += len(whole + end)
            new = [json.loads(line) for line in whole.splitlines()]
            self.lines[int(file.name.partition("-")[2])] += new
            found += new
        return found

    def sizes(self) -> dict[str, int]:
        """Return how many bytes of each file were read."""
        return dict(self._read)


def counts(lines: Iterable[Line]) -> Counter[Series]:
    """Return what a process must have counted that has written these *lines*, and has no runs.

    All lines of one delivery have the same id: runs after the first are tries at once.
    """
    runs: defaultdict[str, list[Line]] = defaultdict(list)
    copies: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        (runs if "is_done" in line else copies)[line["id"]].append(line)
    found: Counter[Series] = Counter()
    for tries in runs.values():
        handler = tries[-1]["kind"]
        found["postage_handler_received_total", handler] += 1
        found["postage_handler_seconds_count", handler] += len(tries)
        found["postage_handler_retried_total", handler] += len(tries) - 1
        found["postage_handler_failed_total", handler] += not tries[-1]["is_done"]
        found["postage_processor_messages_total", "handled"] += 1
    for id_, (*_, last) in copies.items():
        what = "parked" if last["delay"] is None else "delayed"
        found["postage_publish_confirms_total", "ack"] += is_kept(last)
        if id_ in runs:
            handler = runs[id_][-1]["kind"]
            found[f"postage_handler_{what}_total", handler] += is_kept(last)
        else:  # no handler has had it
            found["postage_processor_messages_total", "malformed"] += 1
    return +found


def told(page: Counter[Series]) -> Counter[Series]:
    """Return those counts of a page that `counts` knows; 0 is left out.

    Handlers cannot know of what no handler gets: requests that have expired, copies that the
    processor knows (``duplicates``), and what came on channels that have ended (``stale``).  Nor do
    they know how often a copy was published: a busy RabbitMQ may refuse a try (``nack``).
    """
    known = {
        *(f"postage_handler_{what}_total" for what in ("received", "failed", "retried")),
        *(f"postage_handler_{what}_total" for what in ("delayed", "parked")),
        *("postage_handler_seconds_count", "postage_handler_in_flight"),
        *("postage_processor_messages_total", "postage_publish_confirms_total"),
    }
    unseen = {"expired", "duplicates", "stale", "nack"}
    return +Counter({s: n for s, n in page.items() if s[0] in known and s[1] not in unseen})


def is_kept(line: Line) -> bool:
    """Tell whether *line* is of a copy that the broker has confirmed."""
    return line.get("kept") is not None
