"""``postage health``: whether a process is alive and ready, by its exit code."""

from __future__ import annotations

import http.client
import json
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import Seconds, examples
from postage.cli.output import say_json, shown

__all__ = ["command"]


@click.command(
    epilog=examples(
        "postage run shop.orders --health 8086 &",
        "postage health 8086           alive and ready",
        "postage health 8086 --live    alive: what a liveness probe asks",
    )
)
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--live", is_flag=True, help="Ask only whether its hub turns.")
@click.option("--timeout", type=Seconds(), default=2.0, show_default=True, help="For each answer.")
def command(port: int, *, live: bool, timeout: float) -> None:
    """Ask the process that runs with --health PORT whether it is alive, and ready: it consumes.

    Exit code 0: it is; 3: nobody answers there in time; 4: it is alive, but not ready.  The answer
    is printed as JSON.
    """
    for page in ("/livez",) if live else ("/livez", "/readyz"):
        status, told = _ask(port, page, timeout)
    say_json(told)
    if status != http.client.OK:
        raise CommandFailed(f"the process is alive, but not ready ({status})", Code.ERROR_RESULT)


def _ask(port: int, page: str, timeout: float) -> tuple[int, Any]:
    """Return the status and the answer; raises `CommandFailed`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as exc:
        why = shown(exc) or type(exc).__name__
        text = f"nothing at 127.0.0.1:{port} answers {page} as it should: {why}"
        raise CommandFailed(text, Code.UNREACHABLE) from None
    finally:
        connection.close()
