"""The flight records of running applications, as their processes tell them.

Other programs wrote the answers, so every value may be of any type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from postage.cli.fleet.descriptions import number_at
from postage.cli.fleet.query import NO_LIMIT, remote_to
from postage.cli.output import sanitized
from postage.errors import TimeoutError  # noqa: A004 - the classic name

ASKED = {"brief": True, "flight": True}
"""The parameters of ``describe``."""
KINDS = {
    "held": "held the hub",
    "slow": "slow",
    "connection": "connection",
    "refusal": "refused",
    "alarm": "alarm",
}


def flights(key: str, wait: float) -> list[dict[str, Any]]:
    """Return the records of the processes behind *key* that answer within *wait* seconds.

    Each has a ``fingerprint`` and the list ``flight``.  Switches.
    """
    remote = remote_to(key)
    if remote is None:
        return []
    call = remote.rpc_command("describe", ASKED, _queue_only=True)
    try:
        results = remote.consume_rpc(call, NO_LIMIT, timeout=wait)
    except TimeoutError as exc:
        results = list(exc.results)
    return list(processes(each.value for each in results if each))


def processes(answers: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield what the *answers* say about each process; its applications share one record."""
    known = set()
    for answer in answers:
        fingerprint = answer.get("fingerprint") if isinstance(answer, dict) else None
        if not isinstance(fingerprint, dict) or not isinstance(answer.get("flight"), list):
            continue  # of an older version
        process = str(fingerprint.get("pid")), str(fingerprint.get("host"))
        if process not in known:
            known.add(process)
            yield {"fingerprint": fingerprint, "flight": answer["flight"]}


def page(flight: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for one process, the oldest event first."""
    name, pid, host = (flight["fingerprint"].get(key) for key in ("name", "pid", "host"))
    yield sanitized(f"{name}, {pid}@{host}")
    entries = [each for each in flight["flight"] if isinstance(each, dict)]
    for entry in entries:
        ago, seconds = number_at(entry, "ago"), number_at(entry, "seconds")
        kind = KINDS.get(str(entry.get("kind")), entry.get("kind"))
        lasted = f" for {seconds:.2f} s" if seconds else ""
        when = "?" if ago is None else f"{ago:.1f}"
        yield sanitized(f"{when:>6} s ago  {kind}{lasted}: {entry.get('text')}")
    if not entries:
        yield "  nothing within the last minute"
