"""``postage health``: whether a process is alive and ready, as an exit code."""

from __future__ import annotations

import http.client
import json
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import HostPort, HostPortParam, examples, seconds_option
from postage.cli.output import print_json, sanitized


@click.command(
    epilog=examples(
        "postage run shop.orders --health 8086 &",
        "postage health 8086           alive and ready",
        "postage health 8086 --live    alive: the question of a liveness probe",
    )
)
@click.argument("port", type=HostPortParam(1))
@click.option("--live", is_flag=True, help="Ask only whether its event loop runs.")
@seconds_option("--timeout", 2.0, "How long each answer may take.")
def command(port: HostPort, *, live: bool, timeout: float) -> None:
    """Ask the process that runs with --health PORT whether it is alive, and ready (it consumes).

    PORT is one of 127.0.0.1; HOST:PORT is one of another address.  Exit code 0: it is; 3: no answer
    in time; 4: it is alive, but not ready.  Prints the answer as JSON.
    """
    for page in ("/livez",) if live else ("/livez", "/readyz"):
        status, answer = _ask(port, page, timeout)
    print_json(answer)
    if status != http.client.OK:
        raise CommandFailed(f"the process is alive, but not ready ({status})", Code.ERROR_RESULT)


def _ask(where: HostPort, page: str, timeout: float) -> tuple[int, Any]:
    """Return the HTTP status and the answer of *page*; raises `CommandFailed`."""
    connection = http.client.HTTPConnection(where.host, where.port, timeout=timeout)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as exc:
        why = sanitized(exc) or type(exc).__name__
        text = f"nothing at {where} answers {page} as it should: {why}"
        raise CommandFailed(text, Code.UNREACHABLE) from None
    finally:
        connection.close()
