"""``postage health``: whether a process is alive and ready, as an exit code."""

from __future__ import annotations

import http
import json
import socket
import time
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import HostPort, HostPortParam, examples, seconds_option
from postage.cli.output import print_json, sanitized

LARGEST_ANSWER = 1 << 20
"""Bytes: the answer names each processor that does not consume, and there may be thousands."""
LONGEST_REASON = 200
"""Characters that an error quotes of why there is no answer."""


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
    if status != http.HTTPStatus.OK:
        raise CommandFailed(f"the process is alive, but not ready ({status})", Code.ERROR_RESULT)


def _ask(where: HostPort, page: str, timeout: float) -> tuple[int, Any]:
    """Return the HTTP status and the answer of *page*; raises `CommandFailed`."""
    try:
        head, _, body = _exchange(where, page, timeout).partition(b"\r\n\r\n")
        version, status = head.split(maxsplit=2)[:2]
        if version.startswith(b"HTTP/"):
            return int(status), json.loads(body)
        why = "that is no answer of HTTP"
    except (OSError, ValueError, RecursionError) as exc:
        why = sanitized(exc)[:LONGEST_REASON] or type(exc).__name__
    text = f"nothing at {where} answers {page} as it should: {why}"
    raise CommandFailed(text, Code.UNREACHABLE)


def _exchange(where: HostPort, page: str, timeout: float) -> bytes:
    """Return all that the server at *where* answers within *timeout* seconds, up to its end.

    Whatever serves there: it can send too slowly for a timeout of each read, and without an end.
    """
    deadline = time.monotonic() + timeout
    request = f"GET {page} HTTP/1.0\r\n\r\n".encode()
    answer = b""
    with socket.create_connection((where.host, where.port), timeout) as connection:
        connection.sendall(request)
        while len(answer) <= LARGEST_ANSWER:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"timed out after {timeout:g} s")
            connection.settimeout(left)
            received = connection.recv(1 << 16)
            if not received:
                return answer
            answer += received
    raise ValueError(f"the answer has more than {LARGEST_ANSWER} bytes")
