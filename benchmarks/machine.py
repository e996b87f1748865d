"""The machine of a run, without names of hosts or paths."""

from __future__ import annotations

import os
import platform

from benchmarks.rounds import Round


def machine() -> dict[str, str]:
    """Return the machine and the Python."""
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def conditions(broker: str, each: Round, rounds: int) -> dict[str, str]:
    """Return the conditions that figures depend on, by name."""
    kept = "durable queue, persistent messages" if each.persistent else "nothing durable"
    return {
        **machine(),
        "broker": f"{broker}, on the same machine; {kept}",
        "run": f"{rounds} rounds, {each.seconds:g} s each of calling or publishing, {each.count:,}"
        " messages consumed",
    }
