"""What ``postage broker`` does and takes, whichever library reads its command line.

It is the one command that an install without click has: demos and first steps need it.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postage.cli.output import say, say_json
from postage.errors import SettingsError

if TYPE_CHECKING:
    from postage.broker import Broker, Statistics

__all__ = ["DESCRIPTION", "OPTIONS", "Option", "serve"]

DESCRIPTION = """\
Run an AMQP 0-9-1 broker in the foreground, for development, tests, demos and small use on one host.

It is no RabbitMQ: one process, one core, and nothing survives its end, durable or not.

SIGTERM and SIGINT (Ctrl-C) stop it at once, with exit code 0.  SIGUSR1 makes it print what goes on
inside, as one line of JSON.
"""
GUEST = {"guest": "guest"}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option; *default* None: it may be given several times, False: it takes no value."""

    flag: str
    help: str
    default: Any = None
    metavar: str | None = None

    def for_argparse(self) -> dict[str, Any]:
        """Return the keywords of ``add_argument``."""
        if self.default is False:
            return {"action": "store_true", "help": self.help}
        several = {"action": "extend", "nargs": "+", "default": []} if self.default is None else {}
        typed = {"type": type(self.default)} if self.default is not None else {}
        return (
            {"default": self.default, "metavar": self.metavar, "help": self.help} | typed | several
        )

    def for_click(self) -> dict[str, Any]:
        """Return the keywords of ``click.Option``."""
        if self.default is False:
            return {"is_flag": True, "help": self.help}
        if self.default is None:
            return {"multiple": True, "metavar": self.metavar, "help": self.help}
        kind = type(self.default)
        how = {"default": self.default, "type": kind, "show_default": True}
        return {**how, "metavar": self.metavar, "help": self.help}


OPTIONS = (
    Option(flag="--host", help="Where to listen.", default="127.0.0.1", metavar="ADDRESS"),
    Option(flag="--port", help="0: any that is free.", default=5672, metavar="N"),
    Option(
        flag="--user",
        help="Who may log in, instead of guest:guest; may be given several times.",
        metavar="NAME:PASSWORD",
    ),
    Option(flag="--vhost", help="Virtual hosts besides /.", metavar="NAME"),
    Option(flag="--json", help="Print the first line as JSON.", default=False),
)


def serve(
    host: str, port: int, user: Sequence[str], vhost: Sequence[str], *, as_json: bool
) -> None:
    """Run the broker until a signal ends it."""
    # Only here: other commands shall not wait for gevent.
    import gevent  # noqa: PLC0415
    import gevent.event  # noqa: PLC0415

    from postage.broker import Broker  # noqa: PLC0415

    over = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, over.set)
    if not 0 <= port < 65536:  # noqa: PLR2004 - the ports that TCP has
        raise SettingsError(f"port must be from 0 to 65535, not {port}")
    users, vhosts = dict(map(_login, user)) or GUEST, ("/", *vhost)
    with Broker(host, port, users=users, vhosts=vhosts) as broker:
        gevent.signal_handler(signal.SIGUSR1, _Report(broker).show)
        _greet(broker, vhosts, users, as_json=as_json)
        over.wait()


def _login(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise SettingsError("--user must be NAME:PASSWORD")
    return name, password


def _greet(broker: Broker, vhosts: Sequence[str], users: dict[str, str], *, as_json: bool) -> None:
    """Print the first line.  A password that is not known to all is not in it."""
    place = broker.url.rpartition("@")[2]
    login = "guest:guest" if users == GUEST else quote(next(iter(users)), safe="")
    url = f"amqp://{login}@{place}"
    if as_json:
        told = {"url": url, "host": broker.host, "port": broker.port, "vhosts": list(vhosts)}
        say_json({**told, "pid": os.getpid(), "survives": "nothing"})
    else:
        say(f"{url} is ready.  When it ends, all queues, exchanges and messages are gone.")


class _Report:
    """Prints statistics, with the rates since the last time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._last: Statistics = broker.statistics()

    def show(self) -> None:
        """Print one line of JSON."""
        now = self._broker.statistics()
        rates, self._last = now.since(self._last), now
        say_json({**dataclasses.asdict(now), "rates": dataclasses.asdict(rates)})
