"""``postage describe``: the handlers and queues of a processor."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, json_option, seconds_option, url_option
from postage.cli.output import error_text, print_json, print_text, sanitized

TITLES = {"rpc": "Calls", "message": "Messages"}


@click.command(epilog=examples("postage describe monitor", "postage describe 4711.1@myhost --json"))
@click.argument("name")
@url_option
@json_option
@seconds_option("--wait", 1.0, "How long the answer may take.")
def command(name: str, *, as_json: bool, wait: float) -> None:
    """Show the handlers of a processor, service or application, and its queues.

    NAME says which: a name, name@host, pid@host, or the KEY that `postage ps` shows.  If several
    answer, the first answer is shown.
    """
    from postage.cli.fleet.query import one  # noqa: PLC0415 - `--help` does not wait for gevent

    result = one(name, wait)
    if not result:
        raise CommandFailed(error_text(result), Code.ERROR_RESULT)
    description = result.value
    # Else the user's own handler has answered, not Postage's of the same name.
    known = {"fingerprint", "class", "doc", "version", "handlers", "queues"}
    is_built_in = isinstance(description, dict) and known <= description.keys()
    lines = None
    if is_built_in and not as_json:
        with suppress(TypeError, KeyError, AttributeError):  # else a value has an unknown form
            lines = "\n".join(page(description))
    if lines is None:
        print_json(description)
    else:
        print_text(lines)


def page(description: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that describe an application."""
    name = description["fingerprint"]["name"]
    yield sanitized(f"{name}: {description['class']}, Postage {description['version']}")
    yield from _indented(description["doc"], "  ")
    for category, title in TITLES.items():
        yield f"\n{title}"
        for handler in description["handlers"]:
            if handler["category"] == category:
                suffix = "" if handler["type"] == "command" else f" ({handler['type']})"
                yield sanitized(f"  {handler['name'] or '*'}{suffix}{handler.get('signature', '')}")
                yield from _indented(handler["doc"], "      ")
                yield from (f"      [{each}]" for each in policies(handler))
    if isinstance(failures := description.get("failures"), dict):
        yield "\nFailures"
        yield from (f"  {each}" for each in policies(failures))
    yield "\nQueues"
    yield from (sanitized(f"  {each['queue']} by {each['key']}") for each in description["queues"])
    if left_out := description.get("left_out"):
        yield sanitized(f"\n{left_out} more queues or handlers did not fit into the answer.")


def policies(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is done about failures, or how long a handler may take, by *found*.

    Other programs wrote it, so every value may be of any type.
    """
    if "retry" in found:
        yield sanitized(_retry(found["retry"]))
    if "time_limit" in found:
        yield sanitized(f"a time limit of {found['time_limit']} s")
    if isinstance(limits := found.get("limit"), dict):
        units = {"concurrency": "at a time", "rate": "a second"}
        parts = [f"{limits[key]} {unit}" for key, unit in units.items() if limits.get(key)]
        yield sanitized(f"a limit of {', '.join(parts) or '?'}")
    if isinstance(switch := found.get("kill_switch"), dict):
        after, probe = switch.get("after"), switch.get("probe")
        yield sanitized(f"a kill switch: after {after} failures in a row, a probe each {probe} s")
    if "park" in found:
        what = "messages and calls" if found.get("park_calls") else "messages"
        where = found["park"]
        yield sanitized(f"{what} parked in {where}" if where else "messages rejected, not parked")
    if found.get("max_deliveries") is not None:
        yield sanitized(f"given up after {found['max_deliveries']} deliveries")


def _retry(policy: Any) -> str:
    if not isinstance(policy, dict):
        return "not tried again"
    now, delays = policy.get("now"), policy.get("delays")
    parts = [f"{now} more at once"] if now else []
    if delays and isinstance(delays, list):
        parts.append("after " + ", ".join(f"{each} s" for each in delays))
    kinds = policy.get("on")
    names = " or ".join(map(str, kinds)) if isinstance(kinds, list) else "?"
    return f"tried again for {names}: {', then '.join(parts) or 'never'}"


def _indented(doc: str, indent: str) -> Iterator[str]:
    for line in textwrap.dedent(doc).splitlines():
        yield f"{indent}{sanitized(line)}".rstrip()
