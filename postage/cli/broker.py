"""``postage broker``: the embedded broker as a program of its own, in the foreground."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postage.errors import SettingsError

if TYPE_CHECKING:
    from postage.broker import Broker, Statistics

__all__ = ["add_to"]

DESCRIPTION = """\
Run an AMQP 0-9-1 broker in the foreground, for development, tests, demos and small use on one host.
It is no RabbitMQ: one process, one core, and nothing survives its end, durable or not.
"""
EPILOG = """\
SIGTERM and SIGINT (Ctrl-C) stop it at once, with exit code 0.  SIGUSR1 makes it print what goes on
inside, as one line of JSON.
"""
GUEST = {"guest": "guest"}


def add_to(commands: Any) -> None:
    """Add the command to argparse's *commands*."""
    parser = commands.add_parser(
        "broker", help="run an embedded broker", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=5672, help="0: any that is free (%(default)s)", metavar="N"
    )
    parser.add_argument(
        "--user",
        action="append",
        type=_user,
        metavar="NAME:PASSWORD",
        help="who may log in, instead of guest:guest; may be given several times",
    )
    parser.add_argument(
        "--vhost",
        nargs="+",
        action="extend",
        default=["/"],
        metavar="NAME",
        help="virtual hosts besides /",
    )
    parser.add_argument("--json", action="store_true", help="print the first line as JSON")
    parser.set_defaults(run=run)


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise argparse.ArgumentTypeError("must be NAME:PASSWORD")
    return name, password


def run(arguments: argparse.Namespace) -> None:
    """Run the broker until a signal ends it."""
    # Only here: other commands shall not wait for gevent.
    import gevent  # noqa: PLC0415
    import gevent.event  # noqa: PLC0415

    from postage.broker import Broker  # noqa: PLC0415

    over = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, over.set)
    if not 0 <= arguments.port < 65536:  # noqa: PLR2004 - the ports that TCP has
        raise SettingsError(f"port must be from 0 to 65535, not {arguments.port}")
    users = dict(arguments.user or GUEST)
    with Broker(
        arguments.host, arguments.port, users=users, vhosts=tuple(arguments.vhost)
    ) as broker:
        gevent.signal_handler(signal.SIGUSR1, _Report(broker).show)
        _say(_greeting(broker, arguments, users))
        over.wait()


def _greeting(
    broker: Broker, arguments: argparse.Namespace, users: dict[str, str]
) -> dict[str, Any] | str:
    """Return the first line.  A password that is not known to all is not in it."""
    place = broker.url.rpartition("@")[2]
    login = "guest:guest" if users == GUEST else quote(next(iter(users)), safe="")
    url = f"amqp://{login}@{place}"
    if arguments.json:
        told = {"url": url, "host": broker.host, "port": broker.port, "vhosts": arguments.vhost}
        return {**told, "pid": os.getpid(), "survives": "nothing"}
    return f"{url} is ready.  When it ends, all queues, exchanges and messages are gone."


def _say(what: object) -> None:
    print(what if isinstance(what, str) else json.dumps(what), flush=True)


class _Report:
    """Prints statistics, with the rates since the last time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._last: Statistics = broker.statistics()

    def show(self) -> None:
        """Print one line of JSON."""
        now = self._broker.statistics()
        rates, self._last = now.since(self._last), now
        _say({**dataclasses.asdict(now), "rates": dataclasses.asdict(rates)})
