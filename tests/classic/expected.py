"""What server.py and client.py report, on either library: one table for all pairings."""

from __future__ import annotations

from typing import Any

Report = dict[str, Any]

TEXT = "caffè € 😀"
FINGERPRINT = {key: f"client-{key}" for key in ("name", "type", "pid", "host", "user", "vhost")}


def body(name: str, parameters: Any, fingerprint: dict[str, str], **reserved: int) -> Report:
    """Return the whole body of a command."""
    return {
        "type": "command",
        "name": name,
        "category": "message",
        "version": "2",
        "fingerprint": fingerprint,
        "content": {"parameters": parameters},
        "_reserved": reserved,
    }


def result(kind: str, value: Any, message: str = "") -> Report:
    """Return the report on an RPC; success is true, everything else false."""
    return {"type": kind, "value": value, "message": message, "true": kind == "success"}


MESSAGES: list[Report] = [
    {"event": "command", "content": {"parameters": TEXT}},
    {"event": "command", "content": {"parameters": {}}},
    {"event": "whole", "body": body("describe", {"a": [1, None, True, 1.5]}, FINGERPRINT)},
    {"event": "status", "name": "online", "content": {}},
    {"event": "generic", "content": {"args": [1, "str"], "kwds": {"values": [1, 2, 3]}}},
    {"event": "generic", "content": {}},
    {"event": "forwarded", "body": body("forwarded", [TEXT], {"name": "other"}, x=1)},
    {"event": "boom"},
    {"event": "reject"},
    {"event": "filtered", "content": {"parameters": "QUIET"}},
    {"event": "class", "content": {"parameters": "data"}},
]
SERVER = [
    {"event": "ready"},
    *MESSAGES,
    {"event": "after the reply"},
    {"event": "after the reply"},
    {"event": "ended"},
]
RESULTS = {
    "sum": result("success", 11, "done"),
    "bare": result("success", {"plain": TEXT}),
    "error": result("error", None, "it failed"),
    "exception": result("exception", "KeyError", "'missing'"),
    "raising": result("exception", "ValueError", "no good"),
    "queue only": result("success", 3, "done"),
    "after the slow one": result("success", "mine"),
}
#: The values of calls without a handler or without a reply in time; their texts may differ.
FAILURES = {
    "old": {"nobody handles": "TimeoutError", "too slow": "TimeoutError"},
    "new": {"nobody handles": "UnknownCommand", "too slow": "TimeoutError"},
}
