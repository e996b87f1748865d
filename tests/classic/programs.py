"""Running server.py and client.py on the old library or on the new one, and their reports."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.support.programs import Finished, Program


def program(side: str, name: str, *args: str) -> Program:
    """Return the program *name*, to run on 1.2.1 (*side* "old") or on this package ("new")."""
    if side == "old":
        return Program("-m", "tests.classic.environment", name, *args)
    return Program(f"tests/classic/{name}", *args)


def events(finished: Finished) -> list[dict[str, Any]]:
    """Return the reports of a program; 1.2.1 also prints lines of another form."""
    lines = finished.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"')]


def table(finished: Finished) -> dict[str, dict[str, Any]]:
    """Return the results of a client by call; assert that no call has two."""
    results = [event for event in events(finished) if event.pop("event") == "result"]
    counts = Counter(result["call"] for result in results)
    assert set(counts.values()) <= {1}, f"more than one result for a call: {counts}"
    return {result.pop("call"): result for result in results}
