"""The program behind ``postage broker``, which does without click.

Demos and first steps need a broker, so this is the one command that works in an install without
extras.  `commands.broker` (click) and `no_click` (argparse) read its options and call `serve`.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from postage.cli.output import print_json, print_text
from postage.errors import SettingsError
from postage.signals import stopping_signals

if TYPE_CHECKING:
    from postage.broker import Broker

DESCRIPTION = """\
Run an AMQP 0-9-1 broker in the foreground, for development, tests, demos, and light use on one
host.

It does not replace RabbitMQ: it is one process on one core, and keeps nothing when it ends, not
even durable queues and persistent messages.

SIGTERM, SIGHUP and SIGINT (Ctrl-C) stop it at once, with exit code 0.  SIGUSR1 makes it print its
statistics as one line of JSON.
"""
HOST, PORT, LIKE = "127.0.0.1", 5672, "4.3"
HELP = {
    "host": "The address to listen on.",
    "port": "The port to listen on; 0: any free one.",
    "user": "A user that may log in, instead of guest:guest; may be given several times; "
    "other users of this machine can read it.",
    "user-file": "A file with a NAME:PASSWORD on each line, which nobody else can read.",
    "vhost": "A virtual host besides /; may be given several times.",
    "like": "The version of RabbitMQ to behave like: 4.3 or 3.10.",
    "permit-transient-queues": "Permit queues that are neither durable nor exclusive, which "
    "RabbitMQ 4.3 denies by default; Postage 1.2.1 needs them.",
    "json": "Print the first line as JSON.",
}
"""The help of each option, by its name."""
GUEST = {"guest": "guest"}
MOST_IN_FILE = 1_000_000
"""Characters of the largest file of users."""


def serve(  # noqa: PLR0913 - one for each option
    host: str,
    port: int,
    user: Sequence[str],
    vhost: Sequence[str],
    *,
    user_file: str | None,
    like: str,
    permit_transient_queues: bool,
    as_json: bool,
) -> None:
    """Run the broker until a signal stops it; raises `SettingsError` for invalid options."""
    # Not at the top of the module: `--help` must not wait for gevent.
    import gevent  # noqa: PLC0415
    import gevent.event  # noqa: PLC0415

    from postage.broker import Broker  # noqa: PLC0415

    stopped = gevent.event.Event()
    for number in stopping_signals():
        gevent.signal_handler(number, stopped.set)
    if not 0 <= port < 65536:  # noqa: PLR2004 - TCP's ports
        raise SettingsError(f"port must be from 0 to 65535, not {port}")
    logins = [_login(each, "--user") for each in user]
    logins += _logins_in(user_file) if user_file is not None else []
    users, vhosts = dict(logins) or GUEST, ("/", *vhost)
    broker = Broker(
        host,
        port,
        users=users,
        vhosts=vhosts,
        like=like,
        transient_queues=permit_transient_queues,
    )
    with broker:
        gevent.signal_handler(signal.SIGUSR1, _statistics_printer(broker))
        _print_greeting(broker, vhosts, users, as_json=as_json)
        stopped.wait()


def _login(text: str, where: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not (name and colon and password):  # not quoted: it may be a password
        raise SettingsError(f"{where} must be NAME:PASSWORD")
    return name, password


def _logins_in(path: str) -> list[tuple[str, str]]:
    """Return the names and passwords in the file *path*; raises `SettingsError`."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(MOST_IN_FILE + 1)
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or "it is not UTF-8"
        raise SettingsError(f"cannot read --user-file {path}: {why}") from None
    if len(text) > MOST_IN_FILE:
        raise SettingsError(f"--user-file {path} has more than {MOST_IN_FILE} characters")
    lines = enumerate(text.splitlines(), 1)
    logins = [_login(line, f"line {n} of --user-file {path}") for n, line in lines if line.strip()]
    if not logins:  # or guest:guest could log in
        raise SettingsError(f"--user-file {path} names no user: write NAME:PASSWORD on a line")
    return logins


def _print_greeting(
    broker: Broker, vhosts: Sequence[str], users: dict[str, str], *, as_json: bool
) -> None:
    """Print the first line: the URL without a password, unless it is the well-known guest:guest."""
    address = broker.url.rpartition("@")[2]
    login = "guest:guest" if users == GUEST else quote(next(iter(users)), safe="")
    url = f"amqp://{login}@{address}"
    if not as_json:
        print_text(f"{url} is ready.  When it ends, all queues, exchanges and messages are gone.")
        return
    where = {"url": url, "host": broker.host, "port": broker.port, "vhosts": list(vhosts)}
    print_json({**where, "pid": os.getpid(), "survives": "nothing"})


def _statistics_printer(broker: Broker) -> Callable[[], None]:
    """Return a function that prints statistics as JSON, with the rates since it last did."""
    last = broker.statistics()

    def print_statistics() -> None:
        nonlocal last
        now = broker.statistics()
        rates, last = now.since(last), now
        print_json({**dataclasses.asdict(now), "rates": dataclasses.asdict(rates)})

    return print_statistics
